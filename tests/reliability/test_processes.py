"""Several processes as one run: the same result, and no hang where one is lost."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from seqjax.train import processes

LOCAL = (sys.executable, "-m", "seqjax.local", "--processes", "2")


def final(folder):
    with np.load(folder / "final.npz") as leaves:
        return {name: leaves[name] for name in leaves.files}


def assert_same(folder, whole):
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    a, b = final(folder), final(whole)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


# JAX looks for a signal once a second: the run must last longer than that.
SHORT = ("--epochs", "20", "--every", "20", "--per-call", "5", "--pause", "0.2")


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """One process with two devices."""
    folder = tmp_path_factory.mktemp("two") / "run"
    assert start(folder, *SHORT, "--devices", "2").wait() == 0
    return folder


def run(start, folder):
    return start(folder, *SHORT, before=LOCAL)


def after_lines(folder, lines):
    """Once so many epochs are logged: the processes' ids."""
    deadline, log = time.monotonic() + 120, folder / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.005)
    return [int((folder / f"pid-{index}").read_text()) for index in (0, 1)]


def lose_one(start, folder, number, lost, lines):
    """Seconds from the loss of a process to the end of the run."""
    process = run(start, folder)
    ids = after_lines(folder, lines)
    os.kill(ids[lost], number)
    begun = time.monotonic()
    assert process.wait(timeout=30) not in (0, 75)
    seconds = time.monotonic() - begun
    assert "ending the others" in (folder / "output").read_text()
    for pid in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (folder / "final.npz").exists()
    return seconds


def stop(start, folder, number, lines):
    process = run(start, folder)
    after_lines(folder, lines)
    process.send_signal(number)
    output = folder / "output"
    assert process.wait(timeout=60) == 75, output.read_text()
    said = [line for line in output.read_text().splitlines() if "stopped at" in line]
    assert len(said) == 2
    assert len({line.removeprefix("[1] ") for line in said}) == 1  # the same step


def resume(start, folder, whole):
    assert run(start, folder).wait() == 0, (folder / "output").read_text()
    assert_same(folder, whole)


def test_stopped_then_resumed_they_end_where_two_devices_end(start, whole, tmp_path):
    stop(start, tmp_path / "run", signal.SIGTERM, lines=2)
    resume(start, tmp_path / "run", whole)


@pytest.mark.soak
def test_one_device_differs_by_rounding(start, whole, tmp_path):
    assert start(tmp_path / "one", *SHORT).wait() == 0
    a, b = final(tmp_path / "one"), final(whole)
    for name in a:
        if ".params" in name:
            np.testing.assert_allclose(a[name], b[name], atol=1e-5)


@pytest.mark.soak
def test_lost_and_stopped_in_many_ways(start, whole, tmp_path, record_property):
    resume(start, tmp_path / "whole", whole)  # two processes, uninterrupted
    seconds = {}
    for name, number in (("killed", signal.SIGKILL), ("suspended", signal.SIGSTOP)):
        for lost in (0, 1):
            folder = tmp_path / f"{name}-{lost}"
            seconds[f"process {lost} {name}"] = lose_one(start, folder, number, lost, 2 + lost)
            resume(start, folder, whole)
    for number in (signal.SIGTERM, signal.SIGINT):
        stop(start, tmp_path / number.name, number, lines=2)
        resume(start, tmp_path / number.name, whole)
    record_property(
        "figure",
        "8 several processes: one of two lost, seconds until all have ended: "
        + ", ".join(f"{how} {s:.1f}" for how, s in seconds.items())
        + "; SIGTERM and SIGINT: saved at one step, status 75; all 6 resumed to the end of one"
        " process with two devices, bit for bit",
    )


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_the_launcher_the_other_ends_too(start, tmp_path, record_property, number):
    """As on a cluster, where nobody watches: JAX's heartbeat ends it."""
    port = 20_000 + os.getpid() % 10_000 + number
    running = [
        start(
            tmp_path,
            *SHORT,
            before=(
                "env",
                *(f"{k}={v}" for k, v in processes.environment(f"localhost:{port}", 2, i).items()),
            ),
        )
        for i in (0, 1)
    ]
    after_lines(tmp_path, 3)
    running[1].send_signal(number)
    begun = time.monotonic()
    assert running[0].wait(timeout=30) != 0
    seconds = time.monotonic() - begun
    running[1].kill()
    running[1].wait()
    how = "killed" if number == signal.SIGKILL else "suspended"
    text = f"8 several processes: no launcher, one {how}: the other ended {seconds:.1f} s after"
    record_property("figure", text)


def test_a_command_that_does_not_start_is_told():
    done = subprocess.run([*LOCAL, "no-such-command"], capture_output=True, text=True)
    assert done.returncode == 127
    assert "error: no-such-command: No such file" in done.stderr
