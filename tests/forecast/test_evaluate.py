"""Scores of a cross-validation: utilsforecast's figures, and tables worked out by hand."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from seqjax.data import DataError
from seqjax.forecast import evaluate, generated, naive
from seqjax.forecast.frames import panel_from_frame
from seqjax.forecast.panel import hold_back, panel_of

with warnings.catch_warnings(action="ignore"):  # an invalid escape, told where it is compiled
    import utilsforecast.losses as peer

HORIZON, STEP, WINDOWS, SEASON = 5, 3, 3, 7


@pytest.fixture(scope="module")
def case():
    """Fifteen series that begin anywhere, three windows, rows in any order."""
    data = generated.panel("gaussian", 15, 60)
    begin = pd.to_timedelta(data["unique_id"].str[1:].astype(int), unit="D")
    data = data[data["ds"] >= pd.Timestamp("2020-01-01") + begin]
    panel, _ = panel_from_frame(data)
    parts = []
    for window in range(WINDOWS):
        behind = HORIZON + (WINDOWS - 1 - window) * STEP
        cutoff = panel.grid[-behind - 1]
        times = panel.grid[len(panel.grid) - behind :][:HORIZON]
        part = data[data["ds"].isin(times)].assign(cutoff=cutoff)
        parts.append(part)
    frame = pd.concat(parts)
    rng = np.random.default_rng(0)
    frame["GRU"] = frame["y"] + rng.normal(size=len(frame))
    frame["GRU-median"] = frame["GRU"] + 0.1
    for level, width in ((80, 1.3), (95, 2.0)):
        frame[f"GRU-lo-{level}"] = frame["GRU"] - width
        frame[f"GRU-hi-{level}"] = frame["GRU"] + width
    return frame.sample(frac=1, random_state=0).reset_index(drop=True), panel, data


def test_baselines_stand_beside_their_rows(case):
    frame, panel, _ = case
    found = evaluate.with_baselines(frame, panel, [SEASON, 14])
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    for window in range(WINDOWS):
        behind = HORIZON + (WINDOWS - 1 - window) * STEP
        part = found[found["cutoff"] == panel.grid[-behind - 1]].sort_values(["unique_id", "ds"])
        expected = naive.forecasts(hold_back(panel, behind), HORIZON, [SEASON, 14])
        assert len(expected) == 13
        for name, forecast in expected.items():
            np.testing.assert_array_equal(part[name].to_numpy(), forecast.ravel(), err_msg=name)


def test_utilsforecast_agrees_with_baselines_and_models(case):
    frame, panel, data = case
    found = evaluate.scores(frame, panel, SEASON)
    full = evaluate.with_baselines(frame, panel, SEASON)
    models = ["GRU", *found.baselines]
    assert set(found.pooled["model"]) == set(models)
    theirs = {
        "MAE": peer.mae(full, models),
        "MASE": peer.mase(full, models, SEASON, data),
        "coverage-80": peer.coverage(full, ["GRU"], 80),
    }
    columns = [f"GRU-{end}" for end in ("lo-95", "lo-80", "median", "hi-80", "hi-95")]
    levels = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
    share = np.gradient(levels) / np.gradient(levels).sum()  # each for the part about it
    each = [
        peer.quantile_loss(full, {"GRU": column}, q=level)
        for column, level in zip(columns, levels, strict=True)
    ]
    both = zip(share, each, strict=True)
    theirs["CRPS"] = each[0].assign(GRU=sum(part * one["GRU"] for part, one in both))
    for metric, table in theirs.items():
        ours = found.by_series[found.by_series["metric"] == metric]
        ours = ours.pivot(index="unique_id", columns="model", values="value")
        expected = table.groupby("unique_id").mean(numeric_only=True)
        factor = 2 if metric == "CRPS" else 1
        for model in expected.columns.intersection(models):
            np.testing.assert_allclose(ours[model], factor * expected[model], err_msg=metric)


def test_tables_hang_together(case):
    """Pooled is the mean over horizons and series, skill one less the ratio to the reference."""
    frame, panel, _ = case
    found = evaluate.scores(frame, panel, [SEASON, 14])
    assert found.reference in ("seasonal naive, 7", "seasonal naive, 14")
    assert found.by_horizon["horizon"].unique().tolist() == [1, 2, 3, 4, 5]
    keys = ["model", "metric"]
    pooled = found.pooled.set_index(keys)["value"]
    for table in (found.by_series, found.by_horizon):
        means = table.groupby(keys)["value"].mean()
        for metric in ("MAE", "MASE", "sMAPE", "CRPS", "coverage-95", "MSIS-80"):
            np.testing.assert_allclose(
                means.xs(metric, level=1).sort_index(), pooled.xs(metric, level=1).sort_index()
            )
    mase = found.pooled[found.pooled["metric"] == "MASE"]
    assert mase["value"].is_monotonic_increasing  # best first
    assert mase["model"].iloc[0] == "GRU"
    np.testing.assert_allclose(mase["skill"], 1 - mase["value"] / pooled[found.reference, "MASE"])
    assert found.best_baseline == mase["model"].iloc[1]
    assert found.notes == ()
    # Baselines have intervals, calibrated on none of the windows that are scored.
    full = evaluate.with_baselines(frame, panel, SEASON, [80])
    held = panel.values.copy()
    for start, origin, stop in zip(panel.starts, panel.origins, panel.stops, strict=True):
        held[start + panel.grid.get_loc(frame["cutoff"].min()) + 1 - origin : stop] *= 100
    spoilt = evaluate.with_baselines(frame, panel._replace(values=held), SEASON, [80])
    first = frame["cutoff"] == frame["cutoff"].min()
    pd.testing.assert_frame_equal(spoilt[first], full[first])
    # Of forecasts without intervals there is no loss of quantiles; all values may be a frame.
    names = {"unique_id": "shop", "ds": "day", "y": "units"}
    theirs = (one.rename(columns=names) for one in (frame.assign(bare=frame["GRU"]), case[2]))
    named = {"id_column": "shop", "time_column": "day", "target_column": "units"}
    again = evaluate.scores(*theirs, [SEASON, 14], **named).pooled.set_index(keys)["value"]
    assert list(again.loc["bare"].index) == ["MAE", "RMSE", "MASE", "sMAPE"]
    pd.testing.assert_series_equal(again.drop(index="bare", level=0), pooled)


def test_missing_and_constant_are_counted_and_told():
    panel = panel_of({"a": [1.0, 2.0, 4.0, 6.0, 7.0], "b": [5.0] * 5})
    frame = pd.DataFrame({"unique_id": [*"aabb"], "ds": [3, 4, 3, 4], "cutoff": 2})
    frame = frame.assign(y=[6.0, np.nan, 5.0, 5.0], GRU=[3.0, np.nan, 4.0, 5.0])
    found = evaluate.scores(frame, panel)
    ours = found.pooled.set_index(["model", "metric"]).loc["GRU"]
    assert found.reference == "last value"
    assert ours.loc["MAE", "value"] == pytest.approx(4 / 3)  # of 3, 1 and 0
    assert ours.loc["MASE", "value"] == pytest.approx(3 / 1.5)  # of series a
    assert ours.loc["MAE", "skill"] == pytest.approx(1 - (4 / 3) / (2 / 3))
    of_b = found.by_series[found.by_series["unique_id"] == "b"].set_index(["model", "metric"])
    assert of_b.loc[("GRU", "MASE")][["value", "skill"]].isna().all()
    assert np.isnan(of_b.loc[("GRU", "MAE"), "skill"])  # the last value is perfect there
    assert found.notes[0] == "1 of 4 values are missing, and not counted."
    assert "1 of 2 series are constant" in found.notes[1]


def test_rows_and_table_show_models_among_baselines(case):
    frame, panel, _ = case
    found = evaluate.scores(frame, panel, SEASON)
    rows = evaluate.rows(found)
    assert {row.model for row in rows if row.kind == "model"} == {"GRU"}
    assert {row.model for row in rows if row.kind == "baseline"} == set(found.baselines)
    text = io.StringIO()
    Console(file=text, width=200).print(evaluate.table(found))
    first = next(line for line in text.getvalue().splitlines() if "GRU" in line)
    skill = found.pooled.set_index(["model", "metric"]).loc[("GRU", "MASE"), "skill"]
    assert f"{skill:.3f}" in first
    assert "y[t-7] + y[t-1] - y[t-8]" in text.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unique_id": "z"}, "id 'z'.*the panel has no such id"),
        ({"cutoff": 99}, "no such time"),
        ({"cutoff": 3}, "must lie behind the cutoff"),
        ({"cutoff": 0}, "'b', ds 3, cutoff 0: the series has no value"),
        ({"GRU": np.nan}, "'GRU' has no forecast for id 'b' at 3, cutoff 2"),
        ({"unique_id": "a"}, "the row is there twice"),
        ({"GRU-lo-80": 2.0}, "column 'GRU-hi-80' is missing"),
        ({"note": "?"}, "column 'note' is neither a key nor numbers"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    panel = panel_of({"a": [1.0, 2.0, 4.0, 6.0], "b": [5.0] * 3})._replace(origins=np.array([0, 1]))
    frame = pd.DataFrame({"unique_id": [*"ab"], "ds": 3, "cutoff": 2, "y": 6.0, "GRU": 3.0})
    evaluate.scores(frame, panel)
    changed = {name: [frame.get(name, [value])[0], value] for name, value in change.items()}
    with pytest.raises(DataError, match=words):
        evaluate.scores(frame.assign(**changed), panel)
    with pytest.raises(ValueError, match="no baseline 'seasonal naive, 2'"):
        evaluate.scores(frame, panel, reference="seasonal naive, 2")
