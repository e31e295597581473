"""The models of chapter 15 of *Hands-On Machine Learning*, and some beyond it, by name.

    from experiments.chapter15 import RECIPES
    model = RECIPES["lstm"].model()

`python -m experiments.synthetic_forecast` trains them and prints their table. Data,
settings and published figures are those of the book's notebook (2nd edition): 10,000
series of 50 steps, batch 32, Adam at 1e-3, 20 epochs unless said.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import optax
from jax import Array
from jax.nn import initializers

from seqjax import models, nn, train

WINDOW = 50
HORIZON = 10


class Training(NamedTuple):
    """How a recipe is trained; by default as in the book.

    Attributes:
        epochs: passes over the training part.
        batch_size: series in a batch.
        learning_rate: of Adam.
        cosine: warm up over two epochs, then fall to zero along a cosine, with clipping
            of the gradient's norm at 1; otherwise the rate is constant.
        flip: change the sign of half of the series at random: the series' distribution
            has that symmetry.
        skip: steps whose forecasts do not count in the loss: with so little seen, they
            are nearly all noise.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    cosine: bool = False
    flip: bool = False
    skip: int = 0


class Recipe(NamedTuple):
    """A row of the table.

    Attributes:
        model: makes it.
        title: its name in words.
        horizon: steps ahead, 1 or 10.
        parameters: how many it must have, a batch norm's running moments included.
        targets: "last": a forecast after the last step; "every": one after every step,
            all in the loss; "strided": the same, after the steps 3, 5, 7, ...;
            "iterative": trained one step ahead, forecasts fed back.
        published: the book's validation MSE (ten steps ahead: at the last step).
        training: how.
        best: whether the result is the epoch of least validation error, and the test
            part is looked at: ours, beyond the book's settings.
    """

    model: Callable[[], models.Model]
    title: str
    horizon: int
    parameters: int
    targets: Literal["last", "every", "strided", "iterative"] = "last"
    published: float | None = None
    training: Training = Training()
    best: bool = False


