"""Columns of a user's frame as arrays, or the row at which one cannot be used."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import short
from seqjax.forecast.blocks import counts_of
from seqjax.storage.strict_json import nearest

LINE = "line"
"""Name of an index that counts the lines of a file; ``attrs["source"]`` is the file's name."""

_NUMBERS = (bool, int, float, Decimal, np.bool_, np.integer, np.floating)


def place(frame: pd.DataFrame, row: int, column: str | None = None) -> str:
    """Where a row stands, for a message: its line in a file, or else its number from 0.

    Example:
        >>> place(pd.DataFrame({"y": [1.0, 2.0]}), 1, "y")
        "row 1, column 'y'"
    """
    words = f"row {row}"
    if frame.index.name == LINE:
        words = f"line {frame.index[row]}"
    source = frame.attrs.get("source")
    of_column = "" if column is None else f", column {short(str(column))}"
    return f"{source}: {words}{of_column}" if source else words + of_column


def refuse(frame: pd.DataFrame, row: int, column: str | None, fault: str) -> NoReturn:
    """Raise a DataError about a row."""
    raise DataError(f"{place(frame, row, column)}: {fault}")


def name_of(series: Any) -> str:
    """A series' name for a message.

    Example:
        >>> name_of("a"), name_of(np.int64(3))
        ("'a'", '3')
    """
    return repr(series.item() if isinstance(series, np.generic) else series)


def told(time: Any) -> str:
    """A time for a message: a date alone where the clock stands at midnight.

    Example:
        >>> told(pd.Timestamp("2024-01-31")), told(1961)
        ('2024-01-31', '1961')
    """
    midnight = isinstance(time, pd.Timestamp) and time == time.normalize()
    return str(time.date()) if midnight else str(time)


class Rows(NamedTuple):
    """Series and time of each row of a frame.

    Attributes:
        frame: the rows.
        codes: [rows], numbers of series.
        ids: [series].
        time_codes: [rows], numbers of times.
        times: rising.
    """

    frame: pd.DataFrame
    codes: np.ndarray
    ids: np.ndarray
    time_codes: np.ndarray
    times: pd.Index

    def of(self, row: int) -> str:
        """What a row is about, for a message."""
        series, time = self.ids[self.codes[row]], self.times[self.time_codes[row]]
        return f"series {name_of(series)} at {told(time)}"

    def refuse(self, which: np.ndarray, column: str | None, fault: str) -> None:
        """Refuse the first row of a mask, where there is one."""
        if which.any():
            row = int(which.argmax())
            refuse(self.frame, row, column, f"{self.of(row)} {fault}")


def require(frame: Any, columns: Sequence[str], what: str = "the frame") -> None:
    """Each of the columns is there once, and there are rows; of a file its name is told.

    Raises:
        DataError: naming the column, and the nearest of those that are there.
    """
    if not isinstance(frame, pd.DataFrame):
        advice = "pass a pandas DataFrame with the columns " + ", ".join(map(repr, columns))
        if isinstance(frame, pd.Series):
            advice = 'pass series.rename("y").rename_axis("ds").reset_index()'
        elif hasattr(frame, "to_pandas"):
            advice = "pass frame.to_pandas()"
        raise DataError(f"{what} is a {type(frame).__name__}; {advice}.")
    names, what = list(frame.columns), frame.attrs.get("source", what)
    for column in columns:
        if (times := names.count(column)) == 1:
            continue
        if times:
            raise DataError(f"{what} has {times} columns {column!r}; rename all but one.")
        hint = nearest(column, [str(name) for name in names])
        if isinstance(frame.index, pd.DatetimeIndex) or frame.index.name == column:
            hint += f" Are these in its index? Then pass frame.reset_index(names={column!r})."
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        listed = ", ".join(map(repr, names[:20])) or "none"
        raise DataError(f"{what} has no column {column!r}; its columns are {listed}{more}.{hint}")
    if not len(frame):
        raise DataError(f"{what} is empty; it needs a row for each series and time.")


