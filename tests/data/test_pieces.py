import random
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from seqjax.data import DataError
from seqjax.data.pieces import Pieces, pieces

TEXTS = [
    "low lower lowest",
    "new newer newest, the newest",
    "wide wider; widest",
    "slow, slower",
] * 3


def plain_pieces(texts, most, at_least):
    """The definition: count all pairs anew, join the most frequent (of equals the least)."""
    words = [
        list(("▁" if match.start() == 0 or text[match.start() - 1] == " " else "") + match.group())
        for text in texts
        for match in re.finditer(r"\w+|[^\w\s]", text)
    ]
    found = list(
        dict.fromkeys(c for c, _ in Counter(c for word in words for c in word).most_common())
    )
    while len(found) < most:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        pair = min(pairs, key=lambda one: (-pairs[one], one), default=None)
        if pair is None or pairs[pair] < at_least:
            break
        found.append("".join(pair))
        for word in words:
            place = 0
            while place + 1 < len(word):
                if (word[place], word[place + 1]) == pair:
                    word[place : place + 2] = ["".join(pair)]
                place += 1
    return tuple(dict.fromkeys(found))


@pytest.mark.parametrize(("most", "at_least"), [(25, 1), (40, 1), (40, 7), (5, 1)])
def test_pieces_are_joined_as_defined(most, at_least):
    assert (
        pieces(TEXTS, most=most, at_least=at_least).tokens
        == plain_pieces(TEXTS, most, at_least)[:most]
    )


def test_known_texts_are_covered_and_unknown_characters_are_unknown():
    found = pieces(TEXTS, most=40)
    for text in ("slowest wide", "nest", "Wider, lower"):
        numbers = found.encode(text)
        assert numbers.dtype == np.int32
        joined = "".join(found.tokens[number - 2] for number in numbers)
        assert joined.replace("▁", " ").strip() == text.lower()
    assert 1 in found.encode("slow漢low")
    assert len(found.encode("")) == 0


def test_variants_are_the_same_text_in_shorter_pieces():
    found, rng = pieces(TEXTS, most=60), random.Random(0)
    text = "the lowest, slower and newer"
    whole = found.encode(text)
    variants = [found.variant(text, rng, drop=0.3) for _ in range(50)]

    def joined(numbers):
        return "".join("?" if number == 1 else found.tokens[number - 2] for number in numbers)

    assert {joined(numbers) for numbers in variants} == {joined(whole)}
    assert len({tuple(numbers) for numbers in variants}) > 10
    np.testing.assert_array_equal(found.variant(text, rng, drop=0.0), whole)
    again = found.variant(text, random.Random(0), drop=0.3)
    np.testing.assert_array_equal(again, variants[0])


def test_pieces_are_saved_as_json():
    found = pieces(TEXTS, most=30)
    again = Pieces.from_json(found.to_json())
    assert again == found
    np.testing.assert_array_equal(again.encode("slower"), found.encode("slower"))
    for damaged in ({"tokens": "low"}, {"tokens": ["a", "a"]}, {"unit": "word"}, {"tokens": [1]}):
        with pytest.raises(DataError, match="pieces are JSON"):
            Pieces.from_json(found.to_json() | damaged)
    with pytest.raises(DataError, match="no word"):
        pieces(["  "], most=9)
