"""A CSV or a Parquet file of series as a long frame."""

import csv
import functools
import io
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import ragged, read_text, short
from seqjax.forecast.rows import LINE
from seqjax.forecast.texts import are_dates, are_numbers, floats_of, form_of, ids_of, times_of
from seqjax.forecast.times import ISO, offsets_note
from seqjax.storage.strict_json import nearest

_CONVENTIONS = {"id": "unique_id", "time": "ds", "target": "y"}
_LOOKED_AT = 200  # rows, for which columns are dates and which numbers


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
) -> Table:
    """Read the columns that a forecast needs from a CSV or a Parquet file.

    A CSV is UTF-8 and has a header; commas, semicolons, tabs or bars part its cells. Where a file
    has not the conventional names, its only column of dates, its only one of numbers and, where
    dates repeat, its only one of other texts are taken, which is told.

    Args:
        path: of the file; Parquet by its end, ``.parquet`` or ``.pq``.
        id_column: whose values name the series; a file without `unique_id` is one series.
        time_column: dates, or whole numbers.
        target_column: the values; empty, or NA, where missing.
        time_format: of the dates, as in `pandas.to_datetime`; by default ISO 8601, quarters
            (1962Q1), months (196201) and days (19620131) in digits, and the only other form that
            all of them fit (31/12/2023), which is told. Of a file in which none has the form
            told they are read as by default.
        covariates: further columns of numbers, or of true and false.

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
    path = Path(path)
    names = {"id": id_column, "time": time_column, "target": target_column}
    choose = functools.partial(_choose, names=names, covariates=tuple(covariates))
    frame, names, notes = _read(path, choose)
    found, time = list(notes), names["time"]
    time_format = _as_times(frame, time, time_format, found)
    if names["id"] in frame.columns:
        frame[names["id"]] = ids_of(frame, names["id"])
    elif len(
        others := [name for name in frame.columns if name not in (*names.values(), *covariates)]
    ):
        if frame[time].duplicated().any():
            names["id"] = others[0]
            frame[others[0]] = ids_of(frame, others[0])
            found.append(f"the series are named by column {short(others[0])} (--id-column)")
        else:
            frame = frame.drop(columns=others)
    _as_floats(frame, (names["target"], *covariates), found)
    return Table(frame, names["id"], time, names["target"], time_format, tuple(found))


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

    def choose(where: str, header: list[str], head: pd.DataFrame) -> _Choice:
        del head
        keys = [name for name in (id_column, time_column) if name in (*header, *needed)]
        for name in (*keys, *columns):
            _once(where, header, name)
        return {}, [*dict.fromkeys((*keys, *columns))], []

    frame, _, _ = _read(path, choose)
    if time_column in frame:
        _as_times(frame, time_column, time_format, found)
    if id_column in frame and not texts:
        frame[id_column] = ids_of(frame, id_column)
    _as_floats(frame, columns, found)
    return frame, tuple(f"{path.name}: {note}" for note in found)


def _as_times(frame: pd.DataFrame, column: str, told: str, notes: list[str]) -> str:
    """Read the texts of a column as times, in the form that is given back."""
    texts: Any = frame[column]
    form = form_of(texts, told)
    if form != told:
        way = " (--time-format)" if told == ISO else f", not {told}"
        notes.append(f"column {short(column)}: dates are read as {form}{way}")
    if pd.api.types.is_string_dtype(texts.dtype):
        frame[column] = times_of(frame, column, form)
        notes += offsets_note(column, texts, pd.Index(frame[column]))
    return form


def _as_floats(frame: pd.DataFrame, columns: Sequence[str], notes: list[str]) -> None:
    for column in columns:
        if pd.api.types.is_string_dtype(frame[column].dtype):
            frame[column], said = floats_of(frame, column)
            notes += [f"column {short(column)}: {said}"] if said else []


# Names by their use, the columns to read, and what was guessed.
_Choice = tuple[dict[str, str], list[str], list[str]]
_Choose = Callable[[str, list[str], pd.DataFrame], _Choice]
_Read = tuple[pd.DataFrame, dict[str, str], list[str]]


def _read(path: Path, choose: _Choose) -> _Read:
    """The columns chosen, their names by use, and what was guessed."""
    parquet = path.suffix.lower() in (".parquet", ".pq")
    frame, names, notes = (_parquet if parquet else _csv)(path, choose)
    frame.attrs["source"] = str(path)
    return frame, names, notes


def _csv(path: Path, choose: _Choose) -> _Read:
    """The columns as texts."""
    text = read_text(path)
    header = re.sub('"[^"]*"', "", text.partition("\n")[0])
    delimiter = max(",;\t|", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader)]
        rows = _rows(path, reader, header)
        head = list(itertools.islice(rows, _LOOKED_AT))
        if not head:
            raise DataError(f"{path}: there is a header but no data.")
        cells = pd.DataFrame([list(map(str.strip, row)) for _, row in head])
        names, taken, notes = choose(f"{path}: line 1", header, cells)
        take = operator.itemgetter(*(header.index(name) for name in taken))
        lines, texts = [], []
        for line, row in itertools.chain(head, rows):
            lines.append(line)
            texts.append(take(row) if len(taken) > 1 else (take(row),))
    except csv.Error as error:
        why = str(error).replace("unexpected end of data", "a quote is never closed")
        raise DataError(f"{path}: line {reader.line_num}: not a regular CSV: {why}.") from None
    columns = (list(map(str.strip, column)) for column in zip(*texts, strict=True))
    frame = pd.DataFrame(dict(zip(taken, columns, strict=True)), dtype=object)
    frame.index = pd.Index(lines, name=LINE)
    frame.attrs["delimiter"] = delimiter
    return frame, names, notes


def _rows(path: Path, reader: Any, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows as long as the header with their lines; blank ones are none."""
    for row in reader:
        if len(row) == len(header) and (len(row) > 1 or row[0]):
            yield reader.line_num, row
        elif any(cell.strip() for cell in row):
            raise DataError(f"{path}: line {reader.line_num}: {ragged(row, header)}")


