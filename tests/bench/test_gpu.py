"""``./scripts/gpu``: what it does around a GPU, without one; the rest of it in tiny sizes."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import devices, ops
from seqjax.bench.cases import Case
from seqjax.bench.gpu import checks, choices, command, layers, limits, processes, results, training
from seqjax.bench.gpu.processes import Ended, run_section
from seqjax.bench.gpu.references import Sizes, draw, step_by_step
from seqjax.bench.gpu.rows import Row
from seqjax.bench.gpu.sections import SECTIONS
from seqjax.bench.gpu.tables import render
from seqjax.bench.turns import Worker
from seqjax.ops.layout import Choices, choose_layout

DEVICE = {"name": "NVIDIA H100 80GB HBM3", "platform": "gpu", "devices": 1}

CHILD = """
import json, os, sys, time
name, entry, dry = sys.argv[1:]
def emit(labels, **row): print(json.dumps({"section": name, "labels": labels, **row}), flush=True)
if name == "device": emit({"what": "device"}, values=json.loads(os.environ["DEVICE"]))
emit({"what": entry}, values={"figure": 0.5})
if name == "kernels": os.kill(os.getpid(), 11)
if name == "layers": print("no memory", file=sys.stderr), sys.exit(3)
if name == "training":
    os.close(1)  # says nothing more, and does not end
if name in ("training", "choices"): time.sleep(60)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A stand-in for the sections' process, which starts at once."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    monkeypatch.setattr(processes, "CHILD", [sys.executable, str(script)])
    monkeypatch.setenv("DEVICE", json.dumps(DEVICE))


def test_a_crash_or_a_hang_costs_its_section_only(child, tmp_path, monkeypatch, capsys):
    for name, section in SECTIONS.items():
        monkeypatch.setitem(SECTIONS, name, section._replace(seconds=2))
    monkeypatch.setenv("OUT", str(tmp_path))
    names = ["device", "checks", "kernels", "layers", "training", "choices", "flags"]
    assert command.run(names, tmp_path / "docs", dry=False, seconds=60.0) == 1
    path = tmp_path / "docs" / "gpu-nvidia-h100-80gb-hbm3.json"
    value = json.loads(path.read_text())
    assert json.loads((tmp_path / path.name).read_text()) == value  # $OUT
    statuses = {name: section["status"] for name, section in value["sections"].items()}
    assert statuses == {
        "device": "done",
        "checks": "done",
        "kernels": "ended with signal SIGSEGV: no message",
        "layers": "ended with status 3: no memory",
        "training": "stopped after its 2 s",
        "choices": "stopped after its 2 s",
        "flags": "done",
    }
    assert [row["section"] for row in value["rows"]] == ["device", *names]
    assert value["rows"][-1]["values"] == {"figure": 0.5}
    page = (tmp_path / "docs" / "gpu.md").read_text()
    assert "ended with signal SIGSEGV" in page
    assert f"| {SECTIONS['flags'].entry} | 0.5 |" in page
    assert "kernels: ended with signal SIGSEGV" in capsys.readouterr().out
    # Another day: some sections anew, the others stay; and no time for the last.
    assert command.run(["device", "checks"], tmp_path / "docs", dry=False, seconds=60.0) == 0
    again = json.loads(path.read_text())
    assert len(again["rows"]) == len(value["rows"])
    assert command.run(["device", "flags"], tmp_path / "docs", dry=False, seconds=0.0) == 1


def test_without_a_gpu_it_says_so_and_writes_nothing(child, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEVICE", json.dumps(DEVICE | {"platform": "cpu", "name": "cpu"}))
    assert command.run(["device", "checks"], tmp_path / "docs", dry=False, seconds=60.0) == 2
    assert "JAX finds no GPU here, only cpu" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


def test_a_killed_run_keeps_the_rows_it_has(child, tmp_path):
    found = run_section("choices", "here", False, 60.0)
    row = next(found)
    assert isinstance(row, Row)
    kept = results.Results(tmp_path, DEVICE, {"dry": False})
    kept.begin("choices")
    kept.add(row)
    value = json.loads(kept.path.read_text())
    assert value["sections"]["choices"]["status"] == "cut off"
    assert value["rows"] == [row._asdict()]
    found.close()  # ends the process: nothing sleeps on


def test_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SECTIONS)
    assert "wheels" in said
    with pytest.raises(SystemExit):
        command.main(["--only", "check"])
    assert "check: there are device, checks," in capsys.readouterr().err


