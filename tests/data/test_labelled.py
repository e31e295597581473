import csv
import tracemalloc

import numpy as np
import pytest

from seqjax import data
from seqjax.data import labelled


def write(tmp_path, content, name="films.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **how):
    return labelled.read_labelled(path, "text", "label", **how)


def test_texts_come_back_as_the_writer_wrote_them(tmp_path):
    rng = np.random.default_rng(0)
    signs = list("ab ,;\"'\n\téß漢🙂")
    texts = ["x" + "".join(rng.choice(signs, 20)) + "x" for _ in range(200)]
    marks = [str(mark) for mark in rng.integers(0, 3, 200)]
    for encoding, delimiter in (("utf-8", ","), ("utf-16", ";"), ("utf-8-sig", "\t")):
        path = tmp_path / "written.csv"
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([("n", "label", "text"), *zip(range(200), marks, texts, strict=True)])
        read_as = "utf-16" if encoding == "utf-16" else "utf-8"
        found = read(path, encoding=read_as, delimiter=delimiter.replace("\t", "tab"))
        assert found.texts == texts
        assert [found.names[label] for label in found.labels] == marks


def test_copies_are_left_out_and_blank_lines_are_none(tmp_path):
    found = read(write(tmp_path, "text,label\ngood,1\n\nbad,0\n good ,1\ngood,0\n\n"))
    assert found.texts == ["good", "bad", "good"]
    assert found.labels.tolist() == [1, 0, 0]
    assert found.take([2, 0]).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "how", "message"),
    [
        ("", {}, "line 1: the file is empty"),
        ("\n", {}, "line 1: the file is empty"),
        ("text,label\n", {}, "line 1: there is a header but no data"),
        ("text,label\na,1\nb,1\n", {}, "column 'label': all labels are '1', from line 2 on"),
        ("text,stars\na,1\n", {}, "no column 'label'; the columns are 'text', 'stars'"),
        ("text,label,text\na,1,b\n", {}, "line 1: 2 columns 'text'"),
        ("text;label\na;1\n", {}, "line 1: no column 'text'; the columns are 'text;label'. Its"
         " cells are parted by semicolons; say --delimiter ';'"),
        ("text\tlabel\na\t1\n", {}, "say --delimiter tab."),
        ("text,label\na,1\n", {"delimiter": "::"}, "--delimiter '::': it must be one sign, or tab"),
        ("text,label\na,1\n\nb,c,1\n", {}, "line 4: 3 cell(s) where the header has 2"),
        ("text,label\na,1\n\"b\nc\",0\n,1\n", {}, "line 5, column 'text': the text is empty"),
        ("text,label\na,1\nb, \n", {}, "line 3, column 'label': the label is empty"),
        ("text,label\na,1\nb\0,0\n", {}, "line 3: a NUL byte"),
        ("text,label\na,1\n\"b,0\nc,1\n", {}, "line 3: not a regular CSV: a quote is never closed"),
        ("text,label\na,1\n\"" + "b,0\n" * 50_000, {}, "line 3: not a regular CSV: a cell"),
        (b"text,label\na,1\nna\xefve,0\n", {}, "line 3: byte 0xef is not utf-8"),
        ("text,label\na,1\n".encode("utf-16"), {}, "UTF-16, not utf-8; say --encoding utf-16"),
        ("text,label\na,1\n", {"encoding": "utf-9"}, "--encoding utf-9: Python knows no such"),
    ],
)  # fmt: skip
def test_bad_files_are_told_in_one_sentence(tmp_path, content, how, message):
    path = write(tmp_path, content)
    with pytest.raises(data.DataError) as caught:
        read(path, **how)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert message in said
    assert "\n" not in said
    assert len(said) < 300


def test_other_encodings_are_read_by_their_name(tmp_path):
    path = write(tmp_path, "text,label\nnaïve,1\nà,0\n".encode("latin-1"))
    assert read(path, encoding="latin-1").texts == ["naïve", "à"]


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(data.DataError, match="there is no such file"):
            read(path)


def test_a_line_of_megabytes_is_refused_without_being_held(tmp_path):
    path = write(tmp_path, b"text,label\na,1\n" + b"b" * 20_000_000 + b",0\n")
    tracemalloc.start()
    with pytest.raises(data.DataError, match="line 3: more than 100,000 characters"):
        read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def examples(counts):
    marks = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    order = np.random.default_rng(1).permutation(len(marks))
    names = tuple(f"class {k}" for k in range(len(counts)))
    return labelled.Labelled([str(k) for k in order], marks[order], names, "here.csv")


@pytest.mark.parametrize("counts", [(50, 30, 20), (97, 3, 11), (3, 3)])
def test_parts_are_disjoint_whole_and_stratified(counts):
    found, shares = examples(counts), (0.8, 0.1, 0.1)
    parts = labelled.stratified_parts(found, shares, seed=0)
    assert sorted(np.concatenate(parts)) == list(range(sum(counts)))
    for part, share in zip(parts[1:], shares[1:], strict=True):
        held = np.bincount(found.labels[part], minlength=len(counts))
        expected = np.maximum(1, np.round(share * np.array(counts)))
        np.testing.assert_array_equal(held, expected)
    again, other = (labelled.stratified_parts(found, shares, seed=seed) for seed in (0, 1))
    assert all(map(np.array_equal, parts, again))
    assert not all(map(np.array_equal, parts, other))


def test_folds_are_disjoint_whole_and_even():
    counts = (50, 33, 13)
    found = examples(counts)
    folds = labelled.stratified_folds(found, 10, seed=0)
    assert sorted(np.concatenate(folds)) == list(range(sum(counts)))
    assert {len(fold) for fold in folds} == {9, 10}
    held = np.stack([np.bincount(found.labels[fold], minlength=3) for fold in folds])
    assert (held.max(axis=0) - held.min(axis=0)).tolist() == [0, 1, 1]


def test_too_few_examples_of_a_class_are_told():
    found = examples((20, 4))
    message = "here.csv: label 'class 1' has 4 example.s., fewer than there are folds: 10"
    with pytest.raises(data.DataError, match=message):
        labelled.stratified_folds(found, 10, seed=0)
    with pytest.raises(data.DataError, match=r"label 'class 1' has 2 example.s., fewer than"):
        labelled.stratified_parts(examples((20, 2)), (0.8, 0.1, 0.1), seed=0)
