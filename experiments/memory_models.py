"""The networks of `experiments.memory`: equally many parameters, and what each is trained with."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import initializers

from experiments.memory_data import Name, task_of
from seqjax import models, nn

ARCHITECTURES: Mapping[str, str] = {
    "rnn": "simple RNN, tanh, orthogonal",
    "irnn": "simple RNN, relu, identity",
    "ln_rnn": "simple RNN, tanh, layer norm",
    "lstm": "LSTM, forget bias 1",
    "lstm_chrono": "LSTM, chrono initialisation",
    "peephole_lstm": "LSTM with peepholes",
    "gru": "GRU",
    "min_gru": "minGRU, 2 residual blocks",
    "lru": "LRU, 2 residual blocks",
    "tcn": "TCN, a WaveNet of rectified units",
}
CURES: Mapping[str, str] = {
    "none": "simple RNN, Glorot, no clipping",
    "clipping": "clipping",
    "orthogonal": "orthogonal weights",
    "layer_norm": "layer norm",
    "dropout": "recurrent dropout of 0.1",
    "gating": "gating (LSTM)",
}


KERNEL = 4  # taps of the TCN


class Settings(NamedTuple):
    """How a network is trained.

    Attributes:
        task: on what.
        network: of `ARCHITECTURES` or `CURES`.
        lag: T.
        steps: updates.
        learning_rate: of Adam at its height: it rises for a twentieth of the steps, and falls
            to zero along a cosine.
        parameters: of the network, to 8 %.
        clip: the largest norm of a gradient; None for none.
        batch_size: sequences in a batch.
    """

    task: Name
    network: str
    lag: int
    steps: int
    learning_rate: float
    parameters: int
    clip: float | None = 1.0
    batch_size: int = 32


STEPS = {"adding": 4000, "copy": 1500, "digits": 1000, "cure": 2000}
# What is solved long before the end needs fewer, what comes near more.
STEPS |= {"adding-gru": 2000, "adding-tcn": 8000} | dict.fromkeys(
    ("adding-lstm_chrono", "adding-min_gru"), 1500
)
PARAMETERS = {"adding": 4000, "copy": 8000, "digits": 4000}
PAPER_STEPS, PAPER_PARAMETERS = 20_000, {"adding": 70_000, "copy": 16_000, "digits": 70_000}
# One rate for all cures: they would change two things otherwise.
GATED = ("lstm", "lstm_chrono", "peephole_lstm", "gru", "min_gru")
RATES = dict.fromkeys((*ARCHITECTURES, *CURES), 4e-3) | dict.fromkeys(GATED, 1e-2)
RATES |= {"irnn": 1e-3, "adding-lstm": 2e-2, "adding-peephole_lstm": 2e-2}


def settings_of(row: str, lag: int, *, paper: bool = False) -> Settings:
    """The settings of a row, "TASK-NETWORK" or "cure-NETWORK", at a lag."""
    group, _, network = row.partition("-")
    task = cast(Name, "adding" if group == "cure" else group)
    steps = PAPER_STEPS if paper else STEPS.get(row, STEPS[group])
    parameters = (PAPER_PARAMETERS if paper else PARAMETERS)[task]
    rate = RATES.get(row, RATES[network])
    clip = None if network in CURES and network != "clipping" else 1.0
    return Settings(task, network, lag, steps, rate, parameters, clip)


def chrono(lag: int) -> Any:
    """Draws an LSTM's bias: memories of up to `lag` steps to begin with.

    ``b_f = log u`` with ``u`` uniform in ``[1, lag - 1]``, ``b_i = -b_f``, else zeros

    Args:
        lag: the longest dependence that is expected, at least 2 steps.

    Returns:
        The initialiser, for ``nn.LSTM(bias_init=...)``.

    Raises:
        ValueError: for a shorter one.

    Example:
        >>> i, f, g, o = chrono(100)(jax.random.key(0), (4 * 8,), jnp.float32).reshape(4, 8)
        >>> bool((i == -f).all()), bool((f >= 0).all() and (f < 4.6).all())
        (True, True)

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", arXiv 1804.11188.
    """
    if lag < 2:
        raise ValueError(f"chrono: lag must be at least 2 steps, not {lag}.")

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        features = shape[0] // 4
        forget = jnp.log(jax.random.uniform(key, (features,), dtype, 1, max(lag - 1, 1 + 1e-3)))
        zeros = jnp.zeros(2 * features, dtype)
        return jnp.concatenate([-forget, forget, zeros])

    return init


def identity(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An identity as recurrent kernel (Le et al., arXiv 1504.00941)."""
    del key
    return jnp.eye(*shape, dtype=dtype)