def linear(horizon: int) -> models.Model:
    """A linear function of the window: a convolution as long as it."""

    def glorot(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return initializers.glorot_uniform()(key, (WINDOW, horizon), dtype).reshape(shape)

    layer = nn.CausalConv(horizon, WINDOW, padding="valid", kernel_init=glorot)
    return models.from_layer(layer, inputs=1, last=True)


def rnn_only() -> models.Model:
    """Recurrent layers of 20, 20 and 1: the last one's state is the forecast."""
    return models.from_layer(nn.Stack((nn.RNN(20), nn.RNN(20), nn.RNN(1))), 1, last=True)


def deep(
    layer: Callable[[int], Any],
    outputs: int,
    *,
    last: bool = False,
    widths: tuple[int, ...] = (20, 20),
) -> models.Model:
    """Recurrent layers under a dense head."""
    layers = [layer(width) for width in widths]
    return models.from_layer(nn.Stack((*layers, nn.Dense(outputs))), 1, last=last)


def with_dropout(layer: Callable[..., Any]) -> Callable[[int], Any]:
    """A recurrent layer with dropout of its inputs and of its recurrence."""
    return functools.partial(layer, dropout=0.1, recurrent_dropout=0.1)


def batch_norm() -> models.Model:
    """The sequence-to-sequence network with batch norm after each recurrent layer."""
    layers = (nn.RNN(20), nn.BatchNorm(), nn.RNN(20), nn.BatchNorm(), nn.Dense(HORIZON))
    return models.from_layer(nn.Stack(layers), 1)


def conv_gru() -> models.Model:
    """A strided convolution under two GRUs: half as many steps."""
    conv = nn.CausalConv(20, kernel_size=4, stride=2, padding="valid")
    return models.from_layer(nn.Stack((conv, nn.GRU(20), nn.GRU(20), nn.Dense(HORIZON))), 1)


def simple_wavenet() -> models.Model:
    """Dilated causal convolutions with relu, without gates or skip connections."""
    convs = [nn.CausalConv(20, 2, dilation=d, activation=jax.nn.relu) for d in (1, 2, 4, 8) * 2]
    return models.from_layer(nn.Stack((*convs, nn.Dense(HORIZON))), 1)


def gated_wavenet() -> models.Model:
    """The book's full WaveNet: three gated blocks of 32 filters."""
    return models.from_layer(nn.WaveNet(HORIZON, dilations=(1, 2, 4)), 1)


def wide_wavenet() -> models.Model:
    """A WaveNet that sees the whole window."""
    layer = nn.WaveNet(
        HORIZON, dilations=(1, 2, 4, 8, 16), cycles=2, residual_features=32, skip_features=64
    )
    return models.from_layer(layer, 1)


def parallel(layer: Callable[..., Any], width: int = 32, blocks: int = 2) -> models.Model:
    """Residual blocks around linear recurrences, under a dense head."""
    stack = [nn.Residual(layer(width), width) for _ in range(blocks)]
    return models.from_layer(nn.Stack((nn.Dense(width), *stack, nn.Dense(HORIZON))), 1)


_LONG = Training(60, batch_size=64, learning_rate=8e-3, cosine=True, flip=True, skip=15)

RECIPES: dict[str, Recipe] = {
    # One step ahead.
    "linear": Recipe(lambda: linear(1), "linear", 1, 51, published=0.004168),
    "rnn-1": Recipe(
        lambda: models.from_layer(nn.RNN(1), 1, last=True),
        "SimpleRNN 1",
        1,
        3,
        published=0.010882,
        training=Training(learning_rate=5e-3),
    ),
    "rnn-20-20-1": Recipe(rnn_only, "SimpleRNN 20-20-1", 1, 1282, published=0.002911),
    "rnn-20-20": Recipe(
        lambda: deep(nn.RNN, 1, last=True), "SimpleRNN 20-20", 1, 1281, published=0.002624
    ),
    # Ten steps ahead.
    "iterative": Recipe(
        lambda: deep(nn.RNN, 1, last=True),
        "iterative, SimpleRNN 20-20",
        10,
        1281,
        "iterative",
        published=0.027511,
    ),
    "linear-10": Recipe(lambda: linear(HORIZON), "linear", 10, 510, published=0.0187),
    "seq2vec": Recipe(
        lambda: deep(nn.RNN, HORIZON, last=True),
        "sequence to vector, SimpleRNN 20-20",
        10,
        1470,
        published=0.0085,
    ),
    "seq2seq": Recipe(
        lambda: deep(nn.RNN, HORIZON),
        "sequence to sequence, SimpleRNN 20-20",
        10,
        1470,
        "every",
        published=0.0096,
        training=Training(learning_rate=1e-2),
    ),
    "layer-norm": Recipe(
        lambda: deep(functools.partial(nn.RNN, layer_norm=True), HORIZON),
        "SimpleRNN 20-20, layer norm",
        10,
        1550,
        "every",
        published=0.0121,
    ),
    "batch-norm": Recipe(batch_norm, "SimpleRNN 20-20, batch norm", 10, 1630, "every"),
    "lstm": Recipe(
        lambda: deep(nn.LSTM, HORIZON), "LSTM 20-20", 10, 5250, "every", published=0.008561
    ),
    "gru": Recipe(
        lambda: deep(nn.GRU, HORIZON), "GRU 20-20", 10, 4110, "every", published=0.010263
    ),
    "conv-gru": Recipe(conv_gru, "Conv1D + GRU 20-20", 10, 5350, "strided", published=0.0080),
    "wavenet": Recipe(simple_wavenet, "WaveNet, simple", 10, 6010, "every", published=0.0072),
    "wavenet-gated": Recipe(gated_wavenet, "WaveNet, gated, 3 blocks", 10, 17130, "every"),
    # Beyond the book, with its training settings.
    "wavenet-wide": Recipe(wide_wavenet, "WaveNet, gated, 10 blocks", 10, 77130, "every"),
    "rnn-dropout": Recipe(
        lambda: deep(with_dropout(nn.RNN), HORIZON),
        "SimpleRNN 20-20, dropout",
        10,
        1470,
        "every",
    ),
    "lstm-dropout": Recipe(
        lambda: deep(with_dropout(nn.LSTM), HORIZON),
        "LSTM 20-20, dropout",
        10,
        5250,
        "every",
    ),
    "gru-dropout": Recipe(
        lambda: deep(with_dropout(nn.GRU), HORIZON),
        "GRU 20-20, dropout",
        10,
        4110,
        "every",
    ),
    "mingru": Recipe(lambda: parallel(nn.MinGRU), "minGRU 32, 2 blocks", 10, 8970, "every"),
    "minlstm": Recipe(lambda: parallel(nn.MinLSTM), "minLSTM 32, 2 blocks", 10, 11082, "every"),
    "lru": Recipe(
        lambda: parallel(lambda width: nn.LRU(width, state=width)),
        "LRU 32, 2 blocks",
        10,
        13194,
        "every",
    ),
    # Beyond the book: our own training.
    "best-1": Recipe(
        lambda: deep(nn.LSTM, 1, widths=(64, 64)),
        "LSTM 64-64, long training",
        1,
        49985,
        "every",
        training=_LONG,
        best=True,
    ),
    "best-10": Recipe(
        lambda: deep(nn.LSTM, HORIZON, widths=(64, 64)),
        "LSTM 64-64, long training",
        10,
        50570,
        "every",
        training=_LONG,
        best=True,
    ),
}


def optimizer_of(
    recipe: Recipe, steps_per_epoch: int, epochs: int, *, tunable: bool = False
) -> optax.GradientTransformation:
    """The optimizer of a recipe.

    Args:
        recipe: the recipe.
        steps_per_epoch: batches in an epoch.
        epochs: of the training.
        tunable: for a sweep over learning rates, which then compiles once; figures differ by
            rounding from those of a rate that is a constant.
    """
    training = recipe.training
    total = steps_per_epoch * epochs
    warm = min(2 * steps_per_epoch, total // 2)
    if tunable and training.cosine:
        return train.cosine_adamw(training.learning_rate, total, warm_up=warm, weight_decay=0.0)
    if tunable:
        return train.tunable(optax.adam, learning_rate=training.learning_rate)
    if not training.cosine:
        return optax.adam(training.learning_rate)
    schedule = optax.warmup_cosine_decay_schedule(0.0, training.learning_rate, warm, total)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
