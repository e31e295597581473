import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import (
    sentences as experiment,
    sentences_baselines,
    sentences_data,
    sentences_models,
    sentences_predict,
    sentences_report as report,
    sentences_tokens as tokens,
)
from seqjax import data, launch, models, runs
from seqjax.data.text import PADDING, UNKNOWN

WORDS = {"good": ("fine", "warm", "funny", "a joy"), "bad": ("dull", "cold", "a bore", "a mess")}


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "The table.", list(args))


def result(folder):
    return json.loads((folder / "result.json").read_text())["rows"]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """240 sentences, a word of which tells their label."""
    rng = np.random.default_rng(0)
    fillers = [
        "the",
        "film",
        "was",
        "and",
        "of",
        "it",
        "with",
        "plot",
        "actors",
        "really",
        "very",
        "scene",
        "music",
    ]
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("said", "opinion"))
        for number in range(240):
            label = ("good", "bad")[number % 2]
            words = list(rng.choice(fillers, rng.integers(2, 12)))
            words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(WORDS[label])))
            writer.writerow((" ".join(words), label))
    return ["--csv", str(path), "--text-column", "said", "--label-column", "opinion"]


def options(reviews, **more):
    path, text, label = reviews[1::2]
    return sentences_data.TextOptions(Path(path), text, label, **more)


@pytest.fixture(scope="module")
def run(reviews, tmp_path_factory):
    """A short run of one row and two seeds on them."""
    folder = tmp_path_factory.mktemp("sentences") / "run"
    args = ["--out", str(folder), "--epochs", "6", "--seeds", "2", "--learning-rate", "0.01"]
    assert call(*reviews, *args, "--only", "cnn") == 0
    return folder


def test_the_table_has_networks_their_ensemble_and_baselines(run):
    rows = {(row["model"], row["split"], row["metric"]): row for row in result(run)}
    names = {name for name, *_ in rows}
    assert names == {
        "cnn", "ensemble of the 2", "most frequent class",
        *(f"{name}, {grams}" for name in sentences_baselines.STRENGTHS
          for grams in sentences_baselines.NGRAMS),
    }  # fmt: skip
    for name in names:
        accuracy = rows[name, "test", "accuracy"]
        assert len(accuracy["seeds"]) == (2 if name == "cnn" else 1)
        assert rows[name, "validation", "macro_f1"]["kind"] == accuracy["kind"]
    assert rows["most frequent class", "test", "accuracy"]["mean"] == 50.0
    assert rows["most frequent class", "test", "macro_f1"]["mean"] == pytest.approx(100 / 3)
    assert rows["ensemble of the 2", "test", "accuracy"]["mean"] > 90.0
    assert (run / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_is_that_of_the_probabilities_kept(run, reviews):
    (parts,) = options(reviews).parts().values()
    kept = [
        json.loads((run / "rows" / "cnn" / f"seed-{seed}.json").read_text())["figures"]["test"]
        for seed in (0, 1)
    ]
    right = np.mean(kept, axis=0).argmax(axis=1) == parts.test.labels
    (row,) = [row for row in result(run) if (row["model"], row["split"], row["metric"])
              == ("ensemble of the 2", "test", "accuracy")]  # fmt: skip
    assert row["mean"] == pytest.approx(100 * np.mean(right))


def test_new_sentences_are_classified_by_the_finished_run(run, capsys):
    found = experiment.predict(run, ["it was a mess", "funny and warm", "漢字"])
    assert [max(shares, key=shares.get) for shares in found[:2]] == ["bad", "good"]
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-5) for shares in found)
    assert call("--out", str(run), "--predict", "it was a mess", "a joy") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["bad", "good"]
    assert printed[0].endswith("it was a mess")


