import json

import numpy as np
import pytest

from seqjax.data import END, START, DataError, Vocabulary, characters, padded, utf8_bytes, words

TEXTS = ["The cat sat.", "The dog sat, too!", "Ein Bär läuft\n"]


@pytest.mark.parametrize(
    "vocabulary",
    [characters(TEXTS), words(TEXTS, at_least=1, lower=False), utf8_bytes()],
    ids=["characters", "words", "bytes"],
)
def test_what_is_known_comes_back(vocabulary):
    for text in TEXTS:
        numbers = vocabulary.encode(text)
        assert numbers.dtype == np.int32
        assert numbers.min() >= 2
        assert numbers.max() < vocabulary.size
        again = vocabulary.decode([*numbers, 0, 0])
        assert "".join(again.split()) == "".join(text.split())
    saved = json.loads(json.dumps(vocabulary.to_json()))
    assert Vocabulary.from_json(saved) == vocabulary
    with pytest.raises(ValueError, match="there is no token"):
        vocabulary.decode([vocabulary.size])


def test_what_is_not_known_is_one_token():
    vocabulary = words(TEXTS, at_least=2)
    assert vocabulary.tokens == ("the", "sat")  # by frequency, then by appearance
    assert vocabulary.encode("The cow sat").tolist() == [2, 1, 3]
    assert characters(["aab"], most=1).encode("ab").tolist() == [2, 1]
    assert utf8_bytes().encode("€").tolist() == [2 + byte for byte in "€".encode()]
    assert words(TEXTS, at_least=1).encode("").tolist() == []


@pytest.mark.parametrize("make", [characters, words])
def test_start_and_end_are_tokens_of_their_own(make):
    marked = [START + text + END for text in TEXTS]
    vocabulary = make(marked, at_least=1)
    tokens = vocabulary.encode(marked[0])
    assert tokens[1:-1].tolist() == vocabulary.encode(TEXTS[0]).tolist()
    assert vocabulary.decode(tokens[:1]) == START
    assert vocabulary.decode(tokens[-1:]) == END


def test_padding_and_cutting():
    sequences = [np.arange(2, 7), np.arange(0), np.arange(2, 4)]
    tokens, lengths = padded(sequences, steps=3)
    assert tokens.tolist() == [[2, 3, 4], [0, 0, 0], [2, 3, 0]]
    assert lengths.tolist() == [3, 0, 2]
    assert padded(sequences)[0].shape == (3, 5)
    assert padded([])[0].shape == (0, 0)
    assert tokens.dtype == lengths.dtype == np.int32


def test_measurements_are_padded_as_they_are():
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(steps, 2)).astype(np.float32) for steps in (3, 0, 5)]
    numbers, lengths = padded([*groups, []])
    assert numbers.dtype == np.float32
    assert lengths.tolist() == [3, 0, 5, 0]
    for row, group in zip(numbers, [*groups, np.zeros((0, 2))], strict=True):
        np.testing.assert_array_equal(row[: len(group)], group)
        assert not row[len(group) :].any()
    assert padded([[0.5, 1.7], [2]])[0].tolist() == [[0.5, 1.7], [2.0, 0.0]]
    with pytest.raises(ValueError, match=r"sequence 1 has the shape \(4, 3\); .* \[time, 2\]"):
        padded([groups[0], np.zeros((4, 3))])
    with pytest.raises(ValueError, match=r"hold numbers, not .*encode"):
        padded(["a text"])
    with pytest.raises(ValueError, match="does not fit into int32"):
        padded([[2**40]])


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "a vocabulary is JSON with lower, tokens, unit"),
        ({"unit": "letter", "tokens": [], "lower": False}, "is JSON with"),
        ({"unit": "word", "tokens": [1], "lower": False}, "is JSON with"),
        ({"unit": "word", "tokens": ["a", "a"], "lower": False}, "each token once"),
    ],
)
def test_anything_else_is_no_vocabulary(saved, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.from_json(saved)


def test_texts_without_tokens_are_told():
    with pytest.raises(DataError, match=r"no word stands 2 time\(s\) or more in the texts; 3 do"):
        words(["one two three"])
