"""What is compiled, and what is said of it."""

import dataclasses

import jax
import pytest

from seqjax.bench import command, compilation, compilers, machine, plots, report
from seqjax.bench.cases import Case
from seqjax.bench.report import Figure

SMALL = dataclasses.asdict(Case("gru", 2, 4, 3, 3))


@pytest.fixture(autouse=True)
def cache_of_its_own():
    """`measure` sets the process's compilation cache."""
    before = {
        name: getattr(jax.config, name)
        for name in (
            "jax_compilation_cache_dir",
            "jax_persistent_cache_min_compile_time_secs",
            "jax_persistent_cache_min_entry_size_bytes",
        )
    }
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("maker", ["scan", "stack", "repeat", "chunks", "unrolled", "linen"])
def test_every_maker_compiles_and_runs(maker):
    found = compilers.measure(maker, SMALL, depth=2)
    stages = [found[stage] for stage in ("trace", "lower", "compile")]
    assert found["all three"] == pytest.approx(sum(stages))
    assert found["first run"] > 0
    assert found["instructions"] > 10
    assert found["temporary bytes"] >= 0


def test_a_scan_is_the_same_program_for_any_number_of_steps_and_an_unrolled_loop_is_not():
    def instructions(maker, steps):
        case = SMALL | {"time": steps}
        return compilers.measure(maker, case, run=False)["instructions"]

    assert instructions("scan", 64) <= 1.05 * instructions("scan", 8)
    assert instructions("unrolled", 8) > 1.5 * instructions("unrolled", 4)


def test_the_cache_is_used(tmp_path):
    hits = []

    def listener(name, **_):
        if "cache_hit" in name:
            hits.append(name)

    jax.monitoring.register_event_listener(listener)
    try:
        compilers.measure("scan", SMALL, cache=str(tmp_path), run=False)
        assert not hits
        jax.clear_caches()
        compilers.measure("scan", SMALL, cache=str(tmp_path), run=False)
        assert hits
    finally:
        jax.monitoring.unregister_event_listener(listener)


def test_what_is_compiled():
    axes = {size.axis for size in compilation.sizes("lstm", "scan", quick=False)}
    assert axes == {"steps", "width", "depth", "memory"}
    assert {size.axis for size in compilation.sizes("conv", "lax", quick=False)} == {
        "steps",
        "width",
    }
    unrolled = compilation.sizes("lstm", "unrolled", quick=False)
    assert max(size.case.time for size in unrolled) == 32
    for quick in (True, False):  # the table of stages shows the base
        sizes = compilation.sizes("lstm", "scan", quick)
        assert ("steps", compilation.BASE.time) in {(size.axis, size.size) for size in sizes}


def figures():
    stages = ("trace", "lower", "compile", "all three", "instructions", "temporary bytes")
    found = [
        Figure("seqjax", {"kind": "lstm", "axis": axis, "size": size, "quantity": stage}, [0.5])
        for axis in ("steps", "depth", "memory")
        for size in (64, 128)
        for stage in stages
    ]
    return [*found, Figure("nnx", {"kind": "lstm"}, [], "flax is not installed")]


def test_tables_and_pictures(tmp_path):
    tables = compilation.tables(figures())
    assert len(tables) == 4
    written = report.Report("compile", {}, figures(), tables)
    assert [path.name for path in plots.draw(written, tmp_path)] == ["compile.png", "memory.png"]


def test_the_command_prints_and_writes(tmp_path, monkeypatch, capsys):
    made = report.Report("compile", {}, figures(), compilation.tables(figures()))
    monkeypatch.setitem(command._RUN, compilation.Compile, lambda options: made)
    monkeypatch.setattr(machine, "busy_cores", lambda: 0.0)
    command.main(["compile", "--quick", "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "flax is not installed" in shown
    assert {path.name for path in tmp_path.iterdir()} == {
        "compile.json",
        "compile.png",
        "memory.png",
    }
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="choose another --out"):
        command.main(["compile", "--out", str(tmp_path / "file")])
