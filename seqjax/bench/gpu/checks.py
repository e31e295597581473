"""Sections "checks" and "kernels": every op and implementation against float64 on the CPU."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seqjax import ops
from seqjax.bench.gpu.measure import side_by_side
from seqjax.bench.gpu.references import (
    Apply,
    Drawn,
    Leaves,
    Sizes,
    draw,
    error,
    in_float64,
    on_device,
    rounded,
    step_by_step,
)
from seqjax.bench.gpu.rows import Emit, Row, problem
from seqjax.ops.backends import BACKENDS
from seqjax.ops.both_directions import bidirectional
from seqjax.ops.layout import Choices, choose_layout

# Of the largest leaf's relative norm: float32 sums in another order; TF32, a GPU's default for
# float32 products, keeps 10 bits and bfloat16 7, and 37 steps pass both on.
TOLERANCES = {"float32, highest": 2e-5, "float32": 1e-2, "bfloat16": 5e-2}

KERNELS = ("pallas",)  # of our own: a section by itself, as a bad address ends its process


class Check(NamedTuple):
    """What is compared.

    Attributes:
        op: its name, and its options in words; checks of one op share definition and numbers.
        implementation: of `Implementation`, or a layout.
        definition: in float64.
        apply: what is checked.
        drawn: arguments and cotangent.
        precisions: keys of `TOLERANCES`.
        layout: what it is traced under.
    """

    op: str
    implementation: str
    definition: Apply
    apply: Apply
    drawn: Drawn
    precisions: tuple[str, ...] = tuple(TOLERANCES)
    layout: Choices | None = None


_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "rnn": ({}, {"layer_norm": True}),
    "gru": ({}, {"reset_after": False}),
    "lru": ({"state": 19},),
}


def run(dry: bool, emit: Emit) -> None:
    """A row for each check and precision: its relative errors, of values and gradients."""
    implementations = [name for name in BACKENDS if name not in KERNELS]
    sizes = Sizes(3, 9, 5, 8) if dry else Sizes()
    cells = ("lstm", "lru") if dry else tuple(ops.CELLS)
    _compare([*_of_cells(cells, implementations, sizes, dry), *_others(dry, _fresh())], dry, emit)


def run_kernels(dry: bool, emit: Emit) -> None:
    """The same of our own kernels, at sizes on both sides of their tiles, narrow ones first."""
    implementations = [name for name in BACKENDS if name in KERNELS]
    if not implementations:
        note = "seqjax has no kernel of its own yet"
        emit(Row({"op": "any", "implementation": KERNELS[0]}, status="missing", note=note))
    cells = ("lstm",) if dry else tuple(ops.CELLS)
    for size in [Sizes(3, 9, 5, 32)] if dry else KERNEL_SIZES:
        found = list(_of_cells(cells, implementations, size, dry, "bfloat16"))
        found += [_of_both_ways(name, size) for name in implementations if size.features < 384]
        _compare(found, dry, emit)
        cells = tuple(
            name for name in cells if isinstance(ops.CELLS[name]().form, ops.Elementwise)
        )  # the others have said why


KERNEL_SIZES = (
    Sizes(70, 65, 64, 64),  # a block; two tiles of 64 sequences
    Sizes(17, 65, 11, 48),  # a block; two of 16
    Sizes(70, 33, 96, 128),  # an LSTM's cluster
    Sizes(16, 33, 128, 256),  # one of 16 sequences
    Sizes(16, 17, 40, 384),
)


def _fresh() -> int:
    return int.from_bytes(os.urandom(4), "big")


def _of_cells(
    cells: Sequence[str],
    implementations: Sequence[str],
    sizes: Sizes,
    dry: bool,
    precision: str | None = None,
) -> Iterator[Check]:
    """Each cell plain, and with lengths (0 among them), in reverse; all precisions by default."""
    seed = _fresh()
    named = f"B {sizes.batch}, T {sizes.time}, I {sizes.inputs}, H {sizes.features}"
    lengths = np.r_[sizes.time, 0, np.arange(sizes.batch - 2) % sizes.time + 1].astype(np.int32)
    turned = {"seq_lengths": lengths, "reverse": True, "keep_order": True}
    for name in cells:
        for fields in _VARIANTS.get(name, ({},)):
            cell = ops.CELLS[name](**fields)
            words = " ".join([name, *(f"{key}={value}" for key, value in fields.items())])
            drawn = draw(cell, sizes, seed)
            ways = {"": {}} if dry and name == "lru" else {"": {}, ", lengths, reverse": turned}
            for way, options in ways.items():
                op = f"{words}{way} ({named})"
                definition = step_by_step(cell, options)
                precisions = ("float32, highest",) if options or dry else tuple(TOLERANCES)
                if precision is not None:
                    precisions = (precision,)
                for backend in implementations:
                    if options and type(cell.form) not in BACKENDS[backend].loops:
                        continue  # the row without options says why
                    apply = partial(_op, cell, {"implementation": backend, **options})
                    yield Check(op, backend, definition, apply, drawn, precisions)
                if name in ("lstm", "gru") and not options and not dry and precision is None:
                    for text, layout in LAYOUTS.items():
                        apply = partial(_op, cell, {"implementation": "scan"})
                        numbers = definition, apply, drawn, ("float32, highest",), layout
                        yield Check(op, text, *numbers)


def _of_both_ways(implementation: str, sizes: Sizes) -> Check:
    """A bidirectional LSTM: one kernel for both directions."""
    cell, seed = ops.LSTMCell(), _fresh()
    (first, x, carry), forwards = draw(cell, sizes, seed)
    (second, _, other), backwards = draw(cell, sizes, seed + 1)
    cotangent = np.concatenate([forwards, backwards], axis=-1)
    drawn = Drawn(((first, second), x, (carry, other)), cotangent)

    def definition(params: Any, x: Array, carries: Any) -> Any:
        ways = {}, {"reverse": True, "keep_order": True}
        each = [
            step_by_step(cell, way)(one, x, start)
            for way, one, start in zip(ways, params, carries, strict=True)
        ]
        return tuple(end for end, _ in each), jnp.concatenate([y for _, y in each], axis=-1)

    apply = partial(
        bidirectional, cell, return_carry=True, implementation=cast(Any, implementation)
    )
    op = f"bidirectional lstm (B {sizes.batch}, T {sizes.time}, H {sizes.features})"
    return Check(op, implementation, definition, apply, drawn, ("bfloat16",))


LAYOUTS = {
    "scan, project in the loop": Choices(project_in_loop=True),
    "scan, gradients in pieces": Choices(piece_bytes=2**12),
    "scan, 4 steps an iteration": Choices(unroll=4),
}


def _op(cell: ops.Cell, options: dict[str, Any], params: Any, x: Array, carry: Any) -> Any:
    return ops.run(cell, params, x, carry, return_carry=True, **options)  # type: ignore[arg-type]


def _others(dry: bool, seed: int) -> Iterator[Check]:
    """Convolutions, and layers in a wavefront."""
    rng = np.random.default_rng(seed)
    batch, time, inputs, width = (2, 9, 3, 4) if dry else (3, 50, 7, 24)
    x = rng.standard_normal((batch, time, inputs))
    for dilation, stride in ((1, 1),) if dry else ((1, 1), (8, 1), (1, 2)):
        kernel: Any = rng.standard_normal((2, inputs, width))
        bias: Any = rng.standard_normal(width)
        weights = ops.ConvParams(kernel, bias)
        outputs = -(-time // stride)
        drawn = Drawn((weights, x, ()), rng.standard_normal((batch, outputs, width)))
        op = f"causal_conv1d dilation={dilation} stride={stride}"
        definition = partial(_taps, dilation, stride)
        for implementation in ("products", "lax"):
            how = {"dilation": dilation, "stride": stride, "implementation": implementation}
            precisions = ("float32, highest",) if dry else tuple(TOLERANCES)
            apply = partial(_convolution, how)
            yield Check(op, implementation, definition, apply, drawn, precisions)
    if dry:
        return
    cell, sizes = ops.GRUCell(), Sizes(4, 20, 12, 12)
    (first, x, carry), cotangent = draw(cell, sizes, seed)
    (second, _, other), _ = draw(cell, sizes, seed + 1)
    drawn = Drawn(((first, second), x, (carry, other)), cotangent)
    yield Check("wavefront of two GRUs", "scan", partial(_in_turn, cell), _together(cell), drawn)


def _taps(dilation: int, stride: int, weights: Any, x: Array, carry: Any) -> Any:
    """``y_t = b + sum_j x_{s t - (K - 1 - j) d} w_j``."""
    kernel, bias = weights
    reach = (kernel.shape[0] - 1) * dilation
    padded = jnp.pad(x, ((0, 0), (reach, 0), (0, 0)))
    parts = [padded[:, j * dilation :][:, : x.shape[1]] @ kernel[j] for j in range(kernel.shape[0])]
    return carry, (sum(parts) + bias[None, None])[:, ::stride]


def _convolution(how: dict[str, Any], weights: Any, x: Array, carry: Any) -> Any:
    return carry, ops.causal_conv1d(weights, x, **how)


def _in_turn(cell: ops.Cell, layers: Any, x: Array, carries: Any) -> Any:
    ends = []
    for params, carry in zip(layers, carries, strict=True):
        end, x = step_by_step(cell, {})(params, x, carry)
        ends.append(end)
    return tuple(ends), x


def _together(cell: ops.Cell) -> Apply:
    def apply(layers: Any, x: Array, carries: Any) -> Any:
        return ops.wavefront(cell, layers, x, carries, return_carry=True)

    return apply


class _Once:
    """A result that whoever comes first computes, and the others wait for."""

    def __init__(self, compute: Callable[[], Leaves]) -> None:
        self._compute, self._lock, self._result = compute, threading.Lock(), None

    def __call__(self) -> Leaves:
        with self._lock:
            if self._result is None:
                self._result = self._compute()
        return self._result


def _compare(found: Sequence[Check], dry: bool, emit: Emit) -> None:
    """Several checks at a time: XLA compiles in threads. Each reference once."""
    references: dict[tuple[str, str], _Once] = {}
    jobs = {}
    for number, one in enumerate(found):
        for precision in one.precisions:
            dtype = precision.partition(",")[0]
            compute = partial(_reference, one, dtype)
            reference = references.setdefault((one.op, dtype), _Once(compute))
            jobs[number, precision] = partial(_check, one, precision, reference)
    for (number, precision), result in side_by_side(jobs, 1 if dry else 8):
        one = found[number]
        labels = {"op": one.op, "implementation": one.implementation, "precision": precision}
        emit(problem(labels, result) if isinstance(result, Exception) else _row(labels, result))


def _reference(one: Check, dtype: str) -> Leaves:
    return in_float64(one.definition, rounded(one.drawn, dtype))


def _check(one: Check, precision: str, reference: Callable[[], Leaves]) -> dict[str, float]:
    dtype, _, products = precision.partition(", ")
    apply = one.apply if one.layout is None else _under(one.layout, one.apply)
    with jax.default_matmul_precision(products or None):
        result = on_device(apply, rounded(one.drawn, dtype), jnp.dtype(dtype))
    return {part: error(result, reference(), part) for part in ("value", "gradient")}


def _under(layout: Choices, apply: Apply) -> Apply:
    def traced(*arguments: Any) -> Any:
        with choose_layout(layout):
            return apply(*arguments)

    return traced


def _row(labels: dict[str, Any], errors: dict[str, float]) -> Row:
    limit = TOLERANCES[labels["precision"]]
    good = all(value <= limit for value in errors.values())  # NaN is not
    return Row(labels, errors, "ok" if good else "FAILED", "" if good else f"above {limit:g}")
