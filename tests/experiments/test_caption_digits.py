import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import caption_digits as experiment, caption_digits_data as captions, digits_data
from experiments.caption_digits_models import Settings, loss_of, make_model, write
from seqjax import launch, runs


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "Captions.", list(args))


def test_measures_have_the_symmetries_of_what_they_are_called():
    pictures = digits_data.digits().validation.pictures
    plain = captions.measures(pictures)
    mirrored, turned = (captions.measures(of) for of in (pictures[:, :, ::-1], pictures[:, ::-1]))
    for flipped in (mirrored, turned):
        np.testing.assert_allclose(flipped["slant"], -plain["slant"], atol=1e-9)
        for name in ("ink", "width"):
            np.testing.assert_allclose(flipped[name], plain[name], atol=1e-9)
    faint = captions.measures(pictures / 2)
    np.testing.assert_allclose(faint["ink"], plain["ink"] / 2)
    np.testing.assert_allclose(faint["slant"], plain["slant"], atol=1e-9)
    shifted = np.zeros((1, 8, 8))
    shifted[0, :4, 5:7] = shifted[0, 4:, 3:5] = 1  # the upper half stands 2 to the right
    # Of two blocks of 4 rows: covariance 1 * 2, variance of 8 rows 5.25.
    np.testing.assert_allclose(captions.measures(shifted)["slant"], 2 / 5.25)


def test_classes_are_thirds_of_the_training_part_and_true_of_every_copy():
    task = captions.task(copies=2)
    part = task.parts["train"]
    originals = {slot: values[:1167] for slot, values in part.classes.items()}
    for slot in ("ink", "width", "slant"):
        np.testing.assert_allclose(np.bincount(originals[slot]) / 1167, 1 / 3, atol=0.02)
        measured = captions.measures(part.pictures)[slot]  # the copies' own, not their originals'
        low, high = task.cuts[slot]
        np.testing.assert_array_equal(
            part.classes[slot], (measured >= low) * 1 + (measured >= high)
        )
    assert (part.classes["slant"][1167:] != originals["slant"]).mean() > 0.01
    np.testing.assert_array_equal(part.classes["digit"][1167:], originals["digit"])
    np.testing.assert_array_equal(part.pictures[:1167], digits_data.digits().train.pictures)


def test_tokens_say_the_caption_and_nothing_else():
    task = captions.task()
    for part in task.parts.values():
        for k in range(0, len(part.tokens), 7):
            length = part.lengths[k]
            words = [slot[1][part.classes[slot[0]][k]] for slot in captions.SLOTS.items()]
            text = task.vocabulary.decode(part.tokens[k, 1:length])
            digit, width, ink, slant = words
            assert text.split(" ", 1)[1] == f"{width} {digit} , {ink} , {slant}".strip()
            assert (text[:2] == "an") == (not width and digit == "eight")
            assert part.tokens[k, 0] == captions.START
            assert part.tokens[k, length] == captions.END
            assert not part.tokens[k, length + 1 :].any()
        assert not (part.tokens == 1).any()  # no word of validation and test is unknown


def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def test_scores_are_those_of_a_plain_edit_distance():
    part = captions.task().parts["validation"]
    rng = np.random.default_rng(0)
    words = part.tokens[:, 1:].copy()
    lengths = part.lengths - 1 - rng.integers(0, 2, len(words))  # some end a word early
    changed = rng.random(len(words)) < 0.5
    words[changed, 2] = rng.integers(4, 20, changed.sum())
    found = captions.scores(words, lengths, part)
    true = [row[:n] for row, n in zip(part.tokens[:, 1:].tolist(), part.lengths - 1, strict=True)]
    said = [row[:n] for row, n in zip(words.tolist(), lengths, strict=True)]
    distances = [levenshtein(a, b) for a, b in zip(said, true, strict=True)]
    assert found["exact"] == np.mean([a == b for a, b in zip(said, true, strict=True)])
    np.testing.assert_allclose(found["words"], 1 - sum(distances) / sum(map(len, true)), rtol=1e-6)


