"""A series as examples of one step ahead."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from seqjax import data
from seqjax.forecast.season import Season


class Task(NamedTuple):
    """A series as examples: scaled windows, and the way back to the series' unit.

    A forecast is ``(base + unscale(network output)) * exposure``.

    Attributes:
        inputs: [examples, window, 1], scaled.
        targets: [examples, 1], scaled.
        split: which examples are for training, validation and test.
        scaler: from the training part alone.
        base: [examples]
        exposure: [examples]
    """

    inputs: np.ndarray
    targets: np.ndarray
    split: data.Split
    scaler: data.Scaler
    base: np.ndarray
    exposure: np.ndarray

    def examples(self, part: slice) -> dict[str, np.ndarray]:
        """Inputs "x" and targets "y" of a part."""
        return {"x": self.inputs[part], "y": self.targets[part]}

    def forecasts(self, outputs: ArrayLike, part: slice) -> np.ndarray:
        """A network's outputs [examples] of a part in the unit of the series."""
        outputs = np.asarray(outputs, np.float64)
        rates = self.base[part] + data.unscale(self.scaler, outputs)
        return rates * self.exposure[part]


def values_task(series: pd.Series, window: int, test: int) -> Task:
    """The value itself from the `window` before it, scaled to [0, 1].

    Args:
        series: the values.
        window: steps to read.
        test: examples of the test part, the last ones.
    """
    values = series.to_numpy(np.float64)
    return _task(values, window, test, np.zeros_like(values), np.ones_like(values), "min-max")


def changes_task(series: pd.Series, season: Season, cycles: int, test: int) -> Task:
    """The change of ``value / exposure`` from those of the last `cycles` cycles, standardised."""
    rate = series.to_numpy(np.float64) / season.exposure
    window = season.period * cycles + 1
    return _task(np.diff(rate), window, test, rate, season.exposure, "standard")


def _task(
    signal: np.ndarray,
    window: int,
    test: int,
    base: np.ndarray,
    exposure: np.ndarray,
    scale: Literal["min-max", "standard"],
) -> Task:
    inputs, targets = data.windows(signal, window)
    split = data.chronological_split(len(inputs), test=test)
    scaler_of = data.min_max_scaler if scale == "min-max" else data.standard_scaler
    scaler = scaler_of(signal[: window + split.train.stop])
    first = len(base) - len(inputs)
    return Task(
        inputs=data.scale(scaler, inputs)[..., None].astype(np.float32),
        targets=data.scale(scaler, targets).astype(np.float32),
        split=split,
        scaler=scaler,
        base=base[first - 1 : -1],
        exposure=exposure[first:],
    )
