"""The ways to run a recurrence, and which of them a call gets.

A `Backend` says of a form whether it can run it, or why not; `choose` is the one place that
resolves `implementation`. Everything in this file is time-major.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
from jax import Array, lax

from seqjax.ops import engine
from seqjax.ops.cell import Carry, Cell, Elementwise, Form, Linear, Params, Steps
from seqjax.ops.layout import carry_dtype, widen
from seqjax.ops.linear import linear_loop

Implementation = Literal["scan", "autodiff", "associative"]


class Backend(NamedTuple):
    """A way to run a recurrence.

    Attributes:
        refuses: ``form -> None``, or the reason why it cannot run that.
        elementwise: the engine's function for `Elementwise` forms, or None.
    """

    refuses: Callable[[Form], str | None]
    elementwise: Callable[..., tuple[Carry, Array]] | None = None


def _anything(form: Form) -> None:
    return None


def _linear_only(form: Form) -> str | None:
    if isinstance(form, Linear):
        return None
    return "it needs a recurrence that is linear in its state, such as min_gru or lru"


BACKENDS: dict[str, Backend] = {
    "scan": Backend(_anything, engine.scan),
    "autodiff": Backend(_anything, engine.autodiff),
    "associative": Backend(_linear_only),
}

# What None tries first, by platform. A loop over time is the faster linear recurrence on a
# CPU (docs/performance.md); elsewhere its steps would each be a launch.
_ORDER: dict[str, tuple[str, ...]] = {"cpu": ("scan",)}
_ELSEWHERE = ("associative", "scan")


def choose(op: str, form: Form, implementation: str | None) -> str:
    """The name of the backend that runs a form.

    Args:
        op: what to call it in an error.
        form: the recurrence.
        implementation: a name, or None for the best on this platform.

    Raises:
        ValueError: for an unknown name, or a backend that cannot run the form.

    Example:
        >>> from seqjax import ops
        >>> choose("lstm", ops.LSTMCell().form, None)
        'scan'
    """
    if implementation is None:
        order = _ORDER.get(jax.default_backend(), _ELSEWHERE)
        return next(name for name in order if BACKENDS[name].refuses(form) is None)
    if implementation not in BACKENDS:
        known = ", ".join(map(repr, get_args(Implementation)))
        raise ValueError(
            f"{op}: implementation must be None or one of {known}, not {implementation!r}."
        )
    if reason := BACKENDS[implementation].refuses(form):
        raise ValueError(f"{op}: implementation {implementation!r} cannot run this: {reason}.")
    return implementation


def run_form(
    cell: Cell,
    params: Params,
    x: Array,
    carry: Carry,
    mask: Array | None,
    recurrent_mask: Array | None,
    *,
    implementation: str,
    reverse: bool,
    unroll: int,
) -> tuple[Carry, Array]:
    """Run a cell's recurrence.

    Args:
        cell: the cell.
        params: its parameters.
        x: [T, B, I].
        carry: before the first step, in its own dtype.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        recurrent_mask: [B, H] or None.
        implementation: from `choose`.
        reverse: run from the last step to the first; outputs stay where their inputs are.
        unroll: steps per loop iteration.

    Returns:
        The final carry, and the outputs [T, B, H].
    """
    form, dtype = cell.form, carry_dtype(x, cell.kernel(params))
    if isinstance(form, Elementwise):
        weights, own = cell.weights(params, dtype)
        loop = BACKENDS[implementation].elementwise
        assert loop is not None  # `choose` has refused
        return loop(
            form, own, weights, x, carry, mask, recurrent_mask, reverse=reverse, unroll=unroll
        )
    if isinstance(form, Linear):
        a, b = form.coefficients(params, x, dtype)
        how = {"implementation": implementation, "reverse": reverse, "unroll": unroll}
        end, h = linear_loop(a, b, carry, mask, **how)
        return end, form.output(params, h, x, dtype)
    # Widened outside the loop and narrowed within, so that their gradients add up in the
    # carry's dtype.
    wide = jax.tree.map(lambda leaf: widen(leaf, dtype), params)

    def step(carry: Carry, inputs: Any) -> Carry:
        narrow = jax.tree.map(lambda w, leaf: w.astype(leaf.dtype), wide, params)
        return form.step(narrow, carry, inputs, recurrent_mask)

    inputs = form.project(params, x, dtype)
    return engine.scan_steps(step, form.hidden, inputs, carry, mask, reverse=reverse, unroll=unroll)


def run_step(cell: Cell, params: Params, x: Array, carry: Carry) -> tuple[Carry, Array]:
    """One step on `x` [B, I]: ``(carry, y)``."""
    form, dtype = cell.form, carry_dtype(x, cell.kernel(params))
    if isinstance(form, Elementwise):
        weights, own = cell.weights(params, dtype)
        carry = engine.single_step(form, own, weights, x, carry)
        return carry, form.hidden(carry)
    if isinstance(form, Linear):
        a, b = form.coefficients(params, x, dtype)
        carry = lax.expand_dims(a, range(b.ndim - a.ndim)) * carry + b
        return carry, form.output(params, carry, x, dtype)
    assert isinstance(form, Steps)
    inputs = jax.tree.map(lambda z: z[0], form.project(params, x[None], dtype))
    carry = form.step(params, carry, inputs, None)
    return carry, form.hidden(carry)