def test_prediction_is_that_of_the_measured_probabilities(run, reviews):
    """What stands in the folder (model, parameters, vocabulary) gives the table's figures again."""
    (parts,) = options(reviews).parts().values()
    loaded = runs.load(run, "cnn", 1)
    vocabulary = tokens.saved_vocabulary(loaded.extra["vocabulary"])
    examples = tokens.as_tokens(vocabulary, parts.test.texts, loaded.extra["steps"])
    kept = json.loads((run / "rows" / "cnn" / "seed-1.json").read_text())["figures"]["test"]
    read = sentences_predict.Reader(loaded.model)(loaded.params, examples)
    np.testing.assert_allclose(read, kept, atol=2e-5)


def test_no_run_to_predict_from_is_told(tmp_path, capsys):
    assert call("--out", str(tmp_path / "nothing"), "--predict", "a joy") == 2
    assert "nothing: there is no trained model" in capsys.readouterr().err


def test_another_seed_is_added_and_what_is_done_is_kept(run, capsys):
    kept = (run / "rows" / "cnn" / "seed-0.json").read_bytes()
    before = result(run)
    (run / "result.json").unlink()
    assert call("--out", str(run), "--resume") == 0
    assert (run / "rows" / "cnn" / "seed-0.json").read_bytes() == kept
    assert result(run) == before
    assert call("--out", str(run), "--resume", "--unit", "word") == 2
    assert "the run was started with unit = 'piece', not 'word'" in capsys.readouterr().err


def test_folds_test_every_sentence_once(reviews, tmp_path):
    args = ["--folds", "3", "--epochs", "1", "--seeds", "1", "--only", "cnn"]
    assert call(*reviews, *args, "--out", str(tmp_path / "run")) == 0
    accuracy = {row["model"]: row for row in result(tmp_path / "run")
                if (row["split"], row["metric"]) == ("test", "accuracy")}  # fmt: skip
    assert {len(row["seeds"]) for row in accuracy.values()} == {3}
    assert accuracy["cnn"]["mean"] == accuracy["ensemble of the 1"]["mean"]
    assert accuracy["most frequent class"]["mean"] == 50.0
    assert len(experiment.predict(tmp_path / "run", ["a joy"])) == 1
    folds = [one._asdict() for one in options(reviews, folds=3).parts().values()]
    tested = [text for one in folds for text in one["test"].texts]
    for one in folds:
        assert sorted(text for part in one.values() for text in part.texts) == sorted(tested)


@pytest.mark.parametrize("name", ["bigru", "cnn"])
def test_padding_changes_neither_loss_nor_gradient(name):
    """Each text alone, and both in a batch with padding that holds tokens of another text."""
    settings = sentences_models.settings_for(100)._replace(
        features=4, embedding=5, dropout=0.0, token_dropout=0.0
    )
    model = sentences_models.make_model(name, 20, 3, settings)
    params = model.init(jax.random.key(0))
    loss = sentences_models.loss_of(model, settings)
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 20, length).astype(np.int32) for length in (7, 3)]
    labels = np.array([2, 1], np.int32)
    padded, lengths = data.padded(texts, steps=9)
    padded[1, 3:] = 5

    @jax.jit
    @jax.value_and_grad
    def total(params, tokens, lengths, labels):
        batch = {"tokens": tokens[..., None], "lengths": lengths[..., None], "labels": labels}
        return loss(params, batch, jax.random.key(0)).values.sum()

    together = total(params, padded, lengths, labels)
    alone = [
        total(params, text[None], np.array([len(text)]), labels[k : k + 1])
        for k, text in enumerate(texts)
    ]
    added = jax.tree.map(lambda *leaves: sum(leaves), *alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, added)