# -- the sections, in tiny sizes ----------------------------------------------------


def rows_of(run, *arguments):
    found = []
    run(*arguments, found.append)
    return found


def test_checks_pass_for_what_is_right_and_fail_for_what_is_not():
    found = rows_of(checks.run, True)
    assert {row.status for row in found} == {"ok", "refused"}
    good = [row for row in found if row.status == "ok"]
    assert {row.labels["implementation"] for row in good} >= {
        *("scan", "autodiff", "associative", "products", "lax")
    }
    assert all(0 < error < 1e-5 for row in good for error in row.values.values())
    cell = ops.RNNCell()

    def wrong(params, x, carry):
        carry, y = ops.run(cell, params, x, carry, return_carry=True)
        return carry, y.at[0, 0, 0].add(0.01)

    drawn = draw(cell, Sizes(2, 3, 2, 3), 0)
    one = checks.Check("rnn", "wrong", step_by_step(cell, {}), wrong, drawn, ("float32, highest",))
    (row,) = rows_of(checks._compare, [one], True)
    assert row.status == "FAILED"
    assert row.values["gradient"] < 1e-6 < 1e-3 < row.values["value"]
    assert rows_of(checks.run_kernels, True)[0].status in ("missing", "refused")


def test_layers_take_turns_and_must_agree(monkeypatch):
    everyone = [one for one in layers.contestants("lstm", "bfloat16") if one.entry != "torch"]
    monkeypatch.setattr(layers, "contestants", lambda *_: [everyone[0], everyone[-1]])
    monkeypatch.setattr(layers, "DRY", 1)
    found = rows_of(layers.run, True)
    assert [row.labels["contestant"] for row in found] == ["seqjax", "linen"]
    assert {row.status for row in found} == {"ok"}
    for row in found:
        assert row.values["forward, ms"] > 0
        assert row.values["temporary bytes"] > 0
    rows = [row._replace(section="layers")._asdict() for row in found]
    rows[1]["labels"] |= {"contestant": "torch"}
    ratio = rows[1]["values"]["forward, ms"] / rows[0]["values"]["forward, ms"]
    sections = {"layers": {"status": "done", "seconds": 1.0, "UTC": "now"}}
    value = {"device": DEVICE, "sections": sections, "choices": {}, "rows": rows, "dry": False}
    assert f"{ratio:.3g}" in render(value)


def test_a_contestant_that_hangs_is_ended():
    with Worker() as worker:
        answer = layers.ask(worker, "signal:pause", {}, 0.5)
    assert "ended with status -9" in answer["failed"]


def test_outputs_that_differ_fail_a_row(tmp_path):
    everyone = [layers.Contestant(name, name, {}) for name in ("ours", "theirs")]
    for one, y in zip(everyone, (1.0, 1.3), strict=True):
        (tmp_path / one.name).mkdir()
        np.savez(tmp_path / one.name / "0.npz", y=np.full(5, y))
    answers = [[{"facts": {}}], [{"facts": {}}]]
    layers._compare(answers, tmp_path, everyone, 0.1)
    case = Case("lstm", 1, 2, 3, 4)
    row = layers._row({"dtype": "float32"}, case, answers[1][0], {"forward": 1.0})
    assert (row.status, row.note) == (
        "FAILED",
        "output y differs by 0.3 (root mean square, relative)",
    )


