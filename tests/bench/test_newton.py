"""Iterations are counted where they are taken, and both trainings are the same one."""

import json

import pytest

from seqjax.bench import newton, plots, report
from seqjax.bench.newton import Newton, Situation
from seqjax.bench.turns import BenchError


def test_a_quick_run_counts_trains_and_draws(tmp_path):
    config = Newton(out=tmp_path, quick=True, only=("gru",))
    found = newton.run(config)
    counted = [f for f in found.figures if f.labels["quantity"] == "iterations"]
    by_axis = {axis: [f for f in counted if f.labels["axis"] == axis] for axis in newton.AXES}
    for figures in by_axis.values():
        assert [f.contestant for f in figures] == ["gru", "gru"]
        assert all(f.labels["error"] < 1e-4 for f in figures)  # the loop's where that had to run
    small, large = by_axis["radius"]
    assert 1 < small.median < large.median  # T steps at radius 3 couple more
    loop, ours = (
        [f.median for f in found.figures if f.labels["quantity"] == "loss" and f.contestant == way]
        for way in newton.METHODS
    )
    assert ours == pytest.approx(loop, rel=1e-3)
    assert loop[1] < loop[0]
    path = report.write(found, tmp_path / "newton.json")
    assert json.loads(path.read_text())["settings"]["draws"] == 1
    (picture,) = plots.draw(found, tmp_path)
    assert picture.stat().st_size > 1000


def test_a_diagonal_kernel_takes_few_iterations_and_draws_are_counted():
    situation = Situation("rnn diagonal", "steps", steps=64, features=4, radius=0.9)
    assert newton.solve(situation, 0).iterations < 20
    for name, config in (("draws", Newton(draws=0)), ("agree", Newton(agree=(16, 0)))):
        with pytest.raises(BenchError, match=f"--{name} must be at least 1"):
            newton.run(config)
