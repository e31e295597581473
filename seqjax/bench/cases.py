"""What the benchmark of layers runs: shapes, weights and the outputs to agree on.

Dimensions: B batch, T time, I input features, H features (width), K gates.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from seqjax import ops
from seqjax.bench.turns import BenchError

KINDS = (*ops.CELLS, "conv", "linear")
"""Every cell; a stack of convolutions; ``h_t = a_t h_{t-1} + b_t``."""
COMMON = ("rnn", "lstm", "gru", "conv", "linear")
"""What other libraries have, or are built of; the rest by name only."""

FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]

CONV_LAYERS = 8
CONV_TAPS = 2

# (batch, time, input features, features)
SHAPES = (
    (32, 50, 20, 20),
    (32, 12, 1, 128),
    (32, 200, 64, 128),
    (64, 200, 256, 256),
    (16, 200, 512, 512),
    (32, 1000, 64, 128),
    (4, 16384, 32, 64),
)
BY_STEPS = tuple((batch, steps, 16, 16) for batch in (1, 16) for steps in (256, 1024, 4096, 16384))
"""Where an implementation that is parallel over time may win: long, narrow, few sequences."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer at one shape.

    Attributes:
        kind: of the layer, one of `KINDS`; "conv" is a stack of `CONV_LAYERS` causal
            convolutions with relu and dilations 1, 2, 4, ...
        batch: sequences.
        time: steps.
        inputs: input features; a linear recurrence has none of its own.
        features: width.
    """

    kind: str
    batch: int
    time: int
    inputs: int
    features: int

    @property
    def shape(self) -> str:
        """The shape as the tables name it."""
        return f"{self.batch}, {self.time}, {self.inputs}, {self.features}"


class Arrays(NamedTuple):
    """A case's input, weights and the cotangent of its output.

    Attributes:
        x: [B, T, I] ([B, T, H] where the layer is a linear recurrence).
        weights: of a cell its parameters by name, as in `seqjax.ops`, without the second
            bias of a GRU, which not all have; for convolutions a ``kernel`` [taps, in, H]
            and a ``bias`` [H] for each layer; for a linear recurrence ``decay`` [B, T, H].
        cotangent: [B, T, H].
    """

    x: FloatArray
    weights: dict[str, FloatArray]
    cotangent: FloatArray


def check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """`kinds`; BenchError where one is not among `KINDS`."""
    for kind in kinds:
        if kind not in KINDS:
            raise BenchError(f"--only: one of {', '.join(KINDS)}, not {kind!r}.")
    return kinds


def kernel_norm(gradients: Sequence[FloatArray]) -> FloatArray:
    """The norm of all matrices among the gradients, [1]: the same in any packing and order.

    Biases, which libraries split differently, are vectors and left out; a peer that keeps
    them as matrices picks its kernels itself. A kernel of one input feature counts: some
    pack it with the recurrent kernel.
    """
    matrices = [g.astype(np.float64) for g in gradients if g.ndim > 1]
    return np.sqrt(np.array([sum(float(np.sum(np.square(g))) for g in matrices)]))


def make_arrays(case: Case, seed: int = 0) -> Arrays:
    """The same numbers for every contestant, float32."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> FloatArray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    width = case.features
    x = normal(case.batch, case.time, width if case.kind == "linear" else case.inputs)
    cotangent = normal(case.batch, case.time, width)
    if case.kind == "linear":
        decay = rng.uniform(0.5, 0.99, (case.batch, case.time, width)).astype(np.float32)
        return Arrays(x, {"decay": decay}, cotangent)
    if case.kind == "conv":
        weights = {}
        inputs = case.inputs
        for layer in range(CONV_LAYERS):
            scale = (2 / (CONV_TAPS * inputs)) ** 0.5
            weights[f"kernel {layer}"] = normal(CONV_TAPS, inputs, width, scale=scale)
            weights[f"bias {layer}"] = normal(width, scale=0.1)
            inputs = width
        return Arrays(x, weights, cotangent)
    weights = {}

    def declare(name: str, shape: tuple[int, ...], init: Any, *, keep_dtype: bool = False) -> None:
        if name != "recurrent_bias":
            scale = 0.1 if len(shape) == 1 else shape[0] ** -0.5
            # Well below 1, so that rounding does not grow over 16,384 steps.
            weights[name] = normal(*shape, scale=scale / 2 if "recurrent" in name else scale)

    ops.CELLS[case.kind]().parameters(declare, case.inputs, width)
    return Arrays(x, weights, cotangent)
