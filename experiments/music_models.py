"""The models of `experiments.music`: what sounds next, key by key, and how they are trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from experiments.music_laws import HIDDEN, Law, apart, nade, nats, tied
from experiments.music_tied import SHARED, for_each_key
from seqjax import launch, losses, models, nn, train
from seqjax.data.music import KEYS
from seqjax.report import Kind
from seqjax.storage.strict_json import nearest

PARAMETERS = 120_000  # of every network with weights for each key, to 5 % (and NADE's own)


class Recipe(NamedTuple):
    """A row.

    Attributes:
        title: its name in words.
        layers: below the head, or all of it where the head is none.
        head: whether a dense layer makes the outputs that the law wants.
        nade: whether the keys of a step depend on each other, the lower ones first.
        tied: whether a network for each key, all of the same weights, reads the intervals from it.
        kind: network or baseline.
        learning_rate: of AdamW at its height.
        epochs: passes over the training part.
        batch_size: pieces in a batch.
    """

    title: str
    layers: tuple[nn.Layer, ...]
    head: bool = True
    nade: bool = False
    tied: bool = False
    kind: Kind = "model"
    learning_rate: float = 1e-2
    epochs: int = 80
    batch_size: int = 8

    def law(self, keys: tuple[int, int] = (0, KEYS)) -> Law:
        """Of the keys that sound next; `keys` are the lowest and the number of those that may."""
        if self.tied:
            return tied(*keys, SHARED, nade=self.nade)
        return nade() if self.nade else apart()


class Settings(NamedTuple):
    """How a row is trained.

    Attributes:
        epochs: passes over the training part.
        batch_size: pieces in a batch.
        dropout: rate below the head and in residual blocks.
        transpose: semitones by which a piece is moved up or down at random, at most; one that is
            near an end of the keyboard only as far as there are keys.
    """

    epochs: int
    batch_size: int
    dropout: float
    transpose: int


def _tcn(width: int) -> tuple[nn.Layer, ...]:
    convolutions = nn.WaveNet(
        KEYS,
        kernel_size=3,
        dilations=(1, 2, 4, 8),
        residual_features=width,
        gated=False,
        weight_norm=True,
    )
    return (convolutions,)


_EACH = "a GRU for each key, of the same weights"

RECIPES = {
    "rnn": Recipe("simple recurrent network, tanh", (nn.RNN(268),), learning_rate=3e-3),
    "lstm": Recipe("LSTM", (nn.LSTM(126),)),
    "gru": Recipe("GRU", (nn.GRU(149),)),
    "tcn": Recipe(
        "dilated causal convolutions with relu and residuals",
        _tcn(74),
        head=False,
        learning_rate=4e-3,
    ),
    "gru-nade": Recipe(
        "GRU under a NADE: keys that depend on each other", (nn.GRU(149),), nade=True
    ),
    "gru-tied": Recipe(_EACH, (nn.GRU(64),), tied=True, epochs=14),
    "gru-tied-nade": Recipe(
        f"{_EACH}, under a NADE", (nn.GRU(64),), nade=True, tied=True, epochs=20
    ),
    "logistic-1": Recipe(
        "logistic regression on the step before",
        (nn.CausalConv(KEYS, kernel_size=1),),
        head=False,
        kind="baseline",
    ),
    "logistic-4": Recipe(
        "logistic regression on four steps",
        (nn.CausalConv(KEYS, kernel_size=4),),
        head=False,
        kind="baseline",
    ),
}


def recipe_of(row: str) -> Recipe:
    """The recipe of a row of a run, swept options aside.

    Raises:
        RunError: where there is none.
    """
    name = row.partition(" ")[0]
    if name not in RECIPES:
        raise launch.RunError(f"there is no row {row!r}.{nearest(name, RECIPES)} See --list.")
    return RECIPES[name]


def make_model(
    recipe: Recipe,
    dropout: float = 0.0,
    cast: Callable[[models.Model], models.Model] = lambda model: model,
    keys: tuple[int, int] = (0, KEYS),
) -> models.Model:
    """A model of 88 inputs, the keys that sound, and what its law wants to know of the next.

    Where the law has parameters of its own they are ``{"network": ..., "law": ...}``.

    Args:
        recipe: the row's.
        dropout: rate below the head and in residual blocks.
        cast: of the layers, as in `seqjax.study.Config.cast`.
        keys: the lowest, and the number, of those that a network for each key is there for.

    Returns:
        The model.

    Example:
        >>> model = make_model(RECIPES["gru-nade"])
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jnp.zeros((2, 5, 88))).shape
        (2, 5, 120)
    """
    layers = tuple(
        layer.clone(dropout=dropout) if isinstance(layer, nn.WaveNet) else layer
        for layer in recipe.layers
    )
    if recipe.head:
        size = SHARED if recipe.tied else KEYS + (HIDDEN if recipe.nade else 0)
        layers = (*layers, nn.Dense(size))
    inputs = SHARED if recipe.tied else KEYS
    made = cast(models.from_layer(nn.Stack(layers, dropout=dropout), inputs))
    made = for_each_key(made, *keys) if recipe.tied else made
    law = recipe.law(keys)
    if not (recipe.tied or recipe.nade):
        return made

    def init(key: Array) -> Any:
        key, own = jax.random.split(key)
        return {"network": made.init(key), "law": law.init(own)}

    def apply(params: Any, x: Array, *args: Any, **how: Any) -> Any:
        return made.apply(params["network"], x, *args, **how)

    def step(params: Any, carry: Any, x: Array, **how: Any) -> Any:
        return made.step(params["network"], carry, x, **how)

    return models.Model(init, apply, made.initial_carry, step, inputs=KEYS)


def drawn(
    model: models.Model, law: Law, params: Any, count: int, steps: int, seed: int = 0
) -> np.ndarray:
    """Pieces [count, steps, 88] out of silence, drawn step by step."""

    @jax.jit
    def run(params: Any, key: Array) -> Array:
        def sample(key: Array, y: Array) -> Array:
            return law.draw(own_of(params), key, y)

        silence = jnp.zeros((count, 1, KEYS))
        return models.generate(model, params, silence, steps, key=key, sample=sample)

    return np.asarray(run(params, jax.random.key(seed))).astype(np.uint8)


def own_of(params: Any) -> Any:
    """The law's own parameters of a model's."""
    return params.get("law", {})


def loss_of(model: models.Model, law: Law, transpose: int = 0) -> train.Loss:
    """Nats of every step after those before it; "nll" leaves out the first, as the benchmark does.

    What is padded comes last, and no model looks ahead: only the weights need to know it.
    """

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> train.Losses:
        frames = batch["frames"].astype(jnp.float32)
        if key is not None and transpose:
            key, own = jax.random.split(key)
            down, up = (jnp.minimum(room, transpose) for room in _rooms(frames))
            by = jax.random.randint(own, (len(frames),), -down, up + 1)
            frames = jax.vmap(lambda one, by: jnp.roll(one, by, axis=-1))(frames, by)
        before = jnp.pad(frames[:, :-1], ((0, 0), (1, 0), (0, 0)))
        values = nats(law, own_of(params), model.apply(params, before, key=key), frames)
        weights = losses.token_weights(batch["lengths"], frames.shape[1])
        return train.Losses(values, weights, metrics={"nll": (values, weights.at[:, 0].set(0))})

    return loss


def _rooms(frames: Float[Array, "batch time 88"]) -> tuple[Array, Array]:
    """Semitones by which each piece can be moved down, and up, before it leaves the keyboard."""
    used = jnp.any(frames > 0, axis=1)
    return jnp.argmax(used, axis=-1), jnp.argmax(used[:, ::-1], axis=-1)


def batches_of(rolls: Sequence[np.ndarray], size: int, *, shuffle: bool = True) -> train.Batches:
    """Piano rolls of unequal lengths in batches of four shapes at most."""
    lengths = np.array([len(roll) for roll in rolls], np.int32)
    frames = np.zeros((len(rolls), lengths.max(), KEYS), np.uint8)
    for row, roll in zip(frames, rolls, strict=True):
        row[: len(roll)] = roll
    arrays = {"frames": frames, "lengths": lengths}
    return train.bucketed_batches(arrays, lengths, size, along=["frames"], shuffle=shuffle)


def fit_seeds(
    seeds: Sequence[int],
    recipe: Recipe,
    settings: Settings,
    model: models.Model,
    law: Law,
    parts: tuple[train.Batches, train.Batches],
    **how: Any,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a row; the epoch of the best validation is kept.

    Args:
        seeds: the seeds.
        recipe: the row's.
        settings: how.
        model: of the recipe.
        law: likewise.
        parts: to train on, and to validate with.
        **how: see `seqjax.train.fit_seeds`.
    """
    batches, validation = parts
    steps = batches.steps * settings.epochs
    yield from train.fit_seeds(
        loss_of(model, law, settings.transpose),
        model.init,
        train.cosine_adamw(recipe.learning_rate, steps, warm_up=steps // 20),
        batches,
        seeds=seeds,
        epochs=settings.epochs,
        validation=validation,
        early_stopping=train.EarlyStopping(patience=None, metric="nll"),
        **how,
    )
