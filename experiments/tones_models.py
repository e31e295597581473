"""The networks of `experiments.tones`: what they read, how they are trained, what they say."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from experiments.tones_data import FRAME, LEVELS, Sounds, crops
from seqjax import losses, models, nn, train
from seqjax.models.logistics import logistic_sampler
from seqjax.models.sampling import Sample
from seqjax.train.batches import take_rows

STEPS, BEFORE = 3200, 560  # of a crop, in validation: those that count, and those read first
EPOCHS = 5  # a training has so many validations
_TAPS = 32  # of the filters that every network begins with: twice those of the prediction beside
_HARMONICS = (1.0, 2.0, 4.0, 8.0)  # of the pitch, that tell its phase
_COMPONENTS = 5  # of a mixture of logistics
Law = Literal["softmax", "logistics"]


class Recipe(NamedTuple):
    """How a row is trained.

    Attributes:
        title: of the row.
        architecture: "wavenet" or a cell's name.
        law: of the next code.
        width: of a WaveNet's residual channels, or of each of two recurrent layers.
        skip: width of a WaveNet's skip channels.
        dilations: of a WaveNet.
        samples: to read in training, millions, all passes together.
        learning_rate: of AdamW, at its highest.
        batch_size: crops in a batch.
        steps: of a crop, that count in training.
        before: that are read first.
    """

    title: str
    architecture: str = "wavenet"
    law: Law = "softmax"
    width: int = 32
    skip: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    samples: float = 6.0
    learning_rate: float = 6e-3
    batch_size: int = 2
    steps: int = 800
    before: int = 240

    def updates(self, epochs: int) -> int:
        """Of each of so many epochs."""
        return max(round(self.samples * 1e6 / (self.batch_size * self.steps * epochs)), 1)

    def model(self, phones: int, pitch: int) -> models.Model:
        """Linear filters of the last samples, and the network above them.

        Args:
            phones: number of phones; 0 where nothing is told.
            pitch: 1, or 0 likewise.
        """
        local = phones + 2 * len(_HARMONICS) * pitch
        filters = nn.CausalConv(self.width, _TAPS)
        outputs = LEVELS if self.law == "softmax" else 3 * _COMPONENTS
        if self.architecture == "wavenet":
            network = nn.WaveNet(
                outputs,
                dilations=self.dilations,
                residual_features=self.width,
                skip_features=self.skip,
                local_features=local,
                global_features=pitch,
            )
            return models.from_layer(nn.Stack((filters, network)), inputs=2)
        told = {"local_condition": local, "global_condition": pitch}
        layers = (
            filters,
            *(nn.Condition(size, reads=name) for name, size in told.items() if size),
            *(nn.LAYERS[self.architecture](self.width) for _ in range(2)),
            nn.Dense(outputs),
        )
        return models.from_layer(nn.Stack(layers), inputs=2)


RECIPES = {
    "wavenet": Recipe("WaveNet, a softmax over 256 codes"),
    "wavenet-logistics": Recipe("WaveNet, a mixture of five logistics", law="logistics"),
    "lstm": Recipe("two LSTM layers", "lstm", width=64, batch_size=8, steps=400, before=160),
}


def sampler(law: Law, temperature: float = 1.0) -> Sample:
    """How the next input is drawn, ``(key, outputs) -> [batch, 2]``."""
    if law == "softmax":
        draw = models.sampler(temperature)
    else:
        draw = logistic_sampler(LEVELS, temperature)
    return lambda key, y: as_inputs(draw(key, y))


def as_inputs(codes: Array) -> Array:
    """Codes [...] as inputs [..., 2]: companded samples, which tell steps apart, and samples."""
    companded = codes.astype(jnp.float32) * (2 / (LEVELS - 1)) - 1
    samples = jnp.sign(companded) * jnp.expm1(jnp.abs(companded) * math.log(LEVELS)) / (LEVELS - 1)
    return jnp.stack([2 * companded, 6 * samples], axis=-1)  # of about unit variance


def as_codes(inputs: Array) -> Array:
    """The codes [...] of inputs [..., 2], int32."""
    return jnp.round((inputs[..., 0] + 2) * ((LEVELS - 1) / 4)).astype(jnp.int32)


def context_of(
    model: models.Model, phones: Array, phase: Array, pitch: Array
) -> dict[str, Array] | None:
    """What a model is told of generated sounds; of recordings None.

    Local are the phones and sines and cosines of the voice's phase, the excitation that follows
    from a pitch (as in Wang et al., "Neural source-filter waveform models", arXiv 1904.12088);
    global is the pitch.

    Args:
        model: the model.
        phones: [batch, frames, n].
        phase: [batch, time, 0 or 1].
        pitch: [batch, 0 or 1].
    """
    if model.layer is None or not model.layer.context_names():
        return None
    angles = 2 * math.pi * phase * jnp.asarray(_HARMONICS, phase.dtype)[None, None]
    parts = jnp.repeat(phones, FRAME, axis=1), jnp.sin(angles), jnp.cos(angles)
    return {"local_condition": jnp.concatenate(parts, axis=-1), "global_condition": pitch}


def loss_of(model: models.Model, law: Law, before: int) -> train.Loss:
    """Nats of each code but the first `before` (`BEFORE` in validation), after all in its crop."""

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> train.Losses:
        codes = batch["codes"]
        context = context_of(model, batch["phones"], batch["phase"], batch["pitch"])
        y = model.apply(params, as_inputs(codes[:, :-1]), key=key, context=context)
        skip = BEFORE if key is None else before
        y, targets = y[:, skip:], codes[:, 1 + skip :].astype(jnp.int32)
        if law == "softmax":
            values = losses.cross_entropy(y, targets)
        else:
            values = losses.logistic_mixture(y, targets, LEVELS)
        return train.Losses(values, metrics={"bits": losses.bits(values)})

    return loss


@functools.cache  # the same function for the same numbers: see train.Batches
def _some(count: int, size: int, updates: int) -> Callable[[Any, Array], Any]:
    def plan(data: Any, key: Array) -> tuple[Array, Array]:
        del data
        rows = jnp.resize(jax.random.permutation(key, count), (updates, size))
        return rows, jnp.ones((updates, size))

    return plan


def some_crops(part: Sounds, recipe: Recipe, updates: int) -> train.Batches:
    """Crops of a part, other ones in every epoch of so many batches."""
    data = jax.tree.map(jnp.asarray, crops(part, recipe.steps, recipe.before))
    plan = _some(len(data["codes"]), recipe.batch_size, updates)
    return train.Batches(data, plan, take_rows, updates)


def whole(part: Sounds) -> train.Batches:
    """Every code of a part once, after at least `BEFORE` others."""
    return train.array_batches(crops(part, STEPS, BEFORE), 4, shuffle=False)


def fit_seeds(
    seeds: Sequence[int],
    recipe: Recipe,
    model: models.Model,
    parts: tuple[train.Batches, train.Batches],
    epochs: int,
    **how: Any,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a row; the best epoch's parameters are kept.

    Args:
        seeds: the seeds.
        recipe: the row's.
        model: of the recipe.
        parts: what to train on, and to validate with.
        epochs: as `parts` counts them.
        **how: see `seqjax.train.fit_seeds`.
    """
    batches, validation = parts
    total = batches.steps * epochs
    yield from train.fit_seeds(
        loss_of(model, recipe.law, recipe.before),
        model.init,
        train.cosine_adamw(recipe.learning_rate, total, warm_up=total // 20),
        batches,
        seeds=seeds,
        epochs=epochs,
        validation=validation,
        early_stopping=train.EarlyStopping(patience=None),
        **how,
    )
