"""Text files as a corpus: read, split by file, and as a stream of pieces with carried state."""

import hashlib
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqjax.data.cells import DataError
from seqjax.data.text import PADDING, Vocabulary

MOST = 32_000_000  # bytes of all files together: what is learned from them has to fit in memory
FEW = 10  # files, of which each is split
_LEAST = 1_000  # characters
_HELD_OUT = 150_000  # characters of validation and of test, at most about
# Of the standard library: tests, tables of codes, and programs that stand apart from it.
_LEFT_OUT = {"test", "tests", "idle_test", "encodings", "lib2to3", "idlelib", "pydoc_data"}
_INSTALLED = {"site-packages", "dist-packages"}
_LARGEST = 60_000  # bytes of a file: no part should be of one or two

Document = str | bytes


class Corpus(NamedTuple):
    """Documents in three parts.

    Attributes:
        train: to learn from.
        validation: to choose by.
        test: to be looked at once.
        split: how they were divided, in words.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    split: str

    @property
    def digest(self) -> str:
        """A hash of the documents and of how they are divided."""
        found = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            for document in part:
                found.update(_raw(document) + b"\0\0")
            found.update(b"\0\0\0")
        return found.hexdigest()[:16]


def read_corpus(
    paths: Sequence[Path], *, unit: Literal["character", "byte"] = "character"
) -> Corpus:
    r"""Read text files, and divide them.

    From `FEW` files on whole files go into each part, as a hash of them decides: about a tenth into
    validation and a tenth into test. Fewer, or a few large ones, are cut, a twentieth at the end of
    each into test, and as much before that into validation. Neither part is much longer than
    150,000 characters. A file counts once, whatever copies of it there are.

    Args:
        paths: of the files: UTF-8 for characters, anything for bytes.
        unit: what a token is.

    Returns:
        The corpus: strings, or bytes.

    Raises:
        DataError: for a file that is missing, unreadable, empty or (of characters) not UTF-8 or
            with NUL bytes, and for files that are too short or too long.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "text"
        >>> _ = path.write_text("to be or not to be\n" * 100)
        >>> [len(part[0]) for part in read_corpus([path])[:3]]
        [1710, 95, 95]
    """
    documents = list(dict.fromkeys(_read(path, unit) for path in paths))
    total = sum(map(len, documents))
    if total < _LEAST:
        names = ", ".join(map(str, paths[:3]))
        raise DataError(
            f"{names}: {total:,} {unit}s are too few to learn from; give {_LEAST:,} or more."
        )
    if total > MOST:
        raise DataError(f"{total:,} {unit}s are more than {MOST:,}; give a part of them.")
    if len(documents) < FEW:
        return _cut(documents, total)
    return _by_file(sorted(documents, key=lambda one: hashlib.sha256(_raw(one)).digest()), total)


def standard_library(characters: int = 2_000_000) -> Corpus:
    """The source of Python's standard library, split by file.

    Args:
        characters: of the training part, about.

    Raises:
        DataError: where Python was installed without its source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    paths = {}
    for path in root.rglob("*.py"):
        parts = set(path.relative_to(root).parts)
        if not parts & (_LEFT_OUT | _INSTALLED) and 0 < path.stat().st_size <= _LARGEST:
            paths[path.relative_to(root).as_posix()] = path
    if not paths:
        raise DataError(f"{root}: there is no source of the standard library; say --text FILE.")
    documents, total = [], 0
    # By a hash of the name: no neighbours, and much the same for all versions of Python.
    for name in sorted(paths, key=lambda name: hashlib.sha256(name.encode()).digest()):
        documents.append(_read(paths[name], "character"))
        total += len(documents[-1])
        if total >= characters + 2 * _HELD_OUT:
            break
    return _by_file(documents, total)