def test_choices_are_timed_and_what_wins_is_told(monkeypatch):
    two = [way for way in choices.ways(True) if way.question == "unroll"]
    monkeypatch.setattr(choices, "ways", lambda dry: two)
    found = rows_of(choices.run, True)
    assert [row.labels.get("way") for row in found] == ["1", "4", None]
    assert found[0].values["times as fast"] == 1.0
    assert set(found[-1].values["choices"]) <= {"unroll"}
    wins = {"a": {"scan": [1.0], "pallas": [2.0]}, "b": {"associative": [1.0], "scan": [1.5]}}
    layouts = {("a", "pallas"): {"first": ("pallas",)}, ("b", "scan"): {"first": ("scan",)}}
    assert choices.winners(wins, layouts) == {"first": ("pallas", "scan")}


@pytest.mark.parametrize(("stands", "ways"), [(8, [8, 0]), (0, [0, 32])])
def test_a_choice_is_held_against_what_stands(stands, ways):
    with ops.layout.choose_layout(Choices(small_batch=stands)):
        rows = [w.layout for w in choices.ways(True) if w.question == "rows of a kernel's tile"]
    assert rows == [{"small_batch": few} for few in ways]


def test_bfloat16_trains_and_the_device_is_described():
    assert 0 < training.validation_error("gru", "bfloat16", True) < 1
    device, *others = rows_of(limits.run, True)
    assert device.values["platform"] == "cpu"
    assert all(value > 0 for row in others for value in row.values.values())


# -- what is done with the file -----------------------------------------------------


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_MEASURED", tmp_path)
    yield results.Results(tmp_path, DEVICE, {"dry": False})
    devices.use_measured_choices("another")
    assert ops.layout.choices() == Choices(True, 1, ops.layout._CACHE, 48, "products")


def test_the_launcher_sets_what_won_on_that_kind_of_device(measured, capsys):
    won = {"unroll": 8, "first": ["scan"], "project_in_loop": True}
    measured.begin("choices")
    measured.add(Row({"choice": "what won"}, {"choices": won}, section="choices"))
    for kind, expected in (
        ("NVIDIA H100 80GB HBM3", Choices(unroll=8, first=("scan",), project_in_loop=True)),
        ("NVIDIA H200", None),
    ):
        devices.use_measured_choices(kind)
        assert devices.settings().get("layout") == (expected and f"measured on {kind}")
        assert results.measured_choices(measured.path.parent, kind) == expected
        assert (ops.layout.choices().unroll == 8) == (expected is not None)
    assert capsys.readouterr().err == ""
    for bad in ({"unroll": "8"}, {"unrolled": 8}):
        value = json.loads(measured.path.read_text()) | {"choices": bad}
        measured.path.write_text(json.dumps(value))
        devices.use_measured_choices("NVIDIA H100 80GB HBM3")
        said = capsys.readouterr().err
        assert str(measured.path) in said
        assert "unroll" in said
        assert "nothing of it is used" in said
        assert ops.layout.choices().unroll == 1


def test_a_chosen_layout_changes_the_program_and_not_the_numbers():
    cell = ops.LSTMCell()
    arguments, _ = draw(cell, Sizes(2, 6, 3, 4), 0)
    params, x, _ = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), arguments)
    plain = ops.lstm(params, x)
    with choose_layout(Choices(unroll=3, first=("autodiff",))):
        np.testing.assert_allclose(ops.lstm(params, x), plain, atol=1e-6)
        call = ops.backends.Call("lstm", cell.form, x.shape, 4, jnp.float32, {})
        assert ops.backends.choose(call) == "autodiff"
    assert ops.backends.choose(call) == "scan"


@pytest.mark.soak
def test_all_sections_run_dry(tmp_path):
    """Every line of every section that a CPU can run; a kill and a resumption among them."""
    script = processes.ROOT / "scripts" / "gpu"
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([script, "--dry", "--out", tmp_path], env=environment, text=True)
    value = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert done.returncode == 0, [row for row in value["rows"] if row["status"] == "FAILED"]
    assert {section["status"] for section in value["sections"].values()} == {"done"}
    assert value["sections"].keys() == SECTIONS.keys()
    assert isinstance(Ended("done", 1.0), Ended)
