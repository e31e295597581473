"""Which series to read, as options of an experiment."""

import dataclasses
from pathlib import Path
from typing import Annotated

import pandas as pd

from seqjax.data.series import MILK_CSV, read_series

try:
    import tyro

    _FILE = tyro.conf.arg(metavar="FILE")
except ModuleNotFoundError:  # on machines that only compute
    _FILE = None


@dataclasses.dataclass(frozen=True)
class SeriesOptions:
    """Options that name a series; to be inherited by an experiment's Config."""

    csv: Annotated[Path | None, _FILE] = None
    """A CSV with a header line; by default the milk series that comes with seqjax."""
    time_column: str = "Date"
    """Its column of dates (ISO 8601)."""
    value_column: str = "Production"
    """Its column of numbers."""
    frequency: str | None = None
    """Its frequency, such as MS (month starts) or D; inferred by default. C is that of
    business days with holidays left out."""
    time_format: str = "ISO8601"
    """How its dates are written, such as %d.%m.%Y."""
    time_zone: str | None = None
    """Of its times, such as Europe/Berlin, where they have none or change for the summer."""

    def read(self) -> tuple[Path, pd.Series]:
        """The file and its series.

        Raises:
            DataError: see `seqjax.data.read_series`.
        """
        path = self.csv or MILK_CSV
        columns = self.time_column, self.value_column
        how = {"time_format": self.time_format, "frequency": self.frequency}
        return path, read_series(path, *columns, **how, time_zone=self.time_zone)


SERIES_OPTIONS = tuple(field.name for field in dataclasses.fields(SeriesOptions))
