"""Processes that take turns: what they answer, compare and time."""

import itertools

import numpy as np
import pytest

from seqjax.bench import turns, worker
from seqjax.bench.turns import Contestant, Rounds, Worker, disagreement, take_turns

ENTRY = "tests.bench.contestant:entry"


def test_turns_compare_outputs_and_time_the_rest(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ".")
    everyone = [
        Contestant("ours", ENTRY),
        Contestant("same", ENTRY),
        Contestant("other", ENTRY, {"scale": 2.0}),
        Contestant("missing", ENTRY, {"missing": True}),
        Contestant("fails", ENTRY, {"fails": True}),
        Contestant("ends", ENTRY, {"ends": True}),
        Contestant("ends later", ENTRY, {"ends_later": True}),
    ]
    failed = [Contestant("ours", ENTRY, {"fails": True}), Contestant("same", ENTRY)]
    with turns.workers(everyone) as processes:
        found = take_turns(everyone, processes, {}, ["forward"], rounds=3, seconds=0.0001)
        again = take_turns(everyone[:1], processes, {}, ["forward"], rounds=1, seconds=0.0001)
        alive = processes["ends later"].ask(do="call", entry="builtins:dict", arguments={})
        found_without = take_turns(failed, processes, {}, ["forward"], rounds=1, seconds=0.0001)
    assert again["ours"].problem is None
    assert alive == {"value": {}}  # started again
    assert found["ends later"].problem == (
        "forward: its process ended with status 9: out of memory"
    )
    assert [name for name in found if found[name].problem is None] == ["ours", "same"]
    assert len(found["same"].seconds["forward"]) == 3
    assert all(second > 0 for second in found["same"].seconds["forward"])
    assert found["ours"].facts == {"said": 1.0}
    assert "output y differs by 1" in found["other"].problem
    assert found["missing"].problem == "other is not installed"
    assert found["fails"].problem == "ValueError: too wide"
    assert "ended with status 3" in found["ends"].problem
    assert found_without["same"].problem == "nothing to compare with: ours failed"
    (figure,) = found["same"].figures("same", shape="1")
    assert figure.labels == {"shape": "1", "program": "forward"}
    (row,) = found["missing"].figures("missing", shape="1")
    assert row.problem
    assert not row.rounds


def test_a_worker_answers_a_call(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ".")
    with Worker() as one:
        answer = one.ask(do="call", entry="operator:add", arguments={})
        assert "TypeError" in answer["failed"]
        value = one.ask(do="call", entry="builtins:dict", arguments={"a": 1})
        assert value == {"value": {"a": 1}}


def test_disagreement_is_a_root_mean_square():
    y = np.ones(10_000)
    kink = y.copy()
    kink[0] = 2  # one value by much: 1 % of the whole
    assert disagreement({"y": y}, {"y": kink}, 0.02) is None
    assert "differs by 0.01" in disagreement({"y": y}, {"y": kink}, 0.005)
    assert "shape" in disagreement({"y": y}, {"y": y[:5]}, 1.0)
    assert "shape None" in disagreement({"y": y}, {}, 1.0)
    assert disagreement({"y": y}, {"y": y * np.nan}, 1.0) is not None


def test_as_many_calls_as_the_time_takes(monkeypatch):
    clock = itertools.count(0.0)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock))
    assert worker.seconds_of_calls(lambda: None, 3.0) == [1, 1, 1]


def test_rounds_of_a_failed_contestant_are_one_row():
    rounds = Rounds({"forward": []}, problem="no")
    assert [figure.problem for figure in rounds.figures("x", shape="s")] == ["no"]


@pytest.mark.parametrize("word", ["median", "calls"])
def test_a_timing_answers_with_its_median(word):
    prepared = [worker.Prepared({"p": lambda: None}, dict)]
    request = {"do": "time", "program": "p", "seconds": 0.0001}
    assert worker._answer(request, prepared)[word] > 0


def test_another_checkout_runs_its_own_code(tmp_path):
    """`--beside`: the change and what it was before, in one run."""
    folder = tmp_path / "old" / "seqjax" / "bench"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "worker.py").write_text(
        "import json, sys\nfor line in sys.stdin: print(json.dumps({'failed': 'old'}), flush=True)"
    )
    ours = Contestant("seqjax", ENTRY)
    (other,) = turns.beside(ours, [tmp_path / "old"])
    assert other == ours._replace(name="seqjax of old", checkout=tmp_path / "old")
    with turns.workers([other]) as processes:
        assert processes[other.name].ask(do="prepare") == {"failed": "old"}
    with pytest.raises(turns.BenchError, match="is no checkout of seqjax"):
        turns.beside(ours, [tmp_path])