def _by_file(documents: Sequence[Document], total: int) -> Corpus:
    wanted = min(total // 10, _HELD_OUT)
    small = [one for one in documents if len(one) <= wanted]  # no part is of one alone
    ends = np.cumsum([len(one) for one in small])
    first, second = np.searchsorted(ends, [wanted, 2 * wanted]) + 1
    if second > len(small):
        return _cut(documents, total)
    test, validation = small[:first], small[first:second]
    held_out = set(test + validation)
    left = tuple(one for one in documents if one not in held_out)
    where = f"by file ({len(documents)} files)"
    return Corpus(left, tuple(validation), tuple(test), where)


def _cut(documents: Sequence[Document], total: int) -> Corpus:
    share = min(1 / 20, _HELD_OUT / total)
    parts: list[list[Document]] = [[], [], []]
    for one in documents:
        held_out = max(round(len(one) * share), 1)
        ends = (0, max(len(one) - 2 * held_out, 0), max(len(one) - held_out, 0), len(one))
        for part, first, last in zip(parts, ends[:-1], ends[1:], strict=True):
            part.append(one[first:last])
    kept = [tuple(document for document in part if document) for part in parts]
    return Corpus(kept[0], kept[1], kept[2], "the end of each file")


def _read(path: Path, unit: str) -> Document:
    try:
        if path.stat().st_size > MOST:
            raise DataError(f"{path}: more than {MOST:,} bytes; give a part of it.")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    if not raw:
        raise DataError(f"{path}: the file is empty.")
    if unit == "byte":
        return raw
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        raise DataError(
            f"{_place(path, raw, at)}: byte 0x{raw[at]:02x} is not UTF-8; convert the file"
            " (iconv -t UTF-8), or say --unit byte."
        ) from None
    if (at := raw.find(b"\0")) >= 0:
        raise DataError(
            f"{_place(path, raw, at)}: a NUL byte; is this text? (--unit byte takes it)"
        )
    return text


def _place(path: Path, raw: bytes, at: int) -> str:
    line = raw.count(b"\n", 0, at) + 1
    return f"{path}: line {line}, byte offset {at:,}"


def _raw(document: Document) -> bytes:
    return document if isinstance(document, bytes) else document.encode(errors="surrogatepass")


# -- as tokens ----------------------------------------------------------------------


def encode(vocabulary: Vocabulary, document: Document) -> np.ndarray:
    r"""The numbers of a document's tokens, int32; bytes of a vocabulary of bytes.

    Example:
        >>> from seqjax.data import utf8_bytes
        >>> encode(utf8_bytes(), b"\x00\xff").tolist()
        [2, 257]
    """
    if isinstance(document, bytes):
        return np.frombuffer(document, np.uint8).astype(np.int32) + vocabulary.size - 256
    return vocabulary.encode(document)


class Pieces(NamedTuple):
    """Documents read side by side, in lanes, a piece of each lane after the other.

    A document is read from its first token to its last; where a lane begins within one, it begins
    without a memory.

    Attributes:
        tokens: [pieces, lanes, steps + 1]: inputs, and one step on the targets. The first input of
            a document is `PADDING`, and so is what follows its end.
        begins: [pieces, lanes], where the state begins anew.
        counts: [pieces, lanes], 0 for a piece that only brings the state forward.
    """

    tokens: np.ndarray
    begins: np.ndarray
    counts: np.ndarray


def pieces(documents: Sequence[np.ndarray], lanes: int, steps: int, *, warm_up: int = 0) -> Pieces:
    """Documents as pieces of equal length, in lanes.

    Args:
        documents: [time] each, tokens above 0.
        lanes: how many pieces are read at a time; a model's batch.
        steps: of a piece.
        warm_up: how many pieces each lane reads of what stands before it, which do not count:
            what follows then is measured much as in one lane.

    Returns:
        The pieces; all lanes have the same number.

    Example:
        >>> found = pieces([np.array([5, 6, 7]), np.array([8])], lanes=1, steps=2)
        >>> found.tokens[:, 0].tolist(), found.begins[:, 0].tolist()
        ([[0, 5, 6], [6, 7, 0], [0, 8, 0]], [True, False, True])
    """
    return _in_lanes(*_cut_up(documents, steps), lanes, warm_up)


def passes(
    documents: Sequence[np.ndarray], lanes: int, steps: int
) -> Callable[[int], Iterator[dict[str, np.ndarray]]]:
    """Pieces without end, for `seqjax.train.stream`: one pass over the documents after another.

    Every pass has another order of the documents and other places where the lanes begin, both a
    function of its number.

    Args:
        documents: [time] each, tokens above 0.
        lanes: how many pieces are read at a time.
        steps: of a piece.

    Returns:
        ``number -> iterator`` of the batches from that number on, each with the fields of
        `Pieces`, [lanes, ...].

    Example:
        >>> read = passes([np.array([5, 6, 7]), np.array([8])], lanes=1, steps=2)
        >>> batch = next(read(1_000_000))
        >>> batch["tokens"].shape, batch["begins"].shape
        ((1, 3), (1,))
    """
    count = sum(-(-len(document) // steps) for document in documents)
    each = -(-count // lanes)

    def read(number: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            rng = np.random.default_rng(number // each)
            order = rng.permutation(len(documents))
            tokens, begin = _cut_up([documents[k] for k in order], steps)
            shift = rng.integers(len(tokens))
            found = _in_lanes(np.roll(tokens, shift, 0), np.roll(begin, shift), lanes, 0)
            for row in range(number % each, each):
                yield {name: array[row] for name, array in found._asdict().items()}
            number += each - number % each

    return read


def _cut_up(documents: Sequence[np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The pieces one after the other, [pieces, steps + 1], and which begin a document."""
    rows, first = [], []
    for document in documents:
        count = -(-len(document) // steps)
        padded = np.full(count * steps + 1, PADDING, np.int32)
        padded[1 : len(document) + 1] = document
        rows.append(np.lib.stride_tricks.sliding_window_view(padded, steps + 1)[::steps][:count])
        first.append(np.arange(count) == 0)
    return np.concatenate(rows), np.concatenate(first)


def _in_lanes(tokens: np.ndarray, begin: np.ndarray, lanes: int, warm_up: int) -> Pieces:
    each = -(-len(tokens) // lanes)
    # Row i of lane k is piece k * each + i - warm_up of all.
    row = np.arange(-warm_up, each)[:, None]
    at = np.arange(lanes)[None, :] * each + row
    there = (at >= 0) & (at < len(tokens))
    at = np.clip(at, 0, len(tokens) - 1)
    found = np.where(there[..., None], tokens[at], PADDING)
    begins = begin[at] | ~there
    begins[0] = True
    return Pieces(found, begins, (there & (row >= 0)).astype(np.float32))
