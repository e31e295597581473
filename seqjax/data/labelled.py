"""Labelled texts out of a CSV, and stratified parts and folds of them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seqjax.data.cells import Column, DataError, find_column, short

LONGEST = 100_000
"""Characters of a line, and of a text; whatever has more is no sentence."""

_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Labelled(NamedTuple):
    """Texts and what they are labelled with.

    Attributes:
        texts: of each example, white space around it cut off.
        labels: [examples], numbers of `names`, int32.
        names: of the labels, sorted.
        source: where they come from, for messages: the file, or a description.
    """

    texts: list[str]
    labels: np.ndarray
    names: tuple[str, ...]
    source: str

    def take(self, which: ArrayLike) -> "Labelled":
        """Some of the examples, by their numbers."""
        rows = np.asarray(which, int)
        return self._replace(texts=[self.texts[row] for row in rows], labels=self.labels[rows])


def read_labelled(
    path: str | Path,
    text_column: str,
    label_column: str,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Labelled:
    r"""Read texts and their labels from two columns of a CSV; copies are left out.

    The file is read line by line: one that is no text at all is refused early.

    Args:
        path: a CSV with a header line, cells in double quotes where they need it.
        text_column: name of the column of texts.
        label_column: name of the column of labels, numbers or words.
        encoding: of the file, as Python calls it, such as "latin-1".
        delimiter: the sign between cells; "tab" for a tab.

    Returns:
        The examples in the file's order, of several with one text and label the first.

    Raises:
        DataError: for a file that is missing, unreadable, empty, of another encoding or holds
            NUL bytes or a line of more than `LONGEST` characters, for a column that is missing
            or stands there twice, a row that is too short or too long, a cell that is empty,
            and labels that are all alike. The message names file and line.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "films.csv"
        >>> _ = path.write_text('said,stars\nwhat a bore,1\n"warm, and funny",5\n')
        >>> read_labelled(path, "said", "stars")[:3]
        (['what a bore', 'warm, and funny'], array([0, 1], dtype=int32), ('1', '5'))
    """
    texts, marks = _columns(Path(path), (text_column, label_column), encoding, delimiter)
    for column, what in ((texts, "text"), (marks, "label")):
        if "" in column.cells:
            row = column.cells.index("")
            raise DataError(f"{column.place(row)}: the {what} is empty; take the line out.")
    pairs = list(dict.fromkeys(zip(texts.cells, marks.cells, strict=True)))
    names = tuple(sorted({label for _, label in pairs}))
    if len(names) < 2:
        raise DataError(
            f"{path}: column {short(label_column)}: all labels are {short(marks.cells[0])},"
            f" from line {marks.lines[0]} on; there must be two classes at least."
        )
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[label] for _, label in pairs], np.int32)
    return Labelled([text for text, _ in pairs], labels, names, str(path))


def stratified_parts(data: Labelled, shares: Sequence[float], seed: int) -> tuple[np.ndarray, ...]:
    """The examples in so many parts, each label in each of them as often as in the whole.

    Args:
        data: the examples.
        shares: of the parts, of sum 1; the first takes what rounding leaves.
        seed: of the choice.

    Returns:
        The numbers of each part's examples, rising.

    Raises:
        DataError: where a label has fewer examples than there are parts.

    Example:
        >>> data = Labelled(["a"] * 10, np.array([0] * 4 + [1] * 6), ("no", "yes"), "here")
        >>> [np.bincount(data.labels[part]).tolist()
        ...  for part in stratified_parts(data, (0.5, 0.5), seed=0)]
        [[2, 3], [2, 3]]
    """
    _enough(data, len(shares), f"parts ({', '.join(f'{share:.0%}' for share in shares)})")
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for rows in _shuffled(data, seed):
        ends = [max(1, round(share * len(rows))) for share in shares[1:]]
        while sum(ends) >= len(rows):  # a label of few examples
            ends[int(np.argmax(ends))] -= 1
        for part, piece in zip(parts[1:] + parts[:1], np.split(rows, np.cumsum(ends)), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def stratified_folds(data: Labelled, folds: int, seed: int) -> tuple[np.ndarray, ...]:
    """The examples in folds of equal size (to one), each label spread evenly over them.

    Args:
        data: the examples.
        folds: how many, at least 2.
        seed: of the choice.

    Returns:
        The numbers of each fold's examples, rising.

    Raises:
        DataError: where a label has fewer examples than there are folds.

    Example:
        >>> data = Labelled(["a"] * 9, np.array([0] * 3 + [1] * 6), ("no", "yes"), "here")
        >>> [np.bincount(data.labels[fold]).tolist() for fold in stratified_folds(data, 3, seed=0)]
        [[1, 2], [1, 2], [1, 2]]
    """
    _enough(data, folds, "folds")
    order = np.concatenate(_shuffled(data, seed))
    return tuple(np.sort(order[start::folds]) for start in range(folds))


def _enough(data: Labelled, least: int, what: str) -> None:
    counts = np.bincount(data.labels, minlength=len(data.names))
    fewest = int(np.argmin(counts))
    if counts[fewest] < least:
        name, count = short(data.names[fewest]), counts[fewest]
        raise DataError(
            f"{data.source}: label {name} has {count} example(s), fewer than there are"
            f" {what}: {least}. Take it out, or join it with another."
        )


def _shuffled(data: Labelled, seed: int) -> list[np.ndarray]:
    """The examples of each label in a random order."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.flatnonzero(data.labels == k)) for k in range(len(data.names))]


