import json
import sys

import numpy as np
import pandas as pd
import pytest

from experiments import panels, panels_coverage, panels_milk, panels_series
from experiments.panels_milk import BEFORE_TEST, CANDIDATES, ORIGINS, STEPS
from seqjax import launch
from seqjax.forecast import evaluate, generated
from seqjax.forecast.frames import panel_from_frame


def call(*args):
    return launch.launch(panels.NAME, panels.Config, panels.run, "Panels.", list(args))


def test_the_true_quantiles_hold_their_part_and_none_has_less_error():
    """Which they do only where each stands beside its own step and series."""
    length, ahead = 70, 28
    for recipe in panels_coverage.PANELS.values():
        frame = generated.panel(recipe, 300, length)
        held_out = frame[frame.groupby("unique_id").cumcount() >= length - ahead]
        held_out = held_out.assign(cutoff=frame["ds"].unique()[length - ahead - 1])
        shuffled = held_out.sample(frac=1, random_state=0)
        found = panels_coverage.with_oracle(shuffled, recipe, 300, length)
        pooled = evaluate.scores(found, panel_from_frame(frame)[0], 7).pooled
        assert pooled["model"].iloc[0] == panels_coverage.ORACLE  # the best comes first
        covered = pooled.set_index("metric")["value"].filter(like="coverage-").to_dict()
        assert covered.keys() == {"coverage-80", "coverage-95"}
        for name, value in covered.items():
            level = int(name.partition("-")[2]) / 100
            above = 0.02 if recipe == "counts" else 0.01  # steps of one count overshoot
            assert -0.01 < value - level < above, (recipe, name)


def test_what_follows_the_origin_changes_no_forecast_of_milk(monkeypatch):
    candidate = panels_milk.Candidate("linear", horizon=12, transform="log")
    origin, how = ORIGINS[0], {"steps": 3}
    point = panels_milk.forecast(candidate, origin, 0, **how)
    others = panels_milk.baselines(origin)
    panel, days = panels_milk.milk()
    altered = panel.values.copy()
    altered[origin:] = 1.0
    monkeypatch.setattr(panels_milk, "milk", lambda: (panel._replace(values=altered), days))
    np.testing.assert_array_equal(panels_milk.forecast(candidate, origin, 0, **how), point)
    for name, one in panels_milk.baselines(origin).items():
        np.testing.assert_array_equal(one, others[name])


def test_the_chosen_candidate_has_the_least_error_before_the_test_part(monkeypatch):
    values = panels_milk.milk()[0].values
    seen = []

    def off_by(candidate, origin, seed):
        """Of the candidates the fourth is the nearest; RMSE is its distance."""
        assert origin + STEPS <= BEFORE_TEST
        seen.append(origin)
        return values[origin : origin + STEPS] + 2 + seed + abs(CANDIDATES.index(candidate) - 3)

    monkeypatch.setattr(panels_milk, "forecast", off_by)
    chosen, rows = panels_milk.choose(CANDIDATES, (0, 1))
    assert chosen == CANDIDATES[3]
    assert set(seen) == set(ORIGINS)
    ours = [row for row in rows if row.kind == "model" and row.metric == "rmse"]
    assert [row.seeds for row in ours][2:5] == [(3.0, 4.0), (2.0, 3.0), (3.0, 4.0)]
    assert {row.split for row in rows} == {"validation"}

    monkeypatch.setattr(panels_milk, "forecast", lambda _, at, seed: values[at : at + STEPS] + seed)
    rows = panels_milk.test(chosen, (1, 2, 6), ["seasonal naive, 12"])
    found = {(row.kind, row.metric, len(row.seeds)): row.seeds for row in rows}
    assert found["model", "rmse", 3] == (1.0, 2.0, 6.0)
    assert found["model", "rmse", 1] == (2.0,)  # of the median
    assert found["baseline", "skill", 1] == (0.0,)
    assert {row.split for row in rows} == {"test"}


def test_the_published_figures_are_those_of_statsmodels():
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    values = panels_milk.milk()[0].values[:BEFORE_TEST]
    for name, published in panels_milk.PUBLISHED.items():
        if name.startswith("SARIMA"):
            order = tuple(int(digit) for digit in name[8:13].split(","))
            fitted = SARIMAX(values, order=order, seasonal_order=(0, 1, 1, 12)).fit(disp=0)
            found = panels_milk.error(fitted.forecast(STEPS), BEFORE_TEST)
            np.testing.assert_allclose(found, published, atol=0.05)


def test_the_others_of_a_series_forecast_from_the_same_origins():
    """A last value of what they are given is the baseline of that name."""
    calls = []

    def last_values(how, values, horizon):
        calls.append(len(values))
        return {"theirs": np.full(horizon, values[-1])}

    how = {"models": ("linear",), "seeds": 1, "steps": 3}
    found = panels_series.scores("nile", last_values, **how)
    series = panels_series.SERIES["nile"]
    last = 100 - series.horizon
    assert calls == list(range(last - series.step * (series.windows - 1), last + 1, series.step))
    wide = found.pooled.pivot(index="metric", columns="model", values="value")
    np.testing.assert_allclose(wide["theirs"], wide["last value"])
    assert not np.allclose(wide["theirs"], wide["Linear"])


def test_a_run_is_kept_resumed_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(panels_coverage, "PANELS", {"heavy-tailed": "student_t"})
    folder = tmp_path / "run"
    options = ["--only", "coverage", "--quick", "--series", "12"]
    assert call("--out", str(folder), *options) == 0
    assert "heavy-tailed" in capsys.readouterr().out
    rows = json.loads((folder / "result.json").read_text())["rows"]
    for name in panels_coverage.PANELS:
        mine = [row for row in rows if row["model"] == f"{name}: GRU"]
        by_step = {(row["metric"], row["horizon"]): row["mean"] for row in mine}
        for level in ("coverage-80", "coverage-95"):
            steps = [by_step[level, step] for step in range(1, panels_coverage.HORIZON + 1)]
            np.testing.assert_allclose(np.mean(steps), by_step[level, None])
        others = {row["model"]: row["mean"] for row in rows if row["metric"] == "skill"}
        assert others[f"{name}: seasonal naive, 7"] == 0
        assert (folder / f"coverage-{name}.png").stat().st_size > 10_000
    kept = (folder / "parts" / "coverage.json").stat().st_mtime_ns
    assert call("--out", str(folder), "--resume") == 0
    assert (folder / "parts" / "coverage.json").stat().st_mtime_ns == kept
    assert json.loads((folder / "result.json").read_text())["rows"] == rows


def test_without_statsmodels_one_sentence_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    assert call("--out", str(tmp_path / "run"), "--only", "series", "--quick") == 2
    assert "pip install -e '.[experiments]'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "length"), [("co2", 2284), ("elnino", 732), ("sunspots", 309)])
def test_the_bundled_series_are_whole(name, length):
    frame = panels_series.frame_of(name)
    assert list(frame) == ["ds", "y"]
    assert len(frame) == length
    gaps = frame["ds"].diff().dropna()
    assert gaps.max() <= (pd.Timedelta(days=31) if name == "elnino" else gaps.mode()[0])
