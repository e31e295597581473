"""Read a time series from a CSV, or say in one sentence why it cannot be read."""

import warnings
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

MILK_CSV = Path(str(files("seqjax.data") / "monthly_milk_production.csv"))
"""Monthly milk production, 1962 to 1975, in pounds per cow; 168 months.

Source: J. D. Cryer, *Time Series Analysis*, 1986.
"""


class DataError(ValueError):
    """Data that cannot be used; the message names file, line and column."""


def read_series(
    path: str | Path,
    time_column: str,
    value_column: str,
    *,
    time_format: str = "ISO8601",
    frequency: str | None = None,
) -> pd.Series:
    """Read a regular time series from two columns of a CSV.

    Args:
        path: a CSV with a header line, UTF-8.
        time_column: name of the column of dates.
        value_column: name of the column of numbers.
        time_format: of the dates, as in `pandas.to_datetime`; ISO 8601 by
            default (1962-01, 1962-01-31, 1962-01-31 12:00:00).
        frequency: a pandas offset alias such as "MS" or "D"; inferred by default.

    Returns:
        The values, float64, indexed by their dates; the index has its ``freq``
        set and no gap.

    Raises:
        DataError: for a missing or unreadable file, a missing column, a cell
            that is no finite number or no date, and dates that repeat, go
            backwards or leave a gap. The message names file, line and column;
            the header is line 1.

    Example:
        >>> series = read_series(MILK_CSV, "Date", "Production")
        >>> len(series), series.index.freqstr, float(series.iloc[0])
        (168, 'MS', 589.0)
    """
    table = _read_cells(Path(path), (time_column, value_column))
    values = _numbers(path, table.loc[:, value_column])
    dates = _dates(path, table.loc[:, time_column], time_format)
    index = _regular(path, time_column, dates, frequency)
    return pd.Series(values, index=index, name=value_column)


def _read_cells(path: Path, columns: tuple[str, str]) -> pd.DataFrame:
    """The table as text, its index the line in the file."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            header=None,  # or else rows longer than the header would become an index
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            on_bad_lines="error",
        ).fillna("")
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty.") from None
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError(f"{path}: not a regular CSV: {reason}.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    header = [name.strip() for name in table.iloc[0]]
    for column in columns:
        if (times := header.count(column)) != 1:
            names = ", ".join(map(repr, header[:20]))
            fault = f"no column {column!r}" if times == 0 else f"{times} columns {column!r}"
            raise DataError(f"{path}: line 1: {fault}; the columns are {names}.")
    table = table.iloc[1:].set_axis(header, axis=1)
    table.index += 1
    blank = (table == "").all(axis=1)
    table = table.loc[: blank[~blank].last_valid_index() or 0]  # blank lines at the end are no data
    if table.empty:
        raise DataError(f"{path}: there is a header but no data.")
    return table[list(columns)]


def _refuse(path: str | Path, cells: pd.Series, bad: np.ndarray, what: str) -> NoReturn:
    first = int(np.argmax(bad))
    raise DataError(
        f"{path}: line {cells.index[first]}, column {cells.name!r}: {cells.iloc[first]!r} {what}"
    )


def _numbers(path: str | Path, cells: pd.Series) -> np.ndarray:
    values = np.asarray(pd.to_numeric(cells.str.strip(), errors="coerce"), np.float64)
    spelt = cells.str.strip().str.lower().str.lstrip("+-").isin(["nan", "inf", "infinity"])
    if (text := np.isnan(values) & ~spelt.to_numpy()).any():
        _refuse(path, cells, text, "is not a number.")
    if (endless := ~np.isfinite(values)).any():
        _refuse(path, cells, endless, "is not a finite number; fill the gap or cut the series.")
    return values


def _dates(path: str | Path, cells: pd.Series, time_format: str) -> pd.Series:
    try:
        dates = pd.to_datetime(cells.str.strip(), errors="coerce", format=time_format)
    except ValueError as error:  # what "coerce" does not cover: several time zones
        raise DataError(f"{path}: column {cells.name!r}: {error}") from None
    if (bad := dates.isna().to_numpy()).any():
        wanted = "an ISO 8601 date" if time_format == "ISO8601" else f"of the form {time_format!r}"
        _refuse(path, cells, bad, f"is not {wanted}; see time_format.")
    return dates


def _regular(
    path: str | Path, column: str, dates: pd.Series, frequency: str | None
) -> pd.DatetimeIndex:
    """The dates as an index with its frequency, or the first place that breaks it."""

    def place(i: int) -> str:
        return f"{path}: line {dates.index[i]}, column {column!r}: {_short(dates.iloc[i])}"

    steps = dates.diff()
    if (falls := (steps <= pd.Timedelta(0)).to_numpy()).any():
        i = int(np.argmax(falls))
        fault = "repeats" if steps.iloc[i] == pd.Timedelta(0) else "goes back behind"
        raise DataError(
            f"{place(i)} {fault} the date before it, {_short(dates.iloc[i - 1])}; dates must rise."
        )
    index = pd.DatetimeIndex(dates)
    frequency = frequency or _infer_frequency(index)
    if frequency is None:
        raise DataError(
            f"{path}: column {column!r}: no regular frequency can be inferred from"
            f" {len(index)} date(s); pass frequency."
        )
    try:
        expected = pd.date_range(index[0], periods=len(index), freq=frequency)
    except ValueError:
        raise DataError(
            f"{frequency!r} is no frequency that pandas knows; pass one such as MS (month"
            " starts), ME (month ends), W, D or h."
        ) from None
    if (differs := np.asarray(expected != index)).any():
        i = int(np.argmax(differs))
        wanted = pd.Series(expected).iloc[i]
        raise DataError(
            f"{place(i)} stands where {_short(wanted)} was expected"
            f" (frequency {frequency}); fill the gap or cut the series."
        )
    return pd.DatetimeIndex(index, freq=frequency)


def _infer_frequency(index: pd.DatetimeIndex) -> str | None:
    """The frequency of the whole, or else of most of its parts."""
    if len(index) < 3:
        return None
    if whole := _infer(index):
        return whole
    for length in (8, 5, 3):  # long pieces tell business days from days
        starts = range(0, len(index) - length + 1, max(1, len(index) // 200))
        found = Counter(filter(None, (_infer(index[i : i + length]) for i in starts)))
        if found:
            return found.most_common(1)[0][0]
    return None


def _infer(index: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():
        # From pandas 3.1 a warning: the answer will become an offset. Both are taken.
        warnings.simplefilter("ignore")
        found = pd.infer_freq(index)
    return None if found is None else to_offset(found).freqstr


def _short(date: pd.Timestamp) -> str:
    return str(date.date()) if date == date.normalize() else str(date)