def _columns(
    path: Path, names: tuple[str, str], encoding: str, delimiter: str
) -> tuple[Column, Column]:
    """Two columns as text, each cell with its line."""
    delimiter = "\t" if delimiter == "tab" else delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"{path}: --delimiter {short(delimiter)}: it must be one sign, or tab.")
    found: tuple[list[str], list[str]] = ([], [])
    starts: list[int] = []
    line = 1
    try:
        with _open(path, encoding) as file:
            reader = csv.reader(_lines(path, file), strict=True, delimiter=delimiter)
            header = [name.strip() for name in next(reader, ())]
            if not any(header):
                raise DataError(f"{path}: line 1: the file is empty, or its header is.")
            places = [find_column(path, header, name, "say --delimiter {mark}") for name in names]
            line = reader.line_num + 1
            for row in reader:
                if len(row) != len(header) and row:  # blank lines are no rows
                    raise DataError(
                        f"{path}: line {line}: {len(row)} cell(s) where the header has"
                        f" {len(header)}; a text with {short(delimiter)} in it needs double quotes."
                    )
                if row:
                    starts.append(line)
                    for cells, place in zip(found, places, strict=True):
                        cells.append(row[place].strip())
                line = reader.line_num + 1
    except csv.Error as error:
        why = str(error).replace("unexpected end of data", "a quote is never closed")
        why = why.replace("field larger than field limit", "a cell (is its quote closed?) of over")
        raise DataError(f"{path}: line {line}: not a regular CSV: {why}.") from None
    except UnicodeError:
        raise DataError(_undecodable(path, encoding)) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    if not starts:
        raise DataError(f"{path}: line 1: there is a header but no data.")
    first, second = (Column(path, n, starts, c) for n, c in zip(names, found, strict=True))
    return first, second


def _open(path: Path, encoding: str) -> IO[str]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    with path.open("rb") as file:
        bom = file.read(2)
    if bom in _BOMS and not encoding.lower().startswith("utf-16"):
        raise DataError(
            f"{path}: line 1: the file is UTF-16, not {encoding}; say --encoding {_BOMS[bom]}."
        )
    try:
        utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        return path.open(encoding="utf-8-sig" if utf8 else encoding, newline="")
    except LookupError:
        raise DataError(
            f"{path}: --encoding {encoding}: Python knows no such encoding; there are utf-8,"
            " latin-1, cp1252, utf-16, ..."
        ) from None


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    number = 0
    while text := file.readline(LONGEST + 1):
        number += 1
        if len(text) > LONGEST:
            raise DataError(
                f"{path}: line {number}: more than {LONGEST:,} characters; that is no sentence."
            )
        if "\0" in text:
            raise DataError(
                f"{path}: line {number}: a NUL byte; the file is damaged or of another encoding"
                " (see --encoding)."
            )
        yield text


def _undecodable(path: Path, encoding: str) -> str:
    """Where a file stops being text, found in a second reading."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                what = f"line {number}: byte 0x{line[error.start]:02x} is not {encoding}"
                return f"{path}: {what} ({error.reason}); name the file's own: --encoding latin-1."
    return f"{path}: the file is not {encoding}; name its own encoding, such as --encoding latin-1."
