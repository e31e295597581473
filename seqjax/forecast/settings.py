"""The settings of a forecaster, as given and as they follow from the data."""

import dataclasses
import math
import sys
from numbers import Integral
from typing import Literal, get_args

import numpy as np

from seqjax.data import DataError
from seqjax.forecast.panel import Panel, typical_length, within
from seqjax.storage.strict_json import nearest

Strategy = Literal["direct", "recursive", "sequence"]
Loss = Literal["mae", "quantile", "normal", "student_t", "negative_binomial"]
Transform = Literal["log", "difference"]

# Columns of forecasts are named as Nixtla's libraries name them.
NAMES = {
    "linear": "Linear",
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "min_gru": "MinGRU",
    "lru": "LRU",
    "wavenet": "WaveNet",
}
PASSES = 0.5  # over all values, in a training: more of them learn little data by heart
FEWEST_STEPS = 10  # of a training
MOST_READ = 56_000  # steps of a training times steps of a window: twenty seconds of a CPU core
RATE, LINEAR_RATE = 5e-3, 2e-3  # of learning; that of a linear model, whose inputs are many
LONGEST_WINDOW = 104  # steps that a network reads: two years of weeks
LONGEST_SEASON = 750
CYCLES = 20  # of each season, whose mean is a naive forecast
LONGEST_HISTORY = 1000  # steps that naive forecasts look back


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a forecaster is made of; hashable, so that equal ones share compiled programs.

    Attributes:
        model: the architecture, a key of `NAMES`.
        horizon: steps that the network forecasts at once.
        seasons: lengths of the seasons, in steps, ascending.
        window: steps that the network reads.
        features: width of each layer.
        strategy: "direct": all horizons from the last state; "recursive": one step, fed back;
            "sequence": as direct, trained at every step of a window.
        loss: what is minimised; all but "mae" forecast quantiles, too.
        level: of the intervals that a quantile head learns, in percent.
        transform: of the values before all else.
        dropout: rate between layers.
        learning_rate: of AdamW, at the start of half a cosine; None for `RATE`, or `LINEAR_RATE`.
        weight_decay: of AdamW.
        batch_size: windows in a batch.
        steps: of a training.
        seeds: networks whose median is the forecast.
    """

    model: str
    horizon: int
    seasons: tuple[int, ...] = ()
    window: int = 0
    features: tuple[int, ...] = (64, 64)
    strategy: Strategy = "direct"
    loss: Loss = "mae"
    level: tuple[float, ...] = (80.0, 95.0)
    transform: Transform | None = None
    dropout: float = 0.1
    learning_rate: float | None = None
    weight_decay: float = 1e-2
    batch_size: int = 64
    steps: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        for name, known in (
            ("model", tuple(NAMES)),
            ("strategy", get_args(Strategy)),
            ("loss", get_args(Loss)),
            ("transform", (None, *get_args(Transform))),
        ):
            value = getattr(self, name)
            if value not in known:
                choices = ", ".join(map(str, known))
                hint = nearest(str(value), [one for one in known if one])
                raise ValueError(f"{name} must be one of {choices}, not {value!r}.{hint}")
        for name in ("horizon", "batch_size", "seeds", "window", "steps"):
            if not isinstance(getattr(self, name), Integral):
                raise ValueError(f"{name} is a whole number, not {getattr(self, name)!r}.")
        for name in ("horizon", "batch_size", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for one in self.level:
            if not 0 < one < 100:
                raise ValueError(f"level must be percentages between 0 and 100, not {one}.")
        for name in ("window", "steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 1, or 0 to be found: not negative.")
        for name, least, most in (
            ("dropout", 0.0, 1.0),
            ("learning_rate", sys.float_info.min, math.inf),
            ("weight_decay", 0.0, math.inf),
        ):
            value = getattr(self, name)
            if value is None and name == "learning_rate":
                continue
            if not isinstance(value, int | float | np.number) or not least <= value < most:
                bounds = "above 0" if least else f"in [0, {most:g})"
                raise ValueError(f"{name} must be a number {bounds}, not {value!r}.")
        widths = self.features if isinstance(self.features, tuple) else ()
        if not widths or not all(isinstance(one, Integral) and one >= 1 for one in widths):
            raise ValueError(f"features must be the widths of layers, not {self.features!r}.")
        if self.loss == "negative_binomial" and self.transform is not None:
            raise ValueError(f"counts have no transform {self.transform!r}: leave it out.")
        if any(one < 2 for one in self.seasons):
            raise ValueError(f"a season has at least 2 steps, not {min(self.seasons)}.")
        if self.strategy == "sequence" and self.model == "linear":
            raise ValueError("a linear model answers at the end of its window: not 'sequence'.")

    @property
    def name(self) -> str:
        """Of its column: "GRU"."""
        return NAMES[self.model]

    @property
    def answers(self) -> int:
        """Steps that the network itself forecasts at once."""
        return 1 if self.strategy == "recursive" else self.horizon

    @property
    def history(self) -> int:
        """Steps that a forecast depends on: those read, and the cycles that are averaged."""
        return max(self.read, min(CYCLES * max(self.seasons, default=1), LONGEST_HISTORY))

    @property
    def read(self) -> int:
        """Steps that the network itself reads: the window, and a season before what follows."""
        return self.window + max(self.seasons, default=1) - 1

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the quantile head, ascending, the median in the middle."""
        tails = sorted({round((100 - one) / 200, 6) for one in self.level})
        return (*tails, 0.5, *(round(1 - one, 6) for one in reversed(tails)))


