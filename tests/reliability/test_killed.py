"""kill -9 anywhere, and again; resumed until done, everything equals the uninterrupted run's."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """``(folder, *options) -> process``; all share a compilation cache."""
    cache = tmp_path_factory.mktemp("cache")
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(folder, *options):
        command = [sys.executable, str(PROGRAM), str(folder), *options]
        with (folder.parent / f"{folder.name}.log").open("a") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    return start


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The uninterrupted run, and how long it took once compiled."""
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name) / "run"
        folder.mkdir()
        begun = time.monotonic()
        assert start(folder).wait() == 0
    return folder, time.monotonic() - begun


def being_saved(folder):
    """True while a step folder stands there that is not committed."""
    try:
        return any(
            path.name.isdecimal() and not (path / "commit_success.txt").exists()
            for path in (folder / "checkpoints").iterdir()
        )
    except OSError:
        return False


def killed_and_resumed(start, folder, seconds, chance, *, in_save, options):
    """How many kills there were, and how many of them inside a save."""
    folder.mkdir()
    kills = inside = 0
    for _ in range(chance.randint(1, 3)):
        process = start(folder, *options)
        if in_save:
            saves = chance.randint(1, 10)
            while process.poll() is None and saves:
                if being_saved(folder):
                    saves -= 1
                    while saves and being_saved(folder) and process.poll() is None:
                        pass
            time.sleep(chance.uniform(0, 0.02))
        else:
            time.sleep(chance.uniform(0.3, 1.0) * seconds)
        if process.poll() is not None:
            break  # it was done before
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        inside += being_saved(folder)
    if not (folder / "final.npz").exists():
        assert start(folder, *options).wait() == 0, (
            folder.parent / f"{folder.name}.log"
        ).read_text()
    return kills, inside


def assert_same(folder, whole):
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    with np.load(folder / "final.npz") as a, np.load(whole / "final.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


@pytest.mark.parametrize("options", [(), ("--synchronous",)])
def test_killed_in_a_save_it_ends_bit_for_bit_the_same(start, whole, tmp_path, options):
    folder, seconds = whole
    chance = random.Random(len(options))
    kills, inside = killed_and_resumed(
        start, tmp_path / "run", seconds, chance, in_save=True, options=options
    )
    assert kills
    assert inside
    assert_same(tmp_path / "run", folder)


@pytest.mark.soak
def test_fifty_runs_killed_anywhere(start, whole, tmp_path, record_property):
    """Half of them in the background, half of them aimed at a save."""
    folder, seconds = whole

    def one(number):
        run = tmp_path / str(number)
        options = ("--synchronous",) if number % 2 else ()
        counts = killed_and_resumed(
            start, run, seconds, random.Random(number), in_save=number % 4 < 2, options=options
        )
        assert_same(run, folder)
        return counts

    with ThreadPoolExecutor(2) as threads:
        counts = list(threads.map(one, range(50)))
    kills = sum(number for number, _ in counts)
    runs_inside = sum(inside > 0 for _, inside in counts)
    assert all(number for number, _ in counts)
    assert runs_inside >= 15
    record_property(
        "figure",
        f"1 killed anywhere: 50 of 50 runs equal bit for bit after {kills} kills,"
        f" {sum(inside for _, inside in counts)} inside a save ({runs_inside} runs)",
    )