def test_training_reads_variants_and_drops_tokens_but_no_padding():
    seen = []

    def apply(params, x, *, key=None, seq_lengths=None):
        seen.append(np.asarray(x))
        return jax.numpy.zeros((len(x), 2))

    settings = sentences_models.settings_for(100)._replace(token_dropout=0.25)
    loss = sentences_models.loss_of(models.Model(None, apply, None, None), settings)
    tokens = np.random.default_rng(0).integers(2, 20, (200, 50, 3)).astype(np.int32)
    tokens[:, 30:] = PADDING
    batch = {"tokens": tokens, "lengths": np.full((200, 3), 30), "labels": np.zeros(200, np.int32)}
    loss({}, jax.tree.map(jax.numpy.asarray, batch), jax.random.key(0))
    single = {name: array[..., 0] for name, array in batch.items() if name != "labels"}
    loss({}, jax.tree.map(jax.numpy.asarray, batch | single), None)
    trained, validated = seen
    np.testing.assert_array_equal(validated, tokens[..., 0])
    same = trained[:, :, None] == tokens
    which = np.argmax(same[:, :30].sum(axis=1), axis=1)  # each text is one of its variants
    assert set(which) == {0, 1, 2}
    dropped = ~np.take_along_axis(same, which[:, None, None], axis=2)[..., 0]
    assert not dropped[:, 30:].any()
    assert set(trained[dropped].tolist()) == {UNKNOWN}
    assert np.mean(dropped[:, :30]) == pytest.approx(0.25, abs=0.03)


def library(root, lines):
    """Ten packages of five files, each line of a kind of its own, and what is to be left out."""
    for package in sentences_data.PACKAGES:
        (root / package / "test").mkdir(parents=True)
        (root / package / "test" / "case.py").write_text(f"a test of {package}")
        for file in range(5):
            own = [f"{package} has file {file} line {line}" for line in range(lines + file)]
            shared = ["import what all have", "too short", "# a comment of four words"]
            (root / package / f"{file}.py").write_text("\n".join([*own, *own, *shared]))
    return root


def test_a_file_of_the_library_is_in_one_part_only(tmp_path):
    parts = sentences_data.standard_library(library(tmp_path, 12))
    places = {}
    for name, part in parts._asdict().items():
        counts = np.bincount(part.labels, minlength=10)
        assert set(counts) == {counts[0]}
        for text, label in zip(part.texts, part.labels, strict=True):
            package, _, _, file, _, _ = text.split()  # nothing of what is to be left out
            assert package == part.names[label]
            places.setdefault((package, file), set()).add(name)
        assert len(set(part.texts)) == len(part.texts)
    assert {len(found) for found in places.values()} == {1}
    assert parts.train.texts == sentences_data.standard_library(tmp_path).train.texts


def test_this_pythons_library_makes_parts_without_copies():
    parts = sentences_data.standard_library()
    assert [len(part.texts) for part in parts] == [6000, 2000, 3000]
    assert len(set().union(*(part.texts for part in parts))) == 11_000


def test_a_python_without_source_is_told(tmp_path):
    with pytest.raises(data.DataError, match="asyncio: the source of this package is not there"):
        sentences_data.standard_library(tmp_path)


def test_a_look_at_the_default_lines(tmp_path, monkeypatch):
    parts = sentences_data.standard_library(
        library(tmp_path / "lib", 12)
    )  # in place of this Python's
    monkeypatch.setattr(sentences_data, "standard_library", lambda: parts)
    assert call("--out", str(tmp_path / "run"), "--quick", "--only", "cnn") == 0
    rows = result(tmp_path / "run")
    assert {row["split"] for row in rows} == {"validation"}  # the test part is for finished runs
    accuracy = {row["model"]: row["mean"] for row in rows if row["metric"] == "accuracy"}
    assert accuracy["naive Bayes, character 2-5-grams"] > 25.0  # of ten classes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--csv", "missing.csv"], "missing.csv: there is no such file"),
        (["--folds", "10"], "--folds takes 2 or more, and a --csv"),
        (["--only", "bigrv"], "there is no row bigrv; see --list for the rows. Did you mean"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--text-column", "says"], "line 1: no column 'says'; the columns are 'said', 'opinion'"),
        (["--folds", "121"], "has 120 example(s), fewer than there are folds: 121"),
    ],
)
def test_bad_input_ends_before_training(reviews, tmp_path, capsys, args, message):
    given = [] if args == ["--folds", "10"] else reviews
    assert call(*given, "--out", str(tmp_path / "run"), *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 4, (2, 200))
    predicted[labels == 3] = 0  # a class that is never found
    predicted[predicted == 3] = 1
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    assert report.macro_f1(predicted, labels, 4) == pytest.approx(expected)