def resolved(settings: Settings, panel: Panel) -> Settings:
    """With a window, a number of training steps and a learning rate that follow from the data.

    The window is three of the shortest season (two, where three are longer than
    `LONGEST_WINDOW`): longer seasons come in as inputs, from the cycles before each step. Training
    reads so many of its windows that it passes `PASSES` times over all values
    (docs/forecast_measures.md).

    Args:
        settings: `window` and `steps` 0, `learning_rate` None where they are to be found.
        panel: what it will be trained on.

    Returns:
        The settings, without seasons that no series is long enough for.

    Raises:
        DataError: where no series has a value to forecast behind one to read.
    """
    lengths = panel.lengths
    longest = int(lengths.max())
    if longest < 2:
        raise DataError("every series has one value: there is nothing to learn from.")
    if settings.loss == "negative_binomial" and (low := within(panel) & (panel.values < 0)).any():
        place = int(np.argmax(low))
        series = int(np.searchsorted(panel.starts, place, side="right")) - 1
        raise DataError(
            f"negative_binomial is for counts, but series {panel.ids[series]!r} has the value"
            f" {panel.values[place]:g}; take another loss."
        )
    seasons = tuple(one for one in settings.seasons if one < min(longest, LONGEST_SEASON))
    window = settings.window
    if not window:
        season = min(seasons, default=0)
        wanted = next((n * season for n in (3, 2, 1) if n * season <= LONGEST_WINDOW), 0)
        wanted = max(wanted, min(2 * settings.horizon, 24), 12)
        typical = max(int(np.quantile(lengths, 0.75)), typical_length(panel))
        room = max(typical - settings.horizon, typical // 2, 1)
        window = min(wanted, room)
    steps = settings.steps
    if not steps:
        wanted = math.ceil(PASSES * int(lengths.sum()) / settings.batch_size)
        steps = int(np.clip(wanted, FEWEST_STEPS, max(FEWEST_STEPS, MOST_READ // window)))
    rate = settings.learning_rate
    if rate is None:
        rate = LINEAR_RATE if settings.model == "linear" else RATE
    return dataclasses.replace(
        settings, seasons=seasons, window=window, steps=steps, learning_rate=rate
    )
