"""What layers with ``implementation="newton"`` are given besides, and what they leave behind.

A solution to begin with, and what they counted, are of each layer: they travel as variables of
Flax, in collections "guess" and "newton", along the same paths as the parameters. The counter of
the backward pass is the same for all, and travels in the context.
"""

from typing import Any

from seqjax import ops
from seqjax.nn.layer import Call, Layer

COUNTER = "newton_counter"
"""In a context: the `counter` of `seqjax.ops.Options`."""


COUNTS = ("iterations", "fallbacks", "backward_fallbacks")
"""For `track_metrics` of `seqjax.train.fit`: `seqjax.ops.Solution.metrics`, and the counter's."""


def iterates(layer: Layer | None) -> bool:
    """Whether it, or a layer within, is solved by iteration.

    Example:
        >>> from seqjax import nn
        >>> layers = (cell(4, implementation="newton") for cell in (nn.GRU, nn.MinGRU))
        >>> [iterates(nn.Stack((layer, nn.Dense(1)))) for layer in layers]  # minGRU is linear
        [True, False]
    """
    return layer is not None and COUNTER in layer.context_names()


def options_of(layer: Layer, call: Call) -> dict[str, Any]:
    """Options of `seqjax.ops.run` for a bound layer that iterates."""
    found = {"return_solution": True, "counter": (call.context or {}).get(COUNTER)}
    # Of a layer that is called several times, the guess of this call.
    calls = len(layer.get_variable("newton", "solution", ()))
    guesses = layer.get_variable("guess", "solution", ())[calls:]
    return found | ({"guess": guesses[0]} if guesses else {})


def leave_behind(layer: Layer, solution: ops.Solution) -> None:
    """Keep a solution where the caller asked for it."""
    if not layer.is_initializing():  # or the variables would hold it
        layer.sow("newton", "solution", solution)