def _layers(settings: Settings, width: int, length: int) -> tuple[nn.Layer, ...]:
    glorot: dict[str, Any] = {"recurrent_init": initializers.glorot_uniform()}
    doubling = [1]
    while KERNEL * sum(doubling) < 4 * length:
        doubling.append(2 * doubling[-1])
    tcn = {"kernel_size": KERNEL, "dilations": tuple(doubling), "gated": False}
    # Memories of half a sequence to five, in as many numbers as the widths' products leave.
    ring = {"r_min": 1 - 2 / length, "r_max": 1 - 0.2 / length}
    state = round(math.sqrt(settings.parameters) / 2)
    one, two = (width,), (width, width)
    # A one-hot input picks a row of the kernel. Glorot's rows are so small that all cells forget
    # alike, and what the gates let in of a symbol is lost in the noise of a batch.
    kernel = {"kernel_init": initializers.normal(2.0)} if settings.task == "copy" else {}
    lstm = functools.partial(models.layers, **kernel)
    return {
        "rnn": lambda: models.layers("rnn", one),
        "irnn": lambda: models.layers("rnn", one, activation="relu", recurrent_init=identity),
        "ln_rnn": lambda: models.layers("rnn", one, layer_norm=True),
        "lstm": lambda: lstm("lstm", one),
        "lstm_chrono": lambda: lstm("lstm", one, bias_init=chrono(length)),
        "peephole_lstm": lambda: lstm("peephole_lstm", one),
        "gru": lambda: models.layers("gru", one),
        "min_gru": lambda: models.layers("min_gru", two),
        "lru": lambda: models.layers("lru", two, state=state, **ring),
        "tcn": lambda: models.layers("wavenet", one, skip_features=width, **tcn),
        "none": lambda: models.layers("rnn", one, **glorot),
        "clipping": lambda: models.layers("rnn", one, **glorot),
        "orthogonal": lambda: models.layers("rnn", one),
        "layer_norm": lambda: models.layers("rnn", one, layer_norm=True, **glorot),
        "dropout": lambda: models.layers("rnn", one, recurrent_dropout=0.1, **glorot),
        "gating": lambda: models.layers("lstm", one, **glorot),
    }[settings.network]()


def make_model(settings: Settings, width: int | None = None) -> models.Model:
    """Layers and a dense head.

    Args:
        settings: say of what.
        width: of every layer; by default that of `width_of`.

    Returns:
        The model.
    """
    width = width_of(settings) if width is None else width
    task = task_of(settings.task, settings.lag)
    stack = nn.Stack((*_layers(settings, width, task.length), nn.Dense(task.outputs)))
    return models.from_layer(stack, task.inputs, last=task.last)


@functools.cache
def width_of(settings: Settings) -> int:
    """The width at which a network has about its parameters: they are quadratic in it.

    Example:
        >>> gru = 3 * 8 * (2 + 8) + 6 * 8
        >>> settings = Settings("adding", "gru", 20, steps=1, learning_rate=0.1, parameters=gru + 9)
        >>> width_of(settings)
        8
    """
    widths, counts = (8, 16, 32), []
    for width in widths:
        made = jax.eval_shape(make_model(settings, width).init, jax.random.key(0))
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(made)))
    square, linear, constant = np.polyfit(widths, counts, 2)
    return round(float(max(np.roots([square, linear, constant - settings.parameters]).real)))
