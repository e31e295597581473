"""What is counted in a compiled step, and what is predicted from it."""

import dataclasses
from typing import Any

import pytest

from seqjax.bench import scaling
from seqjax.bench.collectives import Collective, collectives, step_of
from seqjax.bench.scaling import HARDWARE, Compiled, Scaling, computing, predict
from seqjax.bench.turns import BenchError

MODULE = """\
HloModule step, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%sum (x: f32[], y: f32[]) -> f32[] {
  ROOT %add = f32[] add(%x, %y)
}

%body.1 (arg: (s32[], bf16[2,3])) -> (s32[], bf16[2,3]) {
  %all-gather.1 = bf16[2,3]{1,0} all-gather(%g), channel_id=2, dimensions={0}
  ROOT %t = (s32[], bf16[2,3]{1,0}) tuple(%i, %all-gather.1)
}

%other (arg: f32[4]) -> f32[4] {
  ROOT %collective-permute.1 = f32[4]{0} collective-permute(%arg), channel_id=3
}

ENTRY %main.1_spmd (p: f32[4]) -> f32[4] {
  %all-reduce.1 = (f32[4]{0}, pred[], s8[5]{0}) all-reduce(%p, %q, %r), to_apply=%sum
  %while.1 = (s32[], bf16[2,3]{1,0}) while(%init), condition=%cond, body=%body.1,\
 backend_config={"known_trip_count":{"n":"7"}}
  %start = (f32[4]{0}, f32[4]{0}) all-reduce-start(%p), to_apply=%sum
  %done = f32[4]{0} all-reduce-done(%start)
  %both = f32[4]{0} conditional(%p0, %a, %b), branch_computations={%sum, %other}
}
"""


def test_collectives_of_a_module_are_counted_with_the_turns_of_their_loops():
    assert collectives(MODULE) == [
        Collective("all-reduce", 16 + 1 + 5),
        Collective("all-gather", 12, 7),
        Collective("all-reduce", 16),
        Collective("collective-permute", 16),
    ]


@pytest.mark.parametrize("kind", ["wavenet", "gru"])
def test_a_step_sums_gradients_and_loss_over_the_devices_once_whatever_the_batch(kind):
    sizes: Any = {"steps": 8, "features": 4, "layers": 1}
    two = step_of(kind, 2, batch=4, measure=(kind == "wavenet"), **sizes)
    sent = sum(size * times for op, size, times in two["collectives"])
    assert {op for op, *_ in two["collectives"]} == {"all-reduce"}
    assert 0 <= sent - 4 * two["weights"] <= 16  # the loss, and flags of what is not finite
    if kind == "wavenet":
        assert "step" in two  # measured on real devices, and the program is the same
        assert step_of(kind, 2, batch=8, **sizes)["collectives"] == two["collectives"]
        with pytest.raises(ValueError, match="64, but this machine has"):
            step_of(kind, 64, batch=64, measure=True, **sizes)


def test_predictions_keep_to_what_the_devices_can_do():
    config = Scaling(features=8)
    for hardware in HARDWARE:
        many, one = Compiled(8, [("all-reduce", 4000, 1)], 0.0, 1000), Compiled(1, [], 0.0, 1000)
        for kind in scaling.TITLES:
            weak = [predict(hardware, config, kind, rows, weak=True) for rows in (one, many)]
            assert weak[0] == computing(hardware, config, kind, 1000, float(config.each)) < weak[1]
            strong = [predict(hardware, config, kind, rows, weak=False) for rows in (one, many)]
            assert strong[0] / strong[1] < 8
    # A ring sends nearly twice the array, and the half of its all-reduce is an all-gather.
    free = HARDWARE[0]._replace(latency=0.0)
    assert free.collective("all-reduce", 450 * 10**9, 8) == pytest.approx(2 * 7 / 8)
    assert free.collective("all-gather", 450 * 10**9, 8) == pytest.approx(7 / 8)
    assert free.collective("reduce-scatter", 450 * 10**9 // 8, 8) == pytest.approx(7 / 8)
    # Large products are worth eight devices nearly eightfold.
    large = Compiled(8, [("all-reduce", 4 * 10**8, 1)], 0.0, 10**8)
    alone = predict(free, config, "wavenet", large._replace(devices=1, collectives=()), weak=False)
    assert 7.5 < alone / predict(free, config, "wavenet", large, weak=False) < 8


def test_the_command_compiles_in_processes_and_fills_its_tables(monkeypatch):
    asked = []

    class Worker:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, **request):
            asked.append(request["arguments"]["devices"])
            found = [["all-reduce", 4004, 1]] if asked[-1] > 1 else []
            return {"value": {"collectives": found, "seconds": 1.0, "weights": 1000, "step": 0.1}}

    monkeypatch.setattr(scaling, "Worker", Worker)
    config = Scaling(only=("gru",), devices=(1, 16), measure=True)
    made = scaling.run(config)
    assert asked == [1, 16]
    counted, gpus, pod, assumed = made.tables
    assert (counted.row_count, gpus.row_count, pod.row_count, assumed.row_count) == (2, 1, 2, 2)
    assert (16, "collective bytes", [4004]) in [
        (figure.labels["devices"], figure.labels["quantity"], figure.rounds)
        for figure in made.figures
    ]
    with pytest.raises(BenchError, match="3 do not divide the batch of 256"):
        scaling.run(dataclasses.replace(config, devices=(3,)))
