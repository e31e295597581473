"""The models of `experiments.music`: what sounds next, key by key, and how they are trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jaxtyping import Float

from seqjax import launch, losses, models, nn, train
from seqjax.data.music import KEYS
from seqjax.report import Kind
from seqjax.storage.strict_json import nearest

PARAMETERS = 120_000  # of every network, to 5 % (and NADE's own)
_NADE = 32  # its hidden units


class Recipe(NamedTuple):
    """A row.

    Attributes:
        title: its name in words.
        layers: below the head, or all of it where the head is none.
        head: whether a dense layer makes 88 logits (and what NADE wants) of them.
        nade: whether the keys of a step depend on each other, the lower ones first.
        kind: network or baseline.
        learning_rate: of AdamW at its height.
    """

    title: str
    layers: tuple[nn.Layer, ...]
    head: bool = True
    nade: bool = False
    kind: Kind = "model"
    learning_rate: float = 1e-2


class Settings(NamedTuple):
    """How every row is trained.

    Attributes:
        epochs: passes over the training part.
        batch_size: pieces in a batch.
        dropout: rate below the head and in residual blocks.
        transpose: semitones by which a piece is moved up or down at random, at most; one that is
            near an end of the keyboard only as far as there are keys.
    """

    epochs: int = 80
    batch_size: int = 8
    dropout: float = 0.1
    transpose: int = 6


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
    recipe: Recipe, dropout: float = 0.0, dtype: Literal["bfloat16"] | None = None
) -> models.Model:
    """A model of 88 inputs, the keys that sound, and 88 logits of those that sound next.

    Of one with NADE the parameters are ``{"network": ..., "nade": ...}`` and the outputs 32 more.

    Args:
        recipe: the row's.
        dropout: rate below the head and in residual blocks.
        dtype: of the computation of the layers; by default float32.

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
        layers = (*layers, nn.Dense(KEYS + (_NADE if recipe.nade else 0)))
    made = models.from_layer(nn.Stack(layers, dropout=dropout), KEYS)
    made = made if dtype is None else models.in_dtype(made, dtype)
    if not recipe.nade:
        return made

    def init(key: Array) -> Any:
        key, own_key = jax.random.split(key)
        own = 0.01 * jax.random.normal(own_key, (2, KEYS, _NADE))
        return {"network": made.init(key), "nade": {"reads": own[0], "writes": own[1]}}

    def apply(params: Any, x: Array, *args: Any, **how: Any) -> Any:
        return made.apply(params["network"], x, *args, **how)

    def step(params: Any, carry: Any, x: Array, **how: Any) -> Any:
        return made.step(params["network"], carry, x, **how)

    return models.Model(init, apply, made.initial_carry, step, inputs=KEYS)


def nats(
    params: Any, y: Float[Array, "batch time outputs"], frames: Float[Array, "batch time 88"]
) -> Float[Array, "batch time"]:
    """Negative log-likelihood of each step, the sum over its keys.

    ``-sum_k x_k log p_k + (1 - x_k) log(1 - p_k)``, ``p = sigmoid(y)``; under a NADE ``p_k =
    sigmoid(b_k + v_k sigmoid(c + sum_{j<k} x_j w_j))`` with ``[b, c] = y``.

    Args:
        params: of the model.
        y: its outputs.
        frames: the keys that sound, zeros and ones.

    Returns:
        Nats.

    Source: Boulanger-Lewandowski et al., arXiv 1206.6392; NADE: Larochelle and Murray, AISTATS
    2011, and with a recurrent network the first of these.
    """
    logits = y[..., :KEYS].astype(jnp.float32)
    if "nade" in params:
        reads, writes = params["nade"]["reads"], params["nade"]["writes"]
        # [j, k, hidden]: what key j tells key k; one product in place of running sums.
        lower = jnp.triu(jnp.ones((KEYS, KEYS)), 1)[:, :, None] * reads[:, None]
        told = jnp.einsum("btj,jkh->btkh", frames, lower)
        hidden = jax.nn.sigmoid(y[..., None, KEYS:] + told)
        logits = logits + jnp.sum(hidden * writes[None, None], axis=-1)
    return jnp.sum(optax.sigmoid_binary_cross_entropy(logits, frames), axis=-1)


def drawer(params: Any) -> Callable[[Array, Array], Array]:
    """``(key, y [batch, outputs]) -> frames [batch, 88]``, for `seqjax.models.generate`."""

    def apart(key: Array, y: Array) -> Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(y)).astype(y.dtype)

    def nade(key: Array, y: Array) -> Array:
        def one(told: Array, own: tuple[Array, ...]) -> tuple[Array, Array]:
            bias, reads, writes, noise = own
            logit = bias + jax.nn.sigmoid(told) @ writes
            drawn = (noise < jax.nn.sigmoid(logit)).astype(y.dtype)
            return told + drawn[:, None] * reads[None], drawn

        noise = jax.random.uniform(key, (KEYS, len(y)))
        own = (y[:, :KEYS].T, params["nade"]["reads"], params["nade"]["writes"], noise)
        return lax.scan(one, y[:, KEYS:], own)[1].T

    return nade if "nade" in params else apart


def drawn(model: models.Model, params: Any, count: int, steps: int, seed: int = 0) -> np.ndarray:
    """Pieces [count, steps, 88] out of silence, drawn step by step."""

    @jax.jit
    def run(params: Any, key: Array) -> Array:
        silence = jnp.zeros((count, 1, KEYS))
        sample = drawer(params)
        return models.generate(model, params, silence, steps, key=key, sample=sample)

    return np.asarray(run(params, jax.random.key(seed))).astype(np.uint8)


def loss_of(model: models.Model, transpose: int = 0) -> train.Loss:
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
        values = nats(params, model.apply(params, before, key=key), frames)
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
    parts: tuple[train.Batches, train.Batches],
    **how: Any,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a row; the epoch of the best validation is kept.

    Args:
        seeds: the seeds.
        recipe: the row's.
        settings: how.
        model: of the recipe.
        parts: to train on, and to validate with.
        **how: see `seqjax.train.fit_seeds`.
    """
    batches, validation = parts
    steps = batches.steps * settings.epochs
    yield from train.fit_seeds(
        loss_of(model, settings.transpose),
        model.init,
        train.cosine_adamw(recipe.learning_rate, steps, warm_up=steps // 20),
        batches,
        seeds=seeds,
        epochs=settings.epochs,
        validation=validation,
        early_stopping=train.EarlyStopping(metric="nll"),
        **how,
    )
