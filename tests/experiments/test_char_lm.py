import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import char_lm as experiment, char_lm_data as texts
from experiments.char_lm_models import RECIPES, loss_of
from seqjax import launch, losses, ngram, runs, train
from tests.compiled import run as run_compiled

WORDS = ("seven", "red", "herons", "sleep", "on", "a", "long", "grey", "pier", "all", "day")


@pytest.fixture
def text(monkeypatch, tmp_path):
    """Sentences of a few words, in two files; small models."""
    monkeypatch.chdir(tmp_path)
    for name, one in list(RECIPES.items()):
        small = one._replace(features=(12,), embedding=6, recall=one.recall[:1])
        monkeypatch.setitem(RECIPES, name, small)
    monkeypatch.setattr(experiment, "EPOCHS", 2)
    rng = np.random.default_rng(0)
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for path in paths:
        lines = (" ".join(rng.choice(WORDS, 6)) for _ in range(100))
        path.write_text("\n".join(lines))
    return list(map(str, paths))


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "The table.", list(args))


def cross_entropy(model, params, document):
    """In nats, of every character after all before it."""
    tokens = np.concatenate([[0], document])[None].astype(np.int32)
    logits = run_compiled(model.apply, params, tokens[:, :-1])
    return run_compiled(losses.cross_entropy, logits, tokens[:, 1:])[0]


@pytest.mark.parametrize("name", ["lstm", "min_gru", "lru", "wavenet", "best"])
def test_a_stream_in_lanes_is_every_document_alone(name):
    """Each character once, after all of its document before it, whatever the pieces."""
    recipe = RECIPES[name]._replace(features=(6, 6), embedding=4)
    recipe = recipe._replace(recall=recipe.recall[:2])
    model = recipe.model(vocab_size=9)
    params = model.init(jax.random.key(1))
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 9, size) for size in (23, 8, 16)]
    lanes = 1 if name != "lstm" else 3  # read in full before those that count: see `whole`
    batches = texts.whole(documents, lanes, 8)
    carry = model.initial_carry(lanes)
    found = train.evaluate_metrics(loss_of(model), params, batches, carry)
    expected = []
    for one in documents:
        expected.append(cross_entropy(model, params, one))
    mean = float(np.concatenate(expected).mean())
    np.testing.assert_allclose(found["loss"], mean, rtol=2e-6)
    np.testing.assert_allclose(found["bits"], mean / np.log(2), rtol=2e-6)


def test_states_are_reset_in_training_alone():
    model = RECIPES["gru"]._replace(features=(4,)).model(vocab_size=5)
    params = model.init(jax.random.key(0))
    lanes = 400
    tokens = jnp.ones((lanes, 3), jnp.int32)
    batch = {"tokens": tokens, "begins": jnp.zeros(lanes, bool), "counts": jnp.ones(lanes)}
    carry = jax.tree.map(lambda a: a + 0.5, model.initial_carry(lanes))
    loss = loss_of(model, resets=0.05)
    kept = loss(params, batch, None, carry).values[:, 0]
    assert jnp.ptp(kept) == 0
    trained = loss(params, batch, jax.random.key(3), carry).values[:, 0]
    share = float(jnp.mean(trained != kept[0]))
    assert 0.01 < share < 0.12  # one in twenty


