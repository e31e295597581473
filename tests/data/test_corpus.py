import itertools

import numpy as np
import pytest

from seqjax import data
from seqjax.data import corpus


def write(folder, *raws):
    paths = [folder / f"{number}.txt" for number in range(len(raws))]
    for path, raw in zip(paths, raws, strict=True):
        path.write_bytes(raw)
    return paths


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty"),
        (b"abc\nd\xe9f" + b"g" * 2000, r"line 2, byte offset 5: byte 0xe9 is not UTF-8; .*iconv"),
        (b"\xef\xbb\xbfab\n\xff" + b"g" * 2000, "line 2, byte offset 6: byte 0xff is not UTF-8"),
        ("zwölf\n".encode("utf-16"), "line 1, byte offset 0: byte 0xff is not UTF-8"),
        (b"abc\n\nde\0f" + b"g" * 2000, "line 3, byte offset 7: a NUL byte"),
        (b"short", "5 characters are too few"),
    ],
)
def test_a_bad_file_is_told_with_its_place(tmp_path, raw, message):
    (path,) = write(tmp_path, raw)
    with pytest.raises(data.DataError, match=message) as told:
        corpus.read_corpus([path])
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_a_missing_or_too_large_file_is_told(tmp_path, monkeypatch):
    (path,) = write(tmp_path, b"x" * 2000)
    with pytest.raises(data.DataError, match=r"none: cannot be read: No such file"):
        corpus.read_corpus([path, tmp_path / "none"])
    monkeypatch.setattr(corpus, "MOST", 1999)
    with pytest.raises(data.DataError, match="more than 1,999 bytes"):
        corpus.read_corpus([path])
    with pytest.raises(data.DataError, match="2,400 characters are more than 1,999"):
        corpus.read_corpus(write(tmp_path, b"x" * 1200, b"y" * 1200))


def test_a_few_files_are_cut_and_nothing_is_lost(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcé\n"), size)) for size in (3000, 900)]
    found = corpus.read_corpus(write(tmp_path, *(text.encode() for text in texts)))
    for one, *parts in zip(texts, *found[:3], strict=True):
        assert "".join(parts) == one
        assert len(parts[1]) == len(parts[2]) == len(one) // 20


def test_many_files_are_divided_whatever_their_order(tmp_path):
    paths = write(tmp_path, *(f"{n} ".encode() * (100 + 20 * n) for n in range(30)))
    found = corpus.read_corpus(paths)
    assert found[:3] == corpus.read_corpus([*paths[::-1], paths[0]])[:3]
    whole = sorted(itertools.chain(*found[:3]))
    assert whole == sorted(path.read_text() for path in paths)
    shares = np.array([sum(map(len, part)) for part in found[:3]]) / sum(map(len, whole))
    assert (shares[1:] >= 0.1).all()
    assert shares[0] > 0.7


def test_one_large_file_among_small_ones_is_cut(tmp_path):
    raws = [b"large " * 2000, *(b"small %d\n" % n for n in range(20))]
    found = corpus.read_corpus(write(tmp_path, *raws))
    assert any("large" in one for one in found.train)
    assert all(sum(map(len, part)) >= 600 for part in found[1:3])


def test_bytes_are_taken_as_they_are(tmp_path):
    raw = bytes(range(256)) * 8
    found = corpus.read_corpus(write(tmp_path, raw), unit="byte")
    assert b"".join(itertools.chain(*found[:3])) == raw
    vocabulary = data.utf8_bytes()
    text = "naïve"
    np.testing.assert_array_equal(
        corpus.encode(vocabulary, text.encode()), corpus.encode(vocabulary, text)
    )


def test_the_standard_library_is_split_by_file():
    found = corpus.standard_library(200_000)
    lengths = [sum(map(len, part)) for part in found[:3]]
    assert 150_000 < lengths[0] < 600_000
    assert all(40_000 < length < 250_000 for length in lengths[1:])
    assert not set(found.train) & set(found.validation)
    assert not set(found.test) & (set(found.train) | set(found.validation))
    assert found.digest == corpus.standard_library(200_000).digest
    assert found.digest != found._replace(test=()).digest


DOCUMENTS = [np.arange(1, 24), np.arange(100, 107), np.arange(200, 209), np.arange(300, 301)]


def read_in_lanes(batches):
    """Every (token before, token) that counts, and the documents as a carried state sees them."""
    pairs, read = [], {}
    for batch in batches:
        for lane in range(batch.tokens.shape[0]):
            tokens = batch.tokens[lane]
            if batch.begins[lane]:
                read[lane] = []
            else:  # it goes on where the piece before it ended
                assert tokens[0] == read[lane][-1]
            read[lane] = [*read[lane], *tokens[1:].tolist()]
            if batch.counts[lane]:
                inputs, targets = tokens[:-1], tokens[1:]
                pairs += [(int(a), int(b)) for a, b in zip(inputs, targets, strict=True) if b]
    return pairs


@pytest.mark.parametrize(("lanes", "steps"), [(1, 4), (2, 4), (3, 5), (30, 7), (1, 100)])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_pieces_hold_every_token_once_after_the_one_before_it(lanes, steps, warm_up):
    found = corpus.pieces(DOCUMENTS, lanes, steps, warm_up=warm_up)
    rows = [corpus.Pieces(*arrays) for arrays in zip(*found, strict=True)]
    assert found.tokens.shape[1:] == (lanes, steps + 1)
    expected = [pair for d in DOCUMENTS for pair in itertools.pairwise([0, *d.tolist()])]
    assert sorted(read_in_lanes(rows)) == sorted(expected)
    # A document begins without a memory, and lanes only where nothing was read before.
    starts = found.tokens[..., 0] == 0
    assert (found.begins >= (starts & (found.tokens[..., 1] != 0))).all()
    assert (found.begins[1:] <= starts[1:]).all()


def test_every_pass_reads_everything_in_another_order():
    read = corpus.passes(DOCUMENTS, 2, 4)
    each = 6  # 6 + 2 + 3 + 1 pieces in two lanes
    batches = [corpus.Pieces(**batch) for batch in itertools.islice(read(0), 3 * each)]
    passes = [batches[k * each : (k + 1) * each] for k in range(3)]
    expected = sorted(pair for d in DOCUMENTS for pair in itertools.pairwise([0, *d.tolist()]))
    assert all(sorted(read_in_lanes(one)) == expected for one in passes)
    orders = {tuple(b.tokens.tobytes() for b in one) for one in passes}
    assert len(orders) == 3
    again = [corpus.Pieces(**batch) for batch in itertools.islice(read(7), 4)]
    for one, other in zip(again, batches[7:], strict=False):
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.begins, other.begins)
