import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from seqjax import launch
from seqjax.data import DataError
from seqjax.report import Row


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    width: int = 3
    """How wide."""


def run_ok(config, folder):
    return launch.Result([Row("net", "model", "test", "rmse", (1.0,))], "pounds", [])


def call(*args, run=run_ok):
    return launch.launch("experiments.example", Config, run, "An example.", list(args))


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_fills_its_folder(tmp_path, capsys):
    assert call("--width", "5", "--seeds", "2", "--platform", "cpu") == 0
    folder = tmp_path / "runs" / "example"
    assert json.loads((folder / "config.json").read_text()) == {"seed": 0, "seeds": 2, "width": 5}
    result = json.loads((folder / "result.json").read_text())
    assert result["experiment"] == "experiments.example"
    assert result["rows"][0]["mean"] == 1.0
    assert set(result["seconds"]) == {"total", "compile"}
    assert result["versions"]["jax"]
    assert "CPU" in result["device"]
    assert set(result["settings"]) == {"GLIBC_TUNABLES", "devices", "compilation_cache"}
    shown = capsys.readouterr().out
    assert "net" in shown
    assert "ran with: GLIBC_TUNABLES=" in shown


def test_the_default_folder_is_the_first_free_one_and_resume_takes_the_newest(tmp_path):
    call()
    call("--width", "4")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["example", "example-2"]
    assert call("--resume", "--width", "4") == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--out", "taken"], "already there and not empty"),
        (["--out", "gs://bucket/run"], "gs://bucket/run: seqjax writes to folders"),
        (["--out", "none", "--resume"], "no run to resume"),
        (["--out", "taken", "--resume"], "no run to resume"),
        (["--out", "ours", "--resume", "--width", "9"], "started with width = 3, not 9"),
        (["--out", "file"], "already there"),
        (["--out", "file/below"], "cannot be written"),
        (["--seeds", "0"], "--seeds must be at least 1, not 0."),
        (["--seed", "99999999999999999999"], "--seed and those after it are from 0 to 42"),
        (["--platform", "tpu"], "--platform tpu: JAX finds no such device"),
    ],
)
def test_a_run_that_cannot_start_says_what_to_do(tmp_path, capsys, args, message, monkeypatch):
    if "tpu" in args:  # a platform cannot be taken back within a process

        def no_device(*_):
            raise RuntimeError("unknown backend tpu")

        monkeypatch.setattr(launch.jax, "devices", no_device)
        monkeypatch.setattr(launch.jax.config, "update", lambda *_: None)
    call("--out", "ours")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    capsys.readouterr()
    assert call(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert (tmp_path / "taken" / "thesis.tex").read_text() == "x"


def test_default_folders_are_numbered_past_the_newest(tmp_path):
    for name in ("example", "example-3", "example-notes"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert launch.open_folder("example", Config()).name == "example-4"
    assert launch.open_folder("example", Config(resume=True)).name == "example-4"


def test_bad_data_ends_in_one_line(capsys):
    def run(config, folder):
        raise DataError("x.csv: line 3, column 'a': 'b' is not a number.")

    assert call(run=run) == 2
    assert capsys.readouterr().err == "error: x.csv: line 3, column 'a': 'b' is not a number.\n"
    assert call() == 0  # the corrected command finds its folder free
    assert [path.name for path in Path("runs").iterdir()] == ["example"]


def test_a_full_disk_is_named(capsys):
    def run(config, folder):
        raise OSError(28, "No space left on device", str(folder / "forecast.png"))

    assert call(run=run) == 2
    message = capsys.readouterr().err
    assert "forecast.png: No space left on device" in message
    assert "--resume" in message


def test_a_disk_that_is_full_at_the_very_end_is_told_too(monkeypatch, capsys):
    write = launch.write_json

    def full(path, value):
        if path.name == "result.json":
            raise OSError(28, "No space left on device", str(path))
        write(path, value)

    monkeypatch.setattr(launch, "write_json", full)
    assert call() == 2
    assert "result.json: No space left on device; make room" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(capsys):
    def run(config, folder):
        raise KeyboardInterrupt

    assert call(run=run) == 130
    assert "--resume" in capsys.readouterr().err


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit) as end:
        call("--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "An example.",
        "--width",
        "How wide.",
        "--platform",
        "--resume",
        "--seeds",
        "--out DIR",
        "--config FILE",
    ):
        assert part in text


def test_a_broken_config_json_is_named(tmp_path, capsys):
    call("--out", "ours")
    (tmp_path / "ours" / "config.json").write_text("{")
    assert call("--out", "ours", "--resume") == 2
    assert "config.json: not readable as JSON" in capsys.readouterr().err


def test_a_run_of_another_version_is_not_resumed(tmp_path, capsys):
    call("--out", "ours")
    path = tmp_path / "ours" / "config.json"
    for content, message in (
        ('{"seed": 0, "seeds": 5, "width": 3, "depth": 1}', "there is no setting 'depth'; there"),
        ('{"seed": 0, "width": 4}', "the run was started with width = 4, not 3"),
        ("[]", "must be a JSON object {...}, not []"),
    ):
        path.write_text(content)
        assert call("--out", "ours", "--resume", "--width", "3") == 2
        assert f"error: ours/config.json: {message}" in capsys.readouterr().err
        assert path.read_text() == content


def test_an_option_that_a_run_of_an_earlier_version_lacks_has_its_default(tmp_path, capsys):
    call("--out", "ours", "--seeds", "2")
    path = tmp_path / "ours" / "config.json"
    path.write_text('{"seed": 0, "seeds": 2}')
    assert call("--out", "ours", "--resume", "--width", "9") == 2
    assert "config.json: the run was started with width = 3, not 9" in capsys.readouterr().err
    assert call("--out", "ours", "--resume") == 0
    assert json.loads(path.read_text()) == {"seed": 0, "seeds": 2, "width": 3}


def test_a_run_starts_from_another_runs_config_with_options_on_top(tmp_path):
    assert call("--width", "5", "--seeds", "2", "--out", "first") == 0
    assert call("--config", "first/config.json", "--seeds", "3", "--out", "second") == 0
    saved = json.loads((tmp_path / "second" / "config.json").read_text())
    assert saved == {"seed": 0, "seeds": 3, "width": 5}
    assert call("--config=second/config.json", "--out", "second", "--resume") == 0


def test_a_config_that_cannot_be_read_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "bad.json").write_text('{"widht": 3}')
    assert call("--config", "bad.json") == 2
    captured = capsys.readouterr()
    wanted = "there is no setting 'widht'; there are seed, seeds, width. Did you mean 'width'?"
    assert (captured.out, captured.err) == ("", f"error: bad.json: {wanted}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@dataclasses.dataclass(frozen=True)
class TableConfig(launch.Config):
    width: int = 3
    names: bool = False
    may_differ = ("seeds", "names")

    def preview(self):
        return "a row [b]" if self.names else None


def test_a_preview_is_printed_in_place_of_a_run(tmp_path, capsys):
    args = ["--names"]
    assert launch.launch("experiments.example", TableConfig, run_ok, "An example.", args) == 0
    assert capsys.readouterr().out == "a row [b]\n"
    assert not list(tmp_path.iterdir())


def test_a_table_may_be_resumed_with_more_seeds_and_says_so(tmp_path):
    def table(*args):
        args = ["--out", "ours", *args]
        return launch.launch("experiments.example", TableConfig, run_ok, "An example.", args)

    assert table("--seeds", "2") == 0
    assert table("--seeds", "3", "--resume") == 0
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["seeds"] == 3
    assert table("--seeds", "3", "--resume", "--width", "4") == 2


def test_a_table_of_its_own_takes_the_place_of_the_sorted_one(capsys):
    def run(config, folder):
        table = Table()
        table.add_column("mine")
        return launch.Result([Row("net", "model", "test", "rmse", (1.0,))], "pounds", [], table)

    assert call(run=run) == 0
    printed = capsys.readouterr().out
    assert "mine" in printed
    assert "RMSE" not in printed


PROGRAM = """
import dataclasses, sys
from seqjax import launch

def run(config, folder):
    raise AssertionError("it ran")

sys.exit(launch.launch("experiments.example", launch.Config, run, "", sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--platform", "tpu"], "error: --platform tpu: JAX finds no such device"),
        (["--cluster"], "error: several processes: "),
    ],
)
def test_a_run_that_cannot_start_says_why_in_one_line(args, message):
    """In a process of its own: here JAX has its devices already."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
