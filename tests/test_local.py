"""What scripts/launch_local makes of its processes' ends."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from seqjax import local
from seqjax.train import processes

INDEX = "SEQJAX_PROCESS_ID"


def all_said(capfd):
    """Once nobody writes any more: what is written while it is read may be lost."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "relay" in thread.name:
            thread.join(10)
    return capfd.readouterr().err


def status(script, count=2):
    return local.wait(list(local.start(["sh", "-c", script], count)))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", 0),
        ("exit 75", 75),
        (f"exit $((75 * {INDEX}))", 75),
        (f"exit $((3 * {INDEX}))", 3),
        (f'if [ "${INDEX}" = 1 ]; then kill -9 $$; fi', 137),
    ],
)
def test_the_status_is_that_of_all_or_of_the_first_that_failed(script, expected):
    assert status(script) == expected


@pytest.mark.parametrize(
    ("visible", "found", "expected"),
    [(None, 4, "0,1 2,3"), (None, 0, "all all"), ("5,2,7", 9, "5 2"), ("3", 9, "3 3")],
)
def test_each_process_gets_its_share_of_the_gpus(
    monkeypatch, tmp_path, capfd, visible, found, expected
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for number in range(found):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    monkeypatch.setattr(local, "_GPUS", tmp_path)
    assert status(f'echo "${INDEX} ${{CUDA_VISIBLE_DEVICES-all}}" >&2') == 0
    said = sorted(line.split()[-1] for line in all_said(capfd).splitlines())
    assert said == sorted(expected.split())


def test_where_one_fails_the_others_are_ended(monkeypatch, capfd):
    monkeypatch.setattr(local, "_LAST_WORDS_SECONDS", 0.2)
    begun = time.monotonic()
    script = f'if [ "${INDEX}" = 2 ]; then exit 4; fi; trap "" TERM; sleep 60'
    assert status(script, count=3) == 4
    assert time.monotonic() - begun < 30
    assert "process 2 ended with status 4: ending the others" in capfd.readouterr().err


def test_each_process_knows_its_place(capfd):
    names = " ".join(f"${name}" for name in processes.environment("", 0, 0))
    running = list(local.start(["sh", "-c", f"echo at {names}"], 2))
    assert local.wait(running) == 0
    captured = capfd.readouterr()
    deadline = time.monotonic() + 10
    said = captured.err
    while "[1]" not in said and time.monotonic() < deadline:
        said += capfd.readouterr().err
    first, second = captured.out.split(), said.split()
    assert first[1] == second[2]  # the same address
    assert (first[2:], second[3:]) == (["2", "0"], ["2", "1"])


@pytest.mark.parametrize("args", [[], ["--processes", "2"], ["--processes", "0", "true"]])
def test_a_wrong_command_line_is_told(args, capsys):
    with pytest.raises(SystemExit) as end:
        local.main(args)
    assert end.value.code == 2
    assert "--processes" in capsys.readouterr().err


def test_a_second_signal_ends_them_at_once():
    script = 'trap "echo asked >&2" TERM; echo up >&2; while :; do sleep 0.1; done'
    process = subprocess.Popen(
        [sys.executable, "-m", "seqjax.local", "--processes", "1", "sh", "-c", script],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as said:
        assert said.readline() == "up\n"
        os.kill(process.pid, signal.SIGINT)
        assert said.readline() == "asked\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_what_is_no_text_is_passed_on_as_far_as_it_is_one(capfd):
    assert status(f"""if [ "${INDEX}" = 1 ]; then printf 'caf\\351\\nend\\n'; fi""") == 0
    said = all_said(capfd)
    assert "[1] caf\N{REPLACEMENT CHARACTER}\n[1] end\n" in said
