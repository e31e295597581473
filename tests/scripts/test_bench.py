"""The benchmarks' own code still fits the library: everything up to the clock."""

import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


@pytest.mark.parametrize(
    ("script", "side", "clock"),
    [
        ("bench_milk", "OURS", "begun ="),
        ("bench_milk", "KERAS", "begun ="),
    ],
)
def test_what_stands_before_the_clock_runs(script, side, clock):
    code = runpy.run_path(str(SCRIPTS / f"{script}.py"))[side]
    before, found, _ = code.format(row="lstm", epochs=1, seeds=1, devices=2).partition(clock)
    assert found
    exec(compile(before, script, "exec"), {})
