"""Words in pieces: a vocabulary that reads words it has never seen."""

import dataclasses
import functools
import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from seqjax.data.cells import DataError
from seqjax.data.text import FIRST, UNKNOWN, WORD

_VARIANTS = 16  # of a word
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # stands before a word, as in SentencePiece


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Characters and frequent strings of them by number; what is frequent is whole words.

    A word falls into the longest pieces there are, from its beginning on; a character that
    was never seen is `UNKNOWN`. Numbers 0 and 1 are those of `seqjax.data.Vocabulary`.

    Attributes:
        tokens: the pieces; one that begins a word begins with U+2581.

    Source: Schuster and Nakajima, "Japanese and Korean voice search", ICASSP 2012 (longest
    match); Sennrich et al., arXiv 1508.07909 (which pieces).
    """

    tokens: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers there are, for `seqjax.nn.Tokens` and `seqjax.nn.Embed`."""
        return FIRST + len(self.tokens)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, FIRST)}

    @functools.cached_property
    def _longest(self) -> int:
        return max(map(len, self.tokens))

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's pieces, int32.

        Example:
            >>> found = pieces(["low lower lowest"] * 5, most=20)
            >>> [found.tokens[number - 2] for number in found.encode("slow lowest")]
            ['▁', 's', 'low', '▁lowest']
        """
        known, numbers = self._known, []
        for word in _words(text):
            if word not in known:
                known[word] = list(self._of_word(word))
            numbers += known[word]
        return np.array(numbers, np.int32)

    def variant(self, text: str, rng: random.Random, drop: float = 0.1) -> np.ndarray:
        """The numbers of a text whose words now and then fall into shorter pieces, int32.

        A network that reads variants in training learns what is within a piece.

        Args:
            text: the text.
            rng: chooses among some variants of each word.
            drop: how often a piece that would fit is passed over.

        Source: Hiraoka, "MaxMatch-Dropout", COLING 2022.
        """
        numbers: list[int] = []
        for word in _words(text):
            if (found := self._variants.get((word, drop))) is None:
                own = random.Random(word)
                found = [list(self._of_word(word, own, drop)) for _ in range(_VARIANTS)]
                self._variants[word, drop] = found
            numbers += rng.choice(found)
        return np.array(numbers, np.int32)

    @functools.cached_property
    def _known(self) -> dict[str, list[int]]:
        return {}  # words that were read before

    @functools.cached_property
    def _variants(self) -> dict[tuple[str, float], list[list[int]]]:
        return {}

    def _of_word(
        self, word: str, rng: random.Random | None = None, drop: float = 0.0
    ) -> Iterator[int]:
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                number = self._numbers.get(word[start:end], UNKNOWN)
                passed = rng is not None and number != UNKNOWN and rng.random() < drop
                if end == start + 1 or (number != UNKNOWN and not passed):
                    yield number
                    start = end
                    break

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes, such as for the `extra` of a `seqjax.study.Trial`."""
        return {"unit": "piece", "tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Pieces":
        """Pieces that were saved with a run; DataError for anything else."""
        tokens = saved.get("tokens")
        if isinstance(tokens, list) and tokens and saved.get("unit") == "piece":
            good = all(isinstance(one, str) and one for one in tokens)
            if good and len(set(tokens)) == len(tokens):
                return cls(tuple(tokens))
        raise DataError("pieces are JSON with unit and tokens, each token once.")


def pieces(texts: Iterable[str], *, most: int, at_least: int = 3) -> Pieces:
    """Characters, and what of their most frequent neighbours is joined first (byte-pair encoding).

    Args:
        texts: of the training part; in lower case from here on.
        most: how many pieces to have, characters included.
        at_least: how often two neighbours must stand there to be joined.

    Returns:
        The pieces.

    Raises:
        DataError: where the texts have no words.
    """
    words = Counter(word for text in texts for word in _words(text))
    if not words:
        raise DataError("there is no word in the texts.")
    split = [list(word) for word in words]
    counts = list(words.values())
    characters: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    holders: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, (parts, count) in enumerate(zip(split, counts, strict=True)):
        for part in parts:
            characters[part] += count
        for pair in pairwise(parts):
            pairs[pair] += count
            holders[pair].add(number)
    tokens = dict.fromkeys(character for character, _ in characters.most_common(most))
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    while heap and len(tokens) < most:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:
            continue  # it has changed since, and stands there again
        if -count < at_least:
            break
        tokens["".join(pair)] = None
        changed = set()
        for number in list(holders[pair]):
            for old in pairwise(split[number]):
                pairs[old] -= counts[number]
                holders[old].discard(number)
                changed.add(old)
            split[number] = _joined(split[number], pair)
            for new in pairwise(split[number]):
                pairs[new] += counts[number]
                holders[new].add(number)
                changed.add(new)
        for one in changed:
            heapq.heappush(heap, (-pairs[one], one))
    return Pieces(tuple(tokens))


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    skip = False
    for left, right in pairwise([*parts, ""]):
        if skip:
            skip = False
            continue
        skip = (left, right) == pair
        found.append(left + right if skip else left)
    return found


def _words(text: str) -> Iterator[str]:
    """Words and signs in lower case, with a mark before those that follow on a space."""
    text = text.lower()
    for match in WORD.finditer(text):
        begins = match.start() == 0 or text[match.start() - 1].isspace()
        yield f"{_SPACE}{match.group()}" if begins else match.group()
