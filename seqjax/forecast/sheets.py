"""The cells of a CSV: where its table begins and ends, and what stands around it."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.data import DataError
from seqjax.data.cells import ragged, read_text, short
from seqjax.forecast.notations import MONTHS, iso_of

_MARKS = ",;\t|"  # that part cells
_LOOKED_AT = 200  # lines, for the header
# A cell of data: a number, with signs and a unit or without; a time. A name is neither.
_DATUM = re.compile(
    r"[^A-Z]*\d[^A-Z]*( ?[AP]M| ?[A-Z]{3})?"
    r"|(19|20)\d\d-\d\d-\d\d[T ]\S+"
    rf"|[\d\W]*({'|'.join(MONTHS)})[A-Z]*[\d\W]*\d[\d\W]*",
    re.IGNORECASE,
)
_DATE = re.compile(r"(19|20)\d\d\D.*|.*\D(19|20)\d\d|(19|20)\d\d(\d\d){0,2}")

Line = tuple[int, list[str]]


class Sheet(NamedTuple):
    """A table of texts.

    Attributes:
        header: names of the columns.
        line: of the header.
        rows: lines and cells, each as long as the header; to be read once.
        delimiter: what parts the cells.
        notes: what was left out around the table, a sentence each; whole once all rows are read.
    """

    header: list[str]
    line: int
    rows: Iterator[Line]
    delimiter: str
    notes: list[str]


def read_sheet(path: Path) -> Sheet:
    """Find the table in a CSV.

    The header is the first line with as many filled cells as most lines have. Titles and comments
    above it, units below it, and remarks behind the last row are left out, which is told: lines
    in which no cell is a number or a time.

    Args:
        path: UTF-8; commas, semicolons, tabs or bars part its cells.

    Raises:
        DataError: for a file that is missing, empty, damaged or not UTF-8; when its rows are read,
            for one that is too short or too long.

    Example:
        >>> from seqjax.data import MILK_CSV
        >>> sheet = read_sheet(MILK_CSV)
        >>> sheet.header, next(sheet.rows)
        (['Date', 'Production'], (2, ['1962-01-01', '589']))
    """
    text = read_text(path)
    told = re.match(r"sep=(.)\r?\n", text)  # Excel's
    text = text[told.end() :] if told else text
    delimiter = told[1] if told else _delimiter(text)
    lines = _lines(path, text, delimiter, 1 if told else 0)
    head = list(itertools.islice(lines, _LOOKED_AT))
    at = _header([row for _, row in head])
    line, header = head[at]
    notes: list[str] = []
    _leave_out(head[:at], "above the table", notes)
    rows = _rows(path, itertools.chain(head[at + 1 :], lines), header, notes)
    return Sheet(header, line, rows, delimiter, notes)


def _delimiter(text: str) -> str:
    """The mark of the first line that has as many of it as most of those behind it."""
    head = "\n".join(text[:100_000].splitlines()[: _LOOKED_AT // 4])
    lines = [line for line in re.sub('"[^"]*"', "", head).splitlines() if line.strip()]
    for line in lines:
        counts = {mark: line.count(mark) for mark in _MARKS if mark in line}
        alike = {m: sum(other.count(m) == n for other in lines) for m, n in counts.items()}
        mark = max(counts, key=lambda mark: (alike[mark], counts[mark]), default="")
        if mark and 2 * alike[mark] > len(lines):
            return _beside(lines, alike[mark]) if mark == "," else mark
    return max(_MARKS, key=lines[0].count) if lines else _MARKS[0]


def _beside(lines: list[str], alike: int) -> str:
    """The comma, unless lines are as much alike in another mark: then commas are of decimals."""
    for mark in _MARKS[1:]:
        counts = Counter(line.count(mark) for line in lines if mark in line)
        if counts and max(counts.values()) >= alike:
            return mark
    return ","


def _lines(path: Path, text: str, delimiter: str, before: int) -> Iterator[Line]:
    """Lines with a filled cell."""
    reader: Any = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        for row in reader:
            cells = list(map(str.strip, row))
            if any(cells):
                yield reader.line_num + before, cells
    except csv.Error as error:
        why = str(error).replace("unexpected end of data", "a quote is never closed")
        line = reader.line_num + before
        raise DataError(f"{path}: line {line}: not a regular CSV: {why}.") from None


def _tells(row: list[str]) -> bool:
    """Whether a cell is a number or a time."""
    if row[-1].lstrip("-").replace(".", "", 1).isdigit():  # quickly past honest rows
        return True
    return any(cell and (_DATUM.fullmatch(cell) or iso_of([cell])) for cell in row)


def _header(head: list[list[str]]) -> int:
    """Which of the first lines is the header."""
    filled = [sum(map(bool, row)) for row in head]
    counts = Counter(filled)
    usual = max(counts, key=lambda count: count * counts[count])  # most cells stand in such lines
    full = [k for k, count in enumerate(filled) if count >= usual]
    first = next((k for k in full if _tells(head[k])), len(head))  # of the data
    names = [k for k in full if k < first and not head[k][0].startswith("#")]
    if not names and first < len(head):
        dates = [cell for cell in head[first][1:] if _DATE.fullmatch(cell)]
        if first and len(dates) > 2 and not _tells(head[first][:1]):
            return first  # years, or other times, head its columns
    return max(names or range(min(first, len(head))) or [0], key=lambda k: filled[k])


def _rows(path: Path, lines: Iterable[Line], header: list[str], notes: list[str]) -> Iterator[Line]:
    """Rows as long as the header; those that tell nothing only where others follow and precede."""
    waiting: list[Line] = []
    begun, width = False, len(header)
    for line, row in lines:
        if not _tells(row):
            waiting.append((line, row))
            continue
        if begun:
            yield from (_regular(path, *one, header) for one in waiting)
        else:
            _leave_out(waiting, "below the header", notes)
        waiting, begun = [], True
        yield (line, row) if len(row) == width else _regular(path, line, row, header)
    if begun:
        _leave_out(waiting, "below the table", notes)
    else:
        yield from (_regular(path, *one, header) for one in waiting)


def _regular(path: Path, line: int, row: list[str], header: list[str]) -> Line:
    width = len(header)
    if len(row) < width or any(row[width:]):
        raise DataError(f"{path}: line {line}: {ragged(row, header)}")
    return line, row[:width]


def _leave_out(lines: list[Line], where: str, notes: list[str]) -> None:
    if lines:
        first, last = lines[0][0], lines[-1][0]
        which = (
            f"line {first}, {where}, is"
            if first == last
            else f"lines {first} to {last}, {where}, are"
        )
        notes.append(f"{which} left out: {short(' '.join(filter(None, lines[0][1])))}")
