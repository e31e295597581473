import json

import jax
import numpy as np
import pytest

from experiments import (
    dates_data as dates,
    dates_models,
    dates_pictures,
    translate_dates as experiment,
)
from seqjax import data, launch

PARTS = dates.parts(600, 60)


@pytest.fixture(autouse=True)
def few_dates_and_narrow_networks(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "TRAIN", 96)
    monkeypatch.setattr(experiment, "HELD_OUT", 20)
    for name, recipe in experiment.RECIPES.items():
        narrow = recipe._replace(features=4, embedding=3, epochs=1)
        monkeypatch.setitem(experiment.RECIPES, name, narrow)
    monkeypatch.chdir(tmp_path)


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "The table.", list(args))


def rows_of(folder):
    rows = json.loads((folder / "result.json").read_text())["rows"]
    return {(row["model"], row["split"], row["metric"]): row for row in rows}


def test_no_day_is_in_two_parts_and_a_text_has_one_answer():
    days = [{one.iso for one in part} for part in PARTS]
    train, validation, test, unseen = days
    assert not train & (validation | test)
    assert not validation & test
    assert test == unseen
    assert len(validation) == len(test) == 60
    answers = {}
    for one in (one for part in PARTS for one in part):
        answers.setdefault(one.text, set()).add(one.iso)
    assert {len(isos) for isos in answers.values()} == {1}
    again = dates.parts.__wrapped__(600, 60)
    assert again == PARTS


def test_rules_written_apart_read_what_is_written_right():
    """A peer: the baseline's parser shares words with the generator, and no format."""
    every = [one for part in PARTS for one in part]
    right = [one for one in every if not one.typed]
    assert [dates.rules(one.text, repair=False) for one in right] == [one.iso for one in right]
    typed = [one for one in every if one.typed]
    assert 0.1 < len(typed) / len(every) < 0.3
    repaired = [dates.rules(one.text, repair=True) == one.iso for one in typed]
    assert np.mean(repaired) > 0.9


def test_an_error_makes_no_other_word():
    for kind in ("months", "days", "weekdays"):
        for language in dates.LANGUAGES.values():
            for word in getattr(language, kind).replace("~", " ").lower().split(" "):
                known = {
                    other
                    for one in dates.LANGUAGES.values()
                    for other in getattr(one, kind).lower().split()
                    if other != word
                }
                meanings = dates._meanings(kind)
                wrongs = dates._errors_of(kind, word) if word in meanings else ()
                assert not {w for w in wrongs if w in known and meanings[w] != meanings[word]}


def test_right_at_every_step_that_reads_the_truth_is_right_alone():
    examples = PARTS.train[:16]
    vocabulary = data.characters(one.text for one in examples)
    model = experiment.RECIPES["lstm"].model(vocabulary)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    draw = lambda a: jax.numpy.asarray(random.normal(size=a.shape), a.dtype)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    head = params["decoder"]["layers_3"]["dense"]
    head["bias"] = head["bias"].at[dates.END].set(-50)  # it goes on to the last step
    arrays = dates.encoded(examples, vocabulary)
    found = dates_models.search(model, params, arrays, 1)
    target = np.concatenate([arrays["target"][:, :1], found], axis=1)
    target[::2, 5] = np.where(target[::2, 5] == 3, 4, 3)
    loss = dates_models.loss_of(model)
    exact = loss(params, arrays | {"target": jax.numpy.asarray(target)}, None).metrics["exact"]
    np.testing.assert_array_equal(exact, np.arange(16) % 2 == 1)


def test_a_table_with_its_picture_is_kept_and_translates(tmp_path, capsys, monkeypatch):
    assert call("--out", "run", "--seeds", "1", "--only", "gru-additive") == 0
    run = tmp_path / "run"
    rows = rows_of(run)
    assert {model for model, _, _ in rows} == {*dates_pictures.BASELINES, "gru-additive"}
    figures = {(split, metric) for model, split, metric in rows if model == "gru-additive"}
    assert figures == set(dates_pictures.FIGURES.values())
    rules = rows["rules", "test", "exact match"]
    test = dates.parts(96, 20).test
    expected = [dates.rules(one.text, repair=False) == one.iso for one in test]
    assert rules["mean"] == pytest.approx(100 * np.mean(expected))
    assert (run / "attention.png").stat().st_size > 10_000
    kept = (run / "rows" / "gru-additive" / "seed-0.json").read_bytes()
    monkeypatch.setattr(dates_pictures, "draw", lambda *_: [])  # it is drawn already
    assert call("--resume", "--out", "run") == 0
    assert (run / "rows" / "gru-additive" / "seed-0.json").read_bytes() == kept
    assert rows_of(run) == rows
    capsys.readouterr()
    assert call("--out", "run", "--predict", "am 3. März 2021", "3/4/5 ☃") == 0
    first, second = capsys.readouterr().out.splitlines()
    (alone,) = dates_models.predict(run, ["am 3. März 2021"])
    assert first == f"{alone}  am 3. März 2021"
    assert second.endswith("  3/4/5 ☃")


def test_bad_options_are_told(tmp_path, capsys):
    assert call("--out", "run", "--beams", "0") == 2
    assert "--beams must be at least 1" in capsys.readouterr().err
    assert call("--out", "nowhere", "--predict", "3. März 2021") == 2
    assert "error: nowhere: there is no finished row" in capsys.readouterr().err
    with pytest.raises(launch.RunError, match="a text is empty"):
        dates_models.predict(tmp_path, ["3. März 2021", " "])


def test_a_look_trains_one_row():
    assert experiment.Config(quick=True).rows() == ("gru",)
    assert experiment.Config(quick=True, only="lstm").rows() == ("lstm",)
