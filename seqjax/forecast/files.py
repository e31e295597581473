"""A CSV or a Parquet file of series as a long frame."""

import itertools
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import short
from seqjax.forecast.columns import LOOKED_AT, USUAL, Choice, choose, name_series, once
from seqjax.forecast.counts import COUNTS, counted, dates_of
from seqjax.forecast.layouts import layout_of
from seqjax.forecast.notations import ISO
from seqjax.forecast.rows import LINE
from seqjax.forecast.sheets import read_sheet
from seqjax.forecast.tables import Layout, Names, joined, parts_of
from seqjax.forecast.texts import floats_of, form_of, ids_of, times_of
from seqjax.forecast.times import offsets_note, read_times


class Table(NamedTuple):
    """A frame out of a file, and which of its columns is what.

    Attributes:
        frame: the columns asked for; its index are the lines of a CSV.
        id_column: the series' names; not in the frame where the file is one series.
        time_column: dates or whole numbers.
        target_column: the values, float64.
        time_format: of the dates.
        notes: what was guessed, a sentence each.
    """

    frame: pd.DataFrame
    id_column: str
    time_column: str
    target_column: str
    time_format: str
    notes: tuple[str, ...]


def read_frame(
    path: str | Path,
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
    target_column: str = "y",
    time_format: str = ISO,
    covariates: Sequence[str] = (),
    wide: bool = False,
) -> Table:
    """Read the columns that a forecast needs from a CSV or a Parquet file.

    A CSV is UTF-8 and has a header; commas, semicolons, tabs or bars part its cells. Where a file
    has not the conventional names, its only column of dates, its only one of numbers and, where
    dates repeat, its only one of other texts are taken, which is told. Tables with a column for
    each time, or of year, month and day, become long ones (`seqjax.forecast.layouts`).

    Args:
        path: of the file; Parquet by its end, ``.parquet`` or ``.pq``.
        id_column: whose values name the series, or ``store/item`` for two columns that do it
            together; a file without `unique_id` is one series.
        time_column: dates, or whole numbers.
        target_column: the values; empty, or NA, where missing.
        time_format: of the dates, as in `pandas.to_datetime`; by default ISO 8601, quarters
            (1962Q1), months (196201) and days (19620131) in digits, and the only other form that
            all of them fit (31/12/2023), which is told. Of a file in which none has the form
            told they are read as by default.
        covariates: further columns of numbers, or of true and false.
        wide: each column of numbers is a series.

    Returns:
        The frame and its columns' names, for `seqjax.forecast.frames.panel_from_frame`.

    Raises:
        DataError: for a file that is missing, empty, damaged or not UTF-8, a missing column, a row
            that is too short or too long, and a cell that is no number or no date. The message
            names file, line and column.

    Example:
        >>> from seqjax.data import MILK_CSV
        >>> table = read_frame(MILK_CSV)
        >>> table.time_column, table.target_column, len(table.frame)
        ('Date', 'Production', 168)
    """
    path, names = Path(path), Names(id_column, time_column, target_column)

    def pick(where: str, header: list[str], head: pd.DataFrame) -> Choice:
        return choose(where, header, head, names, covariates)

    def change(head: pd.DataFrame) -> Layout | None:
        return layout_of(head, names, covariates, wide)

    frame, choice = _read(path, pick, change)
    found, time = choice.notes, choice.names.time
    time_format = _as_times(frame, time, time_format, found)
    frame, names, said = name_series(frame, choice)
    found += said
    _as_floats(frame, (names.target, *covariates), found)
    return Table(frame, *names, time_format, tuple(found))


