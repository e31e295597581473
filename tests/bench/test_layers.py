"""The peers' layers are ours, and the tables say what was measured."""

import dataclasses
import functools
import importlib
import io

import jax
import numpy as np
import pytest
from rich.console import Console

from seqjax.bench import layers, plots, report
from seqjax.bench.cases import KINDS, Case
from seqjax.bench.report import Figure
from seqjax.bench.turns import BenchError, disagreement
from seqjax.bench.worker import NoSuchLayerError

PEERS = {"linen": "flax", "nnx": "flax", "keras": "keras", "haiku": "haiku", "equinox": "equinox"}


def outputs(module, case, **arguments):
    return importlib.import_module(module).layer(dataclasses.asdict(case), **arguments).outputs()


@functools.cache
def ours(case):
    return outputs("seqjax.bench.peers.ours", case)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "conv"])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.filterwarnings("default")  # a peer's own
def test_a_peer_computes_the_same(peer, kind):
    if peer in ("haiku", "equinox"):
        pytest.importorskip(PEERS[peer], reason="an extra: pip install -e '.[bench]'")
    for inputs in (3, 1):  # one: its kernel is [1, K*H], or packed (Haiku)
        case = Case(kind, 2, 5, inputs, 4)
        try:
            with jax.numpy_rank_promotion("allow"):  # Keras promotes
                theirs = outputs(f"seqjax.bench.peers.{peer}", case)
        except NoSuchLayerError:
            assert (peer, kind) in {("haiku", "rnn"), ("haiku", "gru"), ("equinox", "rnn")}
            return
        assert disagreement(ours(case), theirs, 1e-5) is None


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "conv"])
def test_pytorch_computes_the_same(kind):
    pytest.importorskip("torch", reason="an extra: pip install -e '.[bench]'")
    for inputs in (3, 1):
        case = Case(kind, 2, 5, inputs, 4)
        theirs = outputs("seqjax.bench.peers.torch", case)
        assert disagreement(ours(case), theirs, 1e-5) is None


@pytest.mark.parametrize("kind", KINDS)
def test_our_implementations_agree(kind):
    """Every cell has its row, with all that can run it."""
    case = Case(kind, 2, 5, 1, 4)
    assert all(array.any() for array in ours(case).values())
    names = [one.arguments.get("implementation") for one in layers.contestants(kind, (), 1)]
    assert names[0] is None
    assert len(names) == {"conv": 3}.get(kind, len(names)) > 1
    for implementation in names[1:]:
        other = outputs("seqjax.bench.peers.ours", case, implementation=implementation)
        assert disagreement(ours(case), other, 1e-5) is None


def test_peers_say_what_they_lack():
    case = Case("min_gru", 2, 5, 3, 4)
    for peer in ("linen", "nnx", "keras"):
        with pytest.raises(NoSuchLayerError, match="no layer for 'min_gru'"):
            outputs(f"seqjax.bench.peers.{peer}", case)


def figure(contestant, seconds, program="forward", shape="1, 2, 3, 4", problem=None):
    labels = {"kind": "lstm", "shape": shape, "program": program}
    return Figure(contestant, labels, [seconds, seconds], problem)


FIGURES = [
    figure("seqjax", 1.0),
    figure("seqjax, 2 devices", 0.5),
    figure("linen", 2.0),
    figure("torch", 0.25),
    Figure("nnx", {"kind": "lstm", "shape": "1, 2, 3, 4"}, [], "flax is not installed"),
]


def printed(table):
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_advantages_count_what_is_missing():
    def found(program, against, every_device=False, figures=FIGURES):
        return layers.advantage(figures, program, against, every_device)

    assert found("forward", "linen") == ([2.0], 0)
    assert found("forward", "linen", every_device=True) == ([4.0], 0)
    assert found("forward", "fastest peer") == ([0.25], 0)
    assert found("forward + backward", "linen").ratios == []
    # At a second shape PyTorch fails: linen is not the fastest of all there.
    more = [
        *FIGURES,
        figure("seqjax", 1.0, shape="2"),
        figure("linen", 3.0, shape="2"),
        Figure("torch", {"kind": "lstm", "shape": "2"}, [], "out of memory"),
    ]
    assert found("forward", "fastest peer", figures=more) == ([0.25, 3.0], 1)
    assert found("forward", "torch", figures=more) == ([0.25], 1)


def test_tables_show_every_contestant():
    text = printed(layers._table("lstm", FIGURES))
    assert "flax is not installed" in text
    assert "0.50" in text  # 2 devices, beside one
    assert "fastest peer" in printed(layers._summary(FIGURES))


def test_contestants_are_all_there():
    names = [one.name for one in layers.contestants("lstm", layers.PEERS, 2)]
    assert names[:3] == ["seqjax", "seqjax, 2 devices", "seqjax, autodiff"]
    assert set(layers.PEERS) < set(names)
    assert "seqjax, 2 devices" not in [one.name for one in layers.contestants("conv", (), 1)]


def test_a_report_is_read_as_it_was_written(tmp_path):
    written = report.Report("layers", {"out": tmp_path}, FIGURES, [])
    path = report.write(written, tmp_path / "new" / "layers.json")
    assert report.read(path) == FIGURES
    (picture,) = plots.draw(written, tmp_path)
    assert picture.stat().st_size > 1000


def test_a_quick_run_measures_few_cases(monkeypatch, tmp_path):
    measured, names = [], []

    def measure(case, everyone, processes, rounds, seconds):
        measured.append(case)
        names.append([one.name for one in everyone])
        assert rounds == 3
        return [figure("seqjax", 1.0, program, case.shape) for program in layers.PROGRAMS]

    monkeypatch.setattr(layers, "measure", measure)
    monkeypatch.setattr(
        layers, "workers", lambda everyone: __import__("contextlib").nullcontext({})
    )
    found = layers.run(layers.Layers(quick=True, out=tmp_path))
    assert report.read(tmp_path / "layers.json") == found.figures
    assert [case.kind for case in measured] == ["lstm"] * 3 + ["conv"] * 3
    assert len(found.figures) == 12
    assert np.isfinite(found.figures[0].median)
    # One implementation beside the default, over steps and batches.
    layers.run(layers.Layers(quick=True, out=tmp_path, only=("gru",), implementation="newton"))
    assert [(case.batch, case.time) for case in measured[6:]] == [(1, 256), (1, 1024), (1, 4096)]
    assert names[6:] == [["seqjax", "seqjax, newton"]] * 3


def test_a_shape_that_is_not_there_is_refused():
    with pytest.raises(BenchError, match="numbers from 0 to 6"):
        layers.run(layers.Layers(shapes=(0, 7)))
    with pytest.raises(BenchError, match=r"--only: one of .*lstm.*, not 'lsmt'"):
        layers.run(layers.Layers(only=("lsmt",)))