def _parquet(path: Path, choose: _Choose) -> _Read:
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
        head = next(file.iter_batches(_LOOKED_AT), None)
        if head is None or not head.num_rows:
            raise DataError(f"{path}: the file is empty.")
        cells = head.to_pandas(ignore_metadata=True)
        header = [str(name) for name in cells.columns]
        names, taken, notes = choose(str(path), header, cells)
        return file.read(taken).to_pandas(ignore_metadata=True), names, notes
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a regular Parquet file: {error}.") from None


def _choose(
    where: str,
    header: list[str],
    head: pd.DataFrame,
    names: dict[str, str],
    covariates: tuple[str, ...],
) -> _Choice:
    asked = [name for use, name in names.items() if name in header or name != _CONVENTIONS[use]]
    for name in (*asked, *covariates):
        _once(where, header, name)
    nameless = [name for name in header if not name or name.startswith("Unnamed: ")]  # an index
    known = (*asked, *covariates, *nameless)
    spare = [k for k, name in enumerate(header) if name not in known]
    dates = [header[k] for k in spare if are_dates(head.iloc[:, k])]
    values = [header[k] for k in spare if are_numbers(head.iloc[:, k])]
    names, notes = dict(names), []
    for use, what, fitting in (("time", "dates", dates), ("target", "numbers", values)):
        if names[use] in asked:
            continue
        if len(fitting) != 1:
            way = f"name it: --{use}-column ({use}_column)"
            if use == "time" and not fitting and values:
                way += "; whole numbers can be times, too"
            elif use == "target" and fitting and not set(header) - {*fitting, *dates}:
                way += ", or put the series one below the other, with a column of their names"
            raise DataError(
                f"{where}: no column {names[use]!r}, and {len(fitting)} of the others hold {what}"
                f"; the columns are {_listed(header)}; {way}."
            )
        names[use] = fitting[0]
        notes.append(f"column {short(fitting[0])} is taken for the {use} (--{use}-column)")
    others = [header[k] for k in spare if header[k] not in (*dates, *values)]
    guessed = others if len(others) == 1 and names["id"] not in asked else []
    named = [name for use, name in names.items() if use != "id" or name in asked]
    return names, [*dict.fromkeys((*named, *covariates, *guessed))], notes


def _once(where: str, header: list[str], name: str) -> None:
    if (count := header.count(name)) != 1:
        fault = f"{count} columns {short(name)}" if count else f"no column {short(name)}"
        hint = nearest(name, header)
        raise DataError(f"{where}: {fault}; the columns are {_listed(header)}.{hint}")


def _listed(header: list[str]) -> str:
    more = f" and {len(header) - 20:,} more" if len(header) > 20 else ""
    return ", ".join(map(short, header[:20])) + more
