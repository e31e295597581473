"""What is told of the machine: how busy others keep it."""

import json

import pytest

from seqjax.bench import command, machine, report


@pytest.mark.parametrize("name", ["layers", "compile", "train", "generate"])
@pytest.mark.parametrize(("load", "warns"), [(1.5, True), (0.02, False), (None, False)])
def test_a_busy_machine_is_told_before_a_benchmark(
    name, load, warns, tmp_path, monkeypatch, capsys
):
    before = []

    def run(options):
        before.append(capsys.readouterr().err)
        monkeypatch.setattr(machine, "busy_cores", lambda: 2.0)  # by then it is our own load
        return report.Report(name, {}, [], [])

    monkeypatch.setattr(command, "_RUN", dict.fromkeys(command._RUN, run))
    monkeypatch.setattr(command, "_pictures", lambda *_: [])
    monkeypatch.setattr(machine, "_load", None)
    monkeypatch.setattr(machine, "busy_cores", lambda: load)
    command.main([name, "--out", str(tmp_path)])
    (line,) = before
    assert ("other programs keep 1.5 of" in line) == warns
    assert line.count("\n") == warns
    written = json.loads((tmp_path / f"{name}.json").read_text())
    assert written["machine"]["busy cores before"] == load


def test_busy_cores_are_those_that_do_not_idle(monkeypatch):
    monkeypatch.setattr(machine, "cpu_cores", lambda: 2)
    ticks = iter([(100, 900), (150, 1050)])
    monkeypatch.setattr(machine, "_ticks", lambda: next(ticks))
    assert machine.busy_cores(0.0) == 0.5
    monkeypatch.setattr(machine, "_ticks", lambda: (0, 0))
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.25, 0.0, 0.0))
    assert machine.busy_cores(0.0) == 1.25
    monkeypatch.delattr(machine.os, "getloadavg")
    assert machine.busy_cores(0.0) is None


def test_ticks_are_of_the_cores_of_this_process(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu 9 9 9 9 9 9 9 9 9 9\ncpu0 9 9 9 9 9 9 9 9 9 9\n"
        "cpu1 1 2 3 40 5 6 7 8 1 0\ncpu11 1 0 0 100 0 0 0 0 0 0\nctxt 5\n"
    )
    monkeypatch.setattr(machine, "Path", lambda _: stat)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {1, 11}, raising=False)
    assert machine._ticks() == (28, 145)
    stat.unlink()
    assert machine._ticks() == (0, 0)