def read_beside(
    path: str | Path,
    *,
    id_column: str,
    time_column: str,
    columns: Sequence[str],
    needed: Sequence[str] = (),
    time_format: str = ISO,
    texts: bool = False,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a file of covariates as `read_frame` reads the series.

    Args:
        path: of the file.
        id_column: whose values name the series, where the file has it.
        time_column: of times, where the file has it.
        columns: of numbers, or of true and false.
        needed: which of ids and times it must have.
        time_format: see `read_frame`.
        texts: ids of digits are texts, too, as those of the series are: 7 is not 007.

    Returns:
        These columns, and what was found on the way, a sentence each.

    Raises:
        DataError: see `read_frame`.
    """
    path, found = Path(path), []

    def pick(where: str, header: list[str], head: pd.DataFrame) -> Choice:
        del head
        ids = parts_of(id_column, header)
        keys = [name for name in (*ids, time_column) if name in (*header, *needed)]
        for name in (*keys, *columns):
            once(where, header, name)
        return Choice(USUAL, [*dict.fromkeys((*keys, *columns))], ids, [])

    def change(head: pd.DataFrame) -> Layout | None:
        return layout_of(head, Names(id_column, time_column, columns[0]))

    frame, choice = _read(path, pick, change if time_column else None)
    found += choice.notes
    if time_column in frame:
        _as_times(frame, time_column, time_format, found)
    if len(choice.others) > 1:
        frame[id_column] = joined(frame, choice.others)
    elif id_column in frame and not texts:
        frame[id_column] = ids_of(frame, id_column)
    _as_floats(frame, columns, found)
    return frame, tuple(f"{path.name}: {note}" for note in found)


def _as_times(frame: pd.DataFrame, column: str, told: str, notes: list[str]) -> str:
    """Read the texts of a column as times, in the form that is given back."""
    texts: Any = frame[column]
    unit = counted(column, texts.tolist(), told=True) if told == ISO else None
    if unit is not None:
        frame[column] = dates_of(texts.tolist(), unit)
        notes.append(f"column {short(column)}: times are read as {COUNTS.get(unit, unit)}")
        return told
    form = form_of(texts, told)
    if form != told:
        way = " (--time-format)" if told == ISO else f", not {told}"
        notes.append(f"column {short(column)}: dates are read as {form}{way}")
    if pd.api.types.is_string_dtype(texts.dtype):
        frame[column] = times_of(frame, column, form)
    elif pd.api.types.is_integer_dtype(texts.dtype):
        codes, times = read_times(frame, column, form)
        frame[column] = times.take(codes)
    else:
        return form
    notes += offsets_note(column, texts, pd.Index(frame[column]))
    return form


def _as_floats(frame: pd.DataFrame, columns: Sequence[str], notes: list[str]) -> None:
    for column in columns:
        if pd.api.types.is_string_dtype(frame[column].dtype):
            frame[column], said = floats_of(frame, column)
            notes += [f"column {short(column)}: {said}"] if said else []


_Pick = Callable[[str, list[str], pd.DataFrame], Choice]
_Change = Callable[[pd.DataFrame], Layout | None]


def _read(path: Path, pick: _Pick, change: _Change | None = None) -> tuple[pd.DataFrame, Choice]:
    """The columns chosen, of a table that is made long where need be."""
    parquet = path.suffix.lower() in (".parquet", ".pq")
    frame, choice = (_parquet if parquet else _csv)(path, pick, change)
    frame.attrs["source"] = str(path)
    return frame, choice


def _csv(path: Path, pick: _Pick, change: _Change | None) -> tuple[pd.DataFrame, Choice]:
    """The columns as texts."""
    sheet = read_sheet(path)
    head = list(itertools.islice(sheet.rows, LOOKED_AT))
    if not head:
        raise DataError(f"{path}: there is a header but no data.")
    rows, where = itertools.chain(head, sheet.rows), f"{path}: line {sheet.line}"
    cells = pd.DataFrame([row for _, row in head], dtype=object)

    def taken(columns: list[str]) -> pd.DataFrame:
        take = operator.itemgetter(*map(sheet.header.index, columns))
        lines, texts = [], []
        for line, row in rows:
            lines.append(line)
            texts.append(take(row) if len(columns) > 1 else (take(row),))
        frame = pd.DataFrame(texts, pd.Index(lines, name=LINE), columns, dtype=object)
        frame.attrs |= {"source": str(path), "delimiter": sheet.delimiter}
        return frame

    found = _long(where, sheet.header, cells, taken, change)
    if found is None:
        choice = pick(where, sheet.header, cells)
        frame = taken(choice.taken)
    else:
        frame, choice = _picked(where, *found, pick)
    choice.notes[:0] = sheet.notes
    return frame, choice


_Taken = Callable[[list[str]], pd.DataFrame]


def _long(
    where: str, header: list[str], head: Any, taken: _Taken, change: _Change | None
) -> tuple[pd.DataFrame, list[str]] | None:
    """A table that is not long as one that is, and what was understood."""
    filled = [k for k, name in enumerate(header) if name or head[k].astype(str).any()]
    columns = [n for n in dict.fromkeys(header[k] for k in filled) if n or header.count(n) == 1]
    head = head[[header.index(name) for name in columns]].set_axis(columns, axis=1)
    head.attrs["source"] = where
    if change is None or not columns or (layout := change(head)) is None:
        return None
    for name in columns:
        once(where, header, name)
    frame = taken(columns)
    long = layout.change(frame)
    long.attrs = frame.attrs
    return long, list(layout.notes)


def _picked(where: str, frame: Any, notes: list[str], pick: _Pick) -> tuple[pd.DataFrame, Choice]:
    header = list(map(str, frame.columns))
    choice = pick(where, header, frame.head(LOOKED_AT).set_axis(range(len(header)), axis=1))
    choice.notes[:0] = notes
    return frame[choice.taken].copy(), choice


def _parquet(path: Path, pick: _Pick, change: _Change | None) -> tuple[pd.DataFrame, Choice]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise DataError(
            f"{path}: Parquet needs pyarrow: pip install pyarrow; or save the file as CSV."
        ) from None
    try:
        file = pq.ParquetFile(path)
        head = next(file.iter_batches(LOOKED_AT), None)
        if head is None or not head.num_rows:
            raise DataError(f"{path}: the file is empty.")
        cells = head.to_pandas(ignore_metadata=True)
        header = [str(name) for name in cells.columns]
        cells = cells.set_axis(range(len(header)), axis=1)

        def taken(columns: list[str]) -> pd.DataFrame:
            return file.read(columns).to_pandas(ignore_metadata=True)

        if (found := _long(str(path), header, cells, taken, change)) is not None:
            return _picked(str(path), *found, pick)
        choice = pick(str(path), header, cells)
        return taken(choice.taken), choice
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a regular Parquet file: {error}.") from None