def series_of(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's series, and the ids, in their order.

    Raises:
        DataError: for a row without a name, and names of several types.

    Example:
        >>> codes, ids = series_of(pd.DataFrame({"unique_id": ["b", "a", "b"]}), "unique_id")
        >>> codes.tolist(), ids.tolist()
        ([1, 0, 1], ['a', 'b'])
    """
    values = frame[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _categories(frame, column)
    try:
        codes, ids = pd.factorize(values, sort=True)
    except TypeError:
        raise DataError(
            f"column {column!r} names series by values of several types; make them texts:"
            f" frame[{column!r}].astype(str)."
        ) from None
    _refuse_unnamed(frame, column, codes < 0)
    return codes, np.asarray(ids)


def _categories(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Those that are used, in the order of names."""
    values: Any = frame[column]
    codes = values.cat.codes.to_numpy()
    _refuse_unnamed(frame, column, codes < 0)
    used = counts_of(codes, len(values.cat.categories)) > 0
    order, ids = pd.factorize(values.cat.categories[used], sort=True)
    of_category = np.zeros(len(used), np.int32)
    of_category[used] = order
    return of_category[codes], np.asarray(ids)


def _refuse_unnamed(frame: pd.DataFrame, column: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(missing.argmax())
        refuse(frame, row, column, "the series' name is missing; name it, or drop the row.")


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64, [rows]; NaN where missing.

    Raises:
        DataError: for what is no number, and for infinite ones.

    Example:
        >>> numbers(pd.DataFrame({"y": [True, None, 2]}), "y")
        array([ 1., nan,  2.])
    """
    values = frame[column]
    dtype: Any = values.dtype
    if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
        values = values.astype(object)
        for row in np.flatnonzero(values.notna()):
            if not isinstance(values.iloc[row], _NUMBERS):
                _refuse_cell(frame, int(row), column, values.iloc[row])
        values = values.where(values.notna(), np.nan)
    floats = values.to_numpy(np.float64, na_value=np.nan)
    if (infinite := np.isinf(floats)).any():
        row = int(infinite.argmax())
        refuse(frame, row, column, f"{floats[row]} is not finite; replace it, by NaN if missing.")
    return floats


def _refuse_cell(frame: pd.DataFrame, row: int, column: str, cell: Any) -> NoReturn:
    advice = "leave the column out, or turn it into numbers"
    if isinstance(cell, str):
        advice = (
            f"pd.to_numeric(frame[{column!r}]) makes numbers of digits, pd.get_dummies of names"
        )
    fault = f"{short(str(cell))} is a {type(cell).__name__}, not a number; {advice}."
    refuse(frame, row, column, fault)


def static_columns(
    frame: pd.DataFrame | None, columns: Sequence[str], id_column: str, ids: np.ndarray
) -> np.ndarray:
    """Covariates of the series, float32, [series, columns].

    Args:
        frame: a row for each series, and more.
        columns: their names; without any the frame is not looked at.
        id_column: whose values name the series.
        ids: the series.

    Raises:
        DataError: for a series without a row or with two, and values that are no numbers.

    Example:
        >>> frame = pd.DataFrame({"unique_id": ["b", "a"], "size": [2, 1]})
        >>> static_columns(frame, ["size"], "unique_id", np.array(["a", "b"], object)).tolist()
        [[1.0], [2.0]]
    """
    if not columns:
        return np.zeros((len(ids), 0), np.float32)
    if frame is None:
        raise DataError(
            f"static covariates {', '.join(columns)} need a frame of them: one row for each"
            f" series, with {id_column!r} (static_frame, static_df)."
        )
    require(frame, [id_column, *columns], "the frame of static covariates")
    again = frame[id_column].duplicated().to_numpy()
    if again.any():
        row = int(again.argmax())
        fault = (
            f"series {name_of(frame[id_column].iloc[row])} stands there a second time; drop one."
        )
        refuse(frame, row, id_column, fault)
    at = pd.Index(frame[id_column]).get_indexer(pd.Index(ids))
    if (at < 0).any():
        named = frame.attrs.get("source", "the frame of static covariates")
        raise DataError(
            f"{named} lacks {int((at < 0).sum()):,} of {len(ids):,} series"
            f" (first: {name_of(ids[int((at < 0).argmax())])}); add a row for each."
        )
    found = np.stack([numbers(frame, column) for column in columns], axis=1)[at]
    if (bad := np.isnan(found)).any():
        series, column = np.argwhere(bad)[0]
        refuse(
            frame,
            int(at[series]),
            str(columns[column]),
            f"series {name_of(ids[series])} is missing; fill it.",
        )
    return found.astype(np.float32)
