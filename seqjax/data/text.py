"""Text as numbers: vocabularies of characters, words and bytes, and sequences padded.

What generates text needs to know where it starts and ends: ``START + text + END`` is a text of
one token more on either side, in vocabularies of characters and words alike.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from seqjax.data.cells import DataError

PADDING, UNKNOWN = 0, 1
START, END = "\x02", "\x03"  # ASCII's own control characters for it
FIRST = 2  # number of the first token
WORD = re.compile(r"\w+|[^\w\s]")

Unit = Literal["character", "word", "byte"]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens by number, from 2 on; 0 pads, 1 stands for what is not known.

    Attributes:
        unit: what a token is: a character, a word (or a sign between words), a byte of UTF-8.
        tokens: the most frequent first; () for bytes.
        lower: words in lower case.
    """

    unit: Unit
    tokens: tuple[str, ...] = ()
    lower: bool = False

    @property
    def size(self) -> int:
        """How many numbers there are, for `seqjax.nn.Tokens` and `seqjax.nn.Embed`."""
        return FIRST + (256 if self.unit == "byte" else len(self.tokens))

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, FIRST)}

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's tokens, int32.

        Example:
            >>> vocabulary = characters(["abba"])
            >>> vocabulary.encode("bax").tolist()
            [3, 2, 1]
        """
        if self.unit == "byte":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + FIRST
        numbers = self._numbers
        units = _split(text, self.unit, self.lower)
        return np.array([numbers.get(unit, UNKNOWN) for unit in units], np.int32)

    def decode(self, numbers: ArrayLike) -> str:
        """The text of some numbers, padding left out; U+FFFD for what is not known.

        Args:
            numbers: [time], integers.

        Raises:
            ValueError: for a number that stands for nothing.

        Example:
            >>> words(["to be or not to be"], at_least=1).decode([2, 3, 0])
            'to be'
        """
        found = [number for number in np.asarray(numbers, int).tolist() if number != PADDING]
        if wrong := [number for number in found if not 0 < number < self.size]:
            raise ValueError(f"decode: there is no token {wrong[0]}; they end at {self.size - 1}.")
        if self.unit == "byte":
            known = bytes(max(number - FIRST, 0) for number in found)
            return known.decode(errors="replace")
        texts = [
            "\N{REPLACEMENT CHARACTER}" if n == UNKNOWN else self.tokens[n - FIRST] for n in found
        ]
        return (" " if self.unit == "word" else "").join(texts)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes, such as for the `extra` of a `seqjax.study.Trial`."""
        return dataclasses.asdict(self) | {"tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Vocabulary":
        """A vocabulary that was saved with a run.

        Raises:
            DataError: for anything else.

        Example:
            >>> vocabulary = characters(["abba"])
            >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary
            True
        """
        names = {field.name for field in dataclasses.fields(cls)}
        tokens = saved.get("tokens")
        good = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        units = ("character", "word", "byte")
        if saved.keys() != names or not good or saved.get("unit") not in units:
            raise DataError(f"a vocabulary is JSON with {', '.join(sorted(names))}.")
        if len(set(saved["tokens"])) < len(saved["tokens"]):
            raise DataError("a vocabulary holds each token once.")
        return cls(saved["unit"], tuple(saved["tokens"]), bool(saved["lower"]))


def characters(texts: Iterable[str], *, at_least: int = 1, most: int | None = None) -> Vocabulary:
    """The characters of some texts.

    Args:
        texts: of the training part.
        at_least: how often a character must stand there.
        most: how many to keep, the most frequent.

    Raises:
        DataError: where nothing is left.

    Example:
        >>> characters(["abba", "cab"], at_least=2).tokens
        ('a', 'b')
    """
    return _of(texts, "character", at_least, most, lower=False)


def words(
    texts: Iterable[str], *, at_least: int = 2, most: int | None = 20_000, lower: bool = True
) -> Vocabulary:
    """The words of some texts, and the signs between them; arguments as for `characters`.

    Example:
        >>> words(["To be, or not to be."], at_least=1).tokens
        ('to', 'be', ',', 'or', 'not', '.')
    """
    return _of(texts, "word", at_least, most, lower=lower)


def utf8_bytes() -> Vocabulary:
    """The 256 bytes: any text, nothing unknown.

    Example:
        >>> vocabulary = utf8_bytes()
        >>> vocabulary.decode(vocabulary.encode("naïve")), len(vocabulary.encode("naïve"))
        ('naïve', 6)
    """
    return Vocabulary("byte")


def padded(
    sequences: Sequence[ArrayLike], *, steps: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of numbers as one array, and their lengths.

    Args:
        sequences: [time, ...] each, tokens or measurements; alike but for their time.
        steps: of the array; longer sequences are cut. By default those of the longest.

    Returns:
        ``(numbers [sequences, steps, ...], lengths [sequences])``, with zeros (`PADDING`) after
        the end of each; lengths and whole numbers are int32, others keep their dtype.

    Raises:
        ValueError: for sequences of other axes after time, or of no numbers.

    Example:
        >>> tokens, lengths = padded([np.array([5, 6]), np.array([7])])
        >>> tokens.tolist(), lengths.tolist()
        ([[5, 6], [7, 0]], [2, 1])
        >>> padded([np.ones((3, 2)), np.ones((1, 2))])[0].shape
        (2, 3, 2)
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    # An empty list has a dtype and no further axes, whatever it would hold.
    filled = [array for array in arrays if array.size] or arrays[:1]
    empty = not filled or not (filled[0].size or isinstance(sequences[0], np.ndarray))
    dtype = np.dtype(np.int32) if empty else np.result_type(*filled)
    if dtype.kind not in "biufc":
        raise ValueError(
            f"padded: sequences hold numbers, not {dtype}; a vocabulary's `encode` makes them of"
            " texts (seqjax.data.words)."
        )
    trailing = filled[0].shape[1:] if filled else ()
    for number, array in enumerate(arrays):
        if array.size and (array.ndim == 0 or array.shape[1:] != trailing):
            axes = ", ".join(("time", *map(str, trailing)))
            raise ValueError(
                f"padded: sequence {number} has the shape {array.shape}; each must be [{axes}]."
            )
    if dtype.kind in "iu":
        dtype = np.dtype(np.int32)
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        if any(one.size and not least <= one.min() <= one.max() <= most for one in filled):
            raise ValueError("padded: a whole number does not fit into int32.")
    longest = max(map(len, arrays), default=0)
    steps = longest if steps is None else steps
    lengths = np.array([min(len(array), steps) for array in arrays], np.int32)
    numbers = np.full((len(arrays), steps, *trailing), PADDING, dtype)
    for row, array, length in zip(numbers, arrays, lengths, strict=True):
        if length:
            row[:length] = array[:length]
    return numbers, lengths


def _split(text: str, unit: Unit, lower: bool) -> Sequence[str]:
    if unit == "character":
        return text
    return WORD.findall(text.lower() if lower else text)


def _of(
    texts: Iterable[str], unit: Unit, at_least: int, most: int | None, *, lower: bool
) -> Vocabulary:
    counts = Counter(token for text in texts for token in _split(text, unit, lower))
    # Those of one count in the order of their first appearance, as `most_common` has them.
    kept = [token for token, count in counts.most_common(most) if count >= at_least]
    if not kept:
        raise DataError(
            f"no {unit} stands {at_least} time(s) or more in the texts; {len(counts)} do at all."
        )
    return Vocabulary(unit, tuple(kept), lower)