@pytest.mark.parametrize("architecture", experiment.Config.titles)
def test_padding_changes_neither_a_captioners_loss_nor_its_gradient(architecture):
    task = captions.task()
    model = make_model(architecture, Settings(features=8), task.vocabulary.size)
    params = model.init(jax.random.key(0))
    part = task.parts["validation"]
    batch = {name: jnp.asarray(array[:6]) for name, array in part.batch().items()}
    longest = int(batch["lengths"].max()) + 1

    @jax.jit
    def summed(params, batch):
        found = loss_of(model)(params, batch, None)
        return jnp.sum(found.values * found.weights)

    together = jax.value_and_grad(summed)(params, batch | {"tokens": batch["tokens"][:, :longest]})
    noise = jax.random.randint(jax.random.key(1), (6, 5), 2, 20)
    padded = batch | {"tokens": jnp.concatenate([batch["tokens"][:, :longest], noise], axis=1)}
    of_padded = jax.value_and_grad(summed)(params, padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, of_padded)
    alone = 0.0
    for k in range(6):
        steps = int(batch["lengths"][k]) + 1
        one = {name: array[k : k + 1] for name, array in batch.items()}
        alone += float(summed(params, one | {"tokens": one["tokens"][:, :steps]}))
    np.testing.assert_allclose(together[0], alone, rtol=1e-5)


def test_a_run_is_scored_resumed_and_drawn(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    options = ["--only", "gru", "--epochs", "1", "--copies", "8", "--seeds", "1"]
    options += ["--features", "64", "--learning-rate", "0.01"]
    assert call("--out", str(folder), *options) == 0
    assert "word accuracy" in capsys.readouterr().out
    path = folder / "rows" / "gru" / "seed-0.json"
    outcome = json.loads(path.read_text())
    # What is right at every word given the true ones before is what greedy decoding writes.
    exact = outcome["figures"]["validation"]["greedy"]["exact"]
    np.testing.assert_allclose(exact, outcome["history"][0]["validation_exact"], atol=1e-6)
    assert exact > 0.02
    rows = json.loads((folder / "result.json").read_text())["rows"]
    tested = {(r["model"], r["metric"]): r["mean"] for r in rows if r["split"] == "test"}
    trained, part = runs.load(folder, "gru"), captions.task().parts["test"]
    found = captions.scores(*write(trained.model, trained.params, part, beams=4), part)
    np.testing.assert_allclose(tested["gru, beam of 4", "exact"], 100 * found["exact"])
    np.testing.assert_allclose(tested["gru, beam of 4", "words"], 100 * found["words"])
    kinds, counts = np.unique(captions.task().parts["train"].tokens, axis=0, return_counts=True)
    common = kinds[counts == counts.max()]  # there may be several
    shares = [100 * (part.tokens == one).all(axis=1).mean() for one in common]
    assert np.isclose(tested["most frequent caption", "exact"], shares).any()
    assert (folder / "captions.png").stat().st_size > 10_000

    path.unlink()  # as if it had been interrupted there
    monkeypatch.setattr(experiment.pictures, "write", lambda *_: [])  # they are drawn already
    assert call("--out", str(folder), "--resume") == 0
    assert json.loads(path.read_text())["figures"] == outcome["figures"]


def test_a_look_is_short_and_leaves_the_test_part_alone():
    config = experiment.Config(quick=True)
    assert (config.settings().epochs, config.settings().copies) == (2, 2)
    trial = experiment.trial_of(config, "rnn")
    assert trial.measure(trial.model.init(jax.random.key(0))).keys() == {"validation"}


def test_bad_options_are_told(capsys, tmp_path):
    assert call("--out", str(tmp_path / "run"), "--copies", "0") == 2
    assert "--copies must be at least 1, not 0" in capsys.readouterr().err
