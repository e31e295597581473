"""The options of ``seqjax forecast`` and ``seqjax predict``."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from seqjax.data import DataError
from seqjax.forecast.forecaster import Forecaster

File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN ...")]
# Several columns are one name: store/item.
Joined = Annotated[
    str,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="COLUMN ...",
        instance_from_str="/".join,
        is_instance=lambda given: isinstance(given, str),
        str_from_instance=lambda name: [name],
    ),
]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to forecast, and how; to be inherited by a command's Config."""

    file: Annotated[Positional[Path | None], tyro.conf.arg(metavar="FILE")] = None
    """A CSV with a header line, or a Parquet file: a row for each series and time."""
    horizon: int | None = None
    """Steps ahead to forecast; the one option that must be given."""
    season: tuple[int, ...] = ()
    """Lengths of the seasons in steps, such as 7, or 24 168; found in the data by default.
    1 says that there are none."""
    level: tuple[float, ...] = (80.0, 95.0)
    """Of the intervals, in percent."""
    model: Literal["gru", "lstm", "min_gru", "rnn", "lru", "wavenet", "linear", "auto"] = "gru"
    """The network; auto tries them on held-out windows, and takes the best."""
    id_column: Joined = "unique_id"
    """Of the series' names, or several that name them together; a file without it is one series."""
    time_column: str = "ds"
    """Of dates (ISO 8601), or whole numbers."""
    target_column: str = "y"
    """Of the values."""
    wide: bool = False
    """Each column of numbers is a series."""
    time_format: str = "ISO8601"
    """How dates are written, such as %d.%m.%Y; in a file with none of that form, found."""
    freq: str | None = None
    """Of the times, such as D, MS or 15min; inferred by default."""
    futr_exog: Names = ()
    """Columns that are known ahead, such as prices that are planned."""
    futr_csv: File = None
    """Their values at the times to forecast: id, time and those columns."""
    hist_exog: Names = ()
    """Columns that are known up to now only, such as the weather."""
    static_csv: File = None
    """A row for each series: its id, and what does not change."""
    stat_exog: Names = ()
    """Columns of --static-csv."""
    windows: int | None = None
    """Windows at the end of every series to measure on; by default 3, fewer where series are
    short."""
    refit: bool = False
    """Train anew for each of these windows, not once before the first."""
    strategy: Literal["direct", "recursive", "sequence"] = "direct"
    """direct: all steps from the last state; recursive: one step, fed back; sequence: as
    direct, trained at every step of a window."""
    loss: Literal["mae", "quantile", "normal", "student_t", "negative_binomial"] = "mae"
    """What is minimised; all but mae forecast a distribution, too."""
    transform: Literal["log", "difference"] | None = None
    """Of the values before all else; undone in the forecasts."""
    missing: Literal["mask", "interpolate", "zero", "error"] = "mask"
    """What becomes of missing values; mask tells the network which they are."""
    input_size: int | None = None
    """Steps that the network reads; three of the shortest season by default."""
    steps: int | None = None
    """Of training; by default from the number of series."""
    quick: bool = False
    """One network of at most 50 steps: for a look."""

    @property
    def usual(self) -> dict[str, str]:
        """The usual name of each column."""
        return {self.id_column: "unique_id", self.time_column: "ds", self.target_column: "y"}

    def forecaster(self, seed: int, seeds: int, name: str | None = None) -> Forecaster:
        """The forecaster that they describe.

        Raises:
            DataError: for options that do not exist or fit each other.
        """
        if self.file is None:
            raise DataError(
                "name a CSV or Parquet file: seqjax forecast sales.csv --horizon 14, for example."
            )
        if self.horizon is None:
            raise DataError("say how many steps ahead to forecast: --horizon 14, for example.")
        if self.windows is not None and self.windows < 1:
            raise DataError(f"--windows must be at least 1, not {self.windows}.")
        asked = {"window": self.input_size, "steps": self.steps}
        try:
            return Forecaster(
                self.model,
                horizon=self.horizon,
                season=self.season or None,
                freq=self.freq,
                futr_exog_list=self.futr_exog,
                hist_exog_list=self.hist_exog,
                stat_exog_list=self.stat_exog,
                id_column=self.id_column,
                time_column=self.time_column,
                target_column=self.target_column,
                missing=self.missing,
                seed=seed,
                progress=name,
                level=self.level,
                strategy=self.strategy,
                loss=self.loss,
                transform=self.transform,
                seeds=1 if self.quick else seeds,
                **{key: value for key, value in asked.items() if value is not None},
            )
        except ValueError as error:
            raise DataError(str(error)) from None


@dataclasses.dataclass(frozen=True)
class Predict:
    """Options of ``seqjax predict``."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a run of ``seqjax forecast``."""
    file: Annotated[Positional[Path | None], tyro.conf.arg(metavar="FILE")] = None
    """The past to forecast from, with the columns of the run's file; by default that file's."""
    horizon: int | None = None
    """Steps ahead; by default those that it was trained for."""
    level: tuple[float, ...] | None = None
    """Of the intervals, in percent; by default the run's."""
    futr_csv: File = None
    """Covariates known ahead, at the times to forecast: id, time and the columns."""
    static_csv: File = None
    """A row for each series: its id, and what does not change."""
    out: File = None
    """A CSV to write; by default they go to the terminal."""