def test_a_table_with_its_baselines_is_trained_kept_and_continued(
    text, tmp_path, capsys, monkeypatch
):
    options = ["--text", *text, "--characters", "0.04", "--only", "gru,best", "--out", "run"]
    assert call(*options, "--seeds", "1") == 0
    run = tmp_path / "run"
    rows = json.loads((run / "result.json").read_text())["rows"]
    found = {(row["model"], row["split"]): row["mean"] for row in rows}
    known = texts.read([tmp_path / "one.txt", tmp_path / "two.txt"], "character", quick=False)
    # The n-gram model of the test part is the best one of the validation part.
    grams = {
        key[0]: mean for key, mean in found.items() if key[1] == "validation" and "-" in key[0]
    }
    (recalling,) = [name for name in grams if name.endswith(" with recall")]
    of_recall = grams.pop(recalling)
    assert len(grams) == texts.ORDER
    chosen, with_recall = [key[0] for key in found if key[1] == "test" and "-" in key[0]]
    assert with_recall == recalling == f"{chosen} with recall"
    assert of_recall <= grams[chosen]  # the most likely weights; of zeros it is the n-gram itself
    assert grams[chosen] == min(grams.values())
    model = ngram.fit(known.train, int(chosen[0]), known.vocabulary.size)
    bits = [ngram.log2_probabilities(model, one)[-1] for one in known.test]
    np.testing.assert_allclose(found[chosen, "test"], -np.concatenate(bits).mean())
    # The network's figure is that of its saved parameters, on everything in order.
    saved = runs.load(run, "gru")
    assert saved.extra["vocabulary"] == known.vocabulary.to_json()
    nats = [cross_entropy(saved.model, saved.params, one) for one in known.test]
    bits = np.concatenate(nats).mean() / np.log(2)
    np.testing.assert_allclose(found["gru", "test"], bits, rtol=1e-4)
    assert found["gru", "validation"] < np.log2(known.vocabulary.size)
    assert (run / "bits.png").stat().st_size > 10_000

    kept = (run / "rows" / "gru" / "seed-0.json").read_bytes()
    monkeypatch.setattr(experiment.pictures, "draw", lambda *_: [])  # it is drawn already
    assert call("--out", "run", "--resume") == 0
    assert json.loads((run / "result.json").read_text())["rows"] == rows
    assert (run / "rows" / "gru" / "seed-0.json").read_bytes() == kept
    capsys.readouterr()

    generate = ["--out", "run", "--generate", "50", "--prompt", "red her"]
    texts_made = []
    for more in ([], [], ["--seed", "1"], ["--only", "gru"], ["--temperature", "0"]):
        assert call(*generate, *more) == 0
        texts_made.append(capsys.readouterr().out)
    made, again, other, of_gru, likely = texts_made
    assert made.startswith("red her")
    assert made[: 7 + 50] == again[: 7 + 50]
    assert len({one[: 7 + 50] for one in (made, other, of_gru, likely)}) == 4
    assert "50 characters" in made

    (tmp_path / "one.txt").write_text("other " * 500)
    assert call("--out", "run", "--resume", "--seeds", "3") == 2
    assert "was trained with text = " in capsys.readouterr().err


def test_bytes_are_learned_and_generated(tmp_path, capsys, monkeypatch, text):
    path = tmp_path / "bytes"
    path.write_bytes("é\xff ".encode("latin-1") * 700 + b"\0")
    options = ["--text", str(path), "--unit", "byte", "--quick", "--out", "run"]
    assert call(*options) == 0
    assert "VALIDATION BITS, per byte" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["rows"]
    assert {row["split"] for row in rows} == {"validation"}  # a look leaves the test part alone
    assert call("--out", "run", "--generate", "40", "--prompt", "é") == 0
    assert capsys.readouterr().out.startswith("é")


def test_rows_and_budgets_follow_from_the_options():
    assert "best" not in experiment.Config().rows()
    assert experiment.Config(only="best").rows() == ("best",)
    long, short = (experiment.Config().recipe("best", size) for size in (20_000_000, 100_000))
    assert long.dropout < short.dropout
    assert (long.characters, short.characters) == (RECIPES["best"].characters, 4.0)
    asked = experiment.Config(dropout=0.3, characters=1.0, features=(7,)).recipe("gru", 10**6)
    assert (asked.dropout, asked.characters, asked.features) == (0.3, 1.0, (7,))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "lstn"], "there is no row lstn"),
        (["--characters", "0"], "--characters must be above 0, not 0"),
        (["--dropout", "1"], r"--dropout must be in [0, 1), not 1"),
        (["--text", "missing.txt"], "missing.txt: cannot be read: No such file"),
    ],
)
def test_bad_options_are_told(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("--out", "run", *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_generation_from_nothing_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("--generate", "5") == 2
    assert "there is no trained model" in capsys.readouterr().err
    for row in ("lstm", "gru"):
        (tmp_path / "run" / "rows" / row).mkdir(parents=True)
        (tmp_path / "run" / "rows" / row / "model.json").touch()
    assert call("--generate", "5", "--out", "run") == 2
    assert "say --only ROW to generate with: gru, lstm" in capsys.readouterr().err
