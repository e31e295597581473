"""Two columns of a CSV as text, or the line and column at which the file is broken."""

import contextlib
import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class DataError(ValueError):
    """Data that cannot be used; the message names file, line and column."""


class Column(NamedTuple):
    """The cells of one column, white space around them cut off.

    Attributes:
        path: of the file.
        name: of the column.
        lines: of the file, one for each cell; the header is line 1.
        cells: the text.
    """

    path: Path
    name: str
    lines: Sequence[int]
    cells: list[str]

    def refuse(self, row: int, fault: str) -> NoReturn:
        """Raise a DataError about one cell."""
        raise DataError(f"{self.place(row)}: {short(self.cells[row])} {fault}")

    def place(self, row: int) -> str:
        """Where a cell stands, for a message."""
        return f"{self.path}: line {self.lines[row]}, column {short(self.name)}"


def short(text: str) -> str:
    r"""The text in quotes, on one line, cut where it would fill the screen.

    Example:
        >>> print(short("12\n"), short("9" * 400))
        '12\n' '999999999999999999999999999999...' (400 characters)
    """
    if len(text) <= 60:
        return repr(text)
    return f"{repr(text[:30])[:-1]}...' ({len(text):,} characters)"


def read_columns(path: Path, times: str, values: str) -> tuple[Column, Column]:
    """Read two columns of a CSV.

    Every row has as many cells as the header; blank lines at the end are no data.

    Args:
        path: a CSV with a header line: UTF-8, commas, double quotes; any line ends.
        times: name of the one column.
        values: name of the other.

    Returns:
        Both columns.

    Raises:
        DataError: for a file that is missing, unreadable, empty, not UTF-8 or holds
            NUL bytes, for a column that is missing or stands there twice, and for a
            row that is blank, too short, too long or badly quoted.

    Example:
        >>> from seqjax.data import MILK_CSV
        >>> dates, values = read_columns(MILK_CSV, "Date", "Production")
        >>> values.cells[:3], dates.lines[:3]
        (['589', '561', '640'], range(2, 5))
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first: list[str] = []
    second: list[str] = []
    blank = None
    try:
        header = [name.strip() for name in next(reader)]
        i, j = (find_column(path, header, name, "save it with commas") for name in (times, values))
        width = len(header)
        for number, row in enumerate(reader, 1):
            if len(row) == width and row[i] and blank is None:  # quickly past honest rows
                first.append(row[i])
                second.append(row[j])
            elif not any(cell.strip() for cell in row):
                blank = blank or number
            elif blank is not None:
                line = _starts(text)[blank]
                raise DataError(f"{path}: line {line} is blank, but data follow; take it out.")
            elif len(row) != width:
                raise DataError(f"{path}: line {_starts(text)[number]}: {ragged(row, header)}")
            else:
                first.append(row[i])
                second.append(row[j])
    except csv.Error as error:
        why = str(error).replace("unexpected end of data", "a quote is never closed")
        why = why.replace("field larger than field limit", "a cell is longer than the limit")
        line = _starts(text)[-1]
        raise DataError(f"{path}: line {line}: not a regular CSV: {why}.") from None
    if not first:
        raise DataError(f"{path}: there is a header but no data.")
    lines: Sequence[int] = range(2, len(first) + 2)
    if reader.line_num > len(first) + 1:  # line ends within quotes, or blank lines at the end
        lines = _starts(text)[1 : len(first) + 1]
    return (
        Column(path, times, lines, list(map(str.strip, first))),
        Column(path, values, lines, list(map(str.strip, second))),
    )


def read_text(path: Path) -> str:
    """A file as text; DataError where it is missing, empty, or no UTF-8."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{path}: line 1: the file is UTF-16, not UTF-8; save it as UTF-8 with commas."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Its `start` counts from behind a BOM.
        known = error.object[: error.start].decode("utf-8-sig")
        byte = f"byte 0x{error.object[error.start]:02x} is not UTF-8 ({error.reason})"
        raise DataError(f"{path}: {_place(known)}: {byte}; save the file as UTF-8.") from None
    if (at := text.find("\0")) >= 0:
        raise DataError(
            f"{path}: {_place(text[:at])}: a NUL byte; the file is damaged or not UTF-8."
        )
    if not text.strip():
        raise DataError(f"{path}: the file is empty.")
    return text


def _place(before: str) -> str:
    """The line and column that follow after the text."""
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cell = lines[-1].count(",")
    header = [name.strip(' "') for name in lines[0].split(",")]
    if len(lines) > 1 and cell < len(header):
        return f"line {len(lines)}, column {short(header[cell])}"
    return f"line {len(lines)}, cell {cell + 1}"


def find_column(path: Path, header: list[str], name: str, advice: str) -> int:
    """The place of a column.

    Args:
        path: of the file.
        header: its names.
        name: of the column.
        advice: what to do where cells are parted by ``{mark}`` instead of a comma.

    Raises:
        DataError: where there is none of that name, or several.
    """
    if (times := header.count(name)) == 1:
        return header.index(name)
    fault = f"{times} columns {short(name)}" if times else f"no column {short(name)}"
    names = ", ".join(map(short, header[:20]))
    more = f" and {len(header) - 20:,} more" if len(header) > 20 else ""
    hint = ""
    if len(header) == 1:
        for delimiter, word in _DELIMITERS.items():
            if delimiter in header[0]:
                mark = "tab" if delimiter == "\t" else repr(delimiter)
                hint = f" Its cells are parted by {word}; {advice.format(mark=mark)}."
    raise DataError(f"{path}: line 1: {fault}; the columns are {names}{more}.{hint}")


def ragged(row: list[str], header: list[str]) -> str:
    """What is wrong with a row of another length than the header's."""
    count = f"{len(row)} cell(s) where the header has {len(header)}"
    if len(row) < len(header):
        return f"{count}; column {short(header[len(row)])} is missing."
    whole = [cell.strip().lstrip("+-").isdigit() for cell in row]
    hint = " Does a decimal comma part 1,5? Write 1.5." if (True, True) in pairwise(whole) else ""
    return f"{count}; {short(row[len(header)])} belongs to no column.{hint}"


def _starts(text: str) -> list[int]:
    """The line on which each row starts; the last one where the text ends or breaks."""
    starts = [1]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    with contextlib.suppress(csv.Error):
        for _ in reader:
            starts.append(reader.line_num + 1)
    return starts
