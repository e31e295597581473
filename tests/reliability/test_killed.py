"""kill -9 anywhere, and again; resumed until done, everything equals the uninterrupted run's."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder).wait() == 0
    return folder


def being_saved(folder):
    """True while a step folder stands there that is not committed."""
    try:
        return any(
            path.name.isdecimal() and not (path / "commit_success.txt").exists()
            for pattern in ("*", "*/*")  # of one seed, or of several
            for path in (folder / "checkpoints").glob(pattern)
        )
    except OSError:
        return False


def killed_and_resumed(start, folder, chance, *, most, options=(), seconds=None):
    """How many kills there were, and how many of them inside a save.

    They come inside a save, or at any moment of the `seconds` that a run takes.
    """
    kills = inside = 0
    for _ in range(most):
        process = start(folder, *options)
        if seconds is None:
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
        assert start(folder, *options).wait() == 0
    return kills, inside


def assert_same(folder, whole):
    logs = [(one / "metrics.jsonl").read_text().splitlines() for one in (folder, whole)]
    assert sorted(logs[0]) == sorted(logs[1])  # of several seeds in the order of writing
    with np.load(folder / "final.npz") as a, np.load(whole / "final.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


def many_killed(runs, start, folder, whole, seconds, options=()):
    """Of each of some runs, two at a time, what `killed_and_resumed` counts; all end as `whole`.

    Half of them save in the background, half of them are killed in a save.
    """

    def one(number):
        chance = random.Random(number)
        counts = killed_and_resumed(
            start,
            folder / str(number),
            chance,
            most=chance.randint(1, 3),
            options=(*options, "--synchronous") if number % 2 else options,
            seconds=seconds if number % 4 < 2 else None,
        )
        assert_same(folder / str(number), whole)
        return counts

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, range(runs)))


def test_killed_in_a_save_it_ends_bit_for_bit_the_same(start, tmp_path):
    """Saved in the background; saves that are waited for are killed in the long version."""
    folder, whole, short = tmp_path / "run", tmp_path / "whole", ("--epochs", "20")
    assert start(whole, *short).wait() == 0
    kills, inside = killed_and_resumed(start, folder, random.Random(0), most=1, options=short)
    assert kills
    assert inside
    assert_same(folder, whole)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["table", "stream"])
def test_twenty_tables_and_streams_killed_anywhere(start, tmp_path, record_property, kind):
    """Three seeds on two devices; a stream with its position and a carry."""
    options = ("--kind", kind, "--devices", "2", "--epochs", "20")
    for _ in range(2):  # the second with compiled programs
        begun = time.monotonic()
        whole = tmp_path / f"whole {begun}"
        assert start(whole, *options).wait() == 0
        seconds = time.monotonic() - begun

    counts = many_killed(20, start, tmp_path, whole, seconds, options)
    kills, inside = map(sum, zip(*counts, strict=True))
    assert kills >= 20
    assert inside
    record_property(
        "figure",
        f"1 killed anywhere, {kind}: 20 of 20 runs equal bit for bit after {kills} kills, {inside}"
        " inside a save",
    )


@pytest.mark.soak
def test_fifty_runs_killed_anywhere(start, whole, tmp_path, record_property):
    """Half of them save in the background, half of them are killed in a save."""
    begun = time.monotonic()
    assert start(tmp_path / "compiled").wait() == 0
    seconds = time.monotonic() - begun

    counts = many_killed(50, start, tmp_path, whole, seconds)
    kills = sum(number for number, _ in counts)
    runs_inside = sum(inside > 0 for _, inside in counts)
    assert all(number for number, _ in counts)
    assert runs_inside >= 15
    record_property(
        "figure",
        f"1 killed anywhere: 50 of 50 runs equal bit for bit after {kills} kills,"
        f" {sum(inside for _, inside in counts)} inside a save ({runs_inside} runs)",
    )
