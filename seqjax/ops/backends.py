"""The ways to run a recurrence, and which of them a call gets.

A `Backend` says of a call whether it can run it, or why not; `choose` is the one place that
resolves `implementation`. Everything in this file but `Call` is time-major.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
from jax import Array, lax

from seqjax.ops import cudnn, engine, linear, newton
from seqjax.ops.cell import Carry, Cell, Elementwise, Form, Linear, Loop, Params, Steps
from seqjax.ops.layout import carry_dtype, choices, compiled, widen

Implementation = Literal["scan", "autodiff", "associative", "newton", "cudnn", "pallas"]


class Call(NamedTuple):
    """A call of a recurrent op, as a backend is asked about it.

    Attributes:
        op: its name.
        form: the recurrence.
        shape: of the inputs, [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        features: the width.
        dtype: of inputs and parameters together.
        options: as given, `seqjax.ops.Options`.
    """

    op: str
    form: Form
    shape: tuple[Any, ...]
    features: int
    dtype: Any
    options: Mapping[str, Any]

    @property
    def platform(self) -> str:
        """Where it runs: "cpu", "gpu", "tpu"."""
        return jax.default_backend()


class Backend(NamedTuple):
    """A way to run recurrences.

    Attributes:
        loops: by form, its function of a `Loop`; see `run_form`.
        lacks: why another form cannot run.
        refuses: ``call -> None``, or the reason why it cannot run that, of a form in `loops`.
    """

    loops: Mapping[type[Form], Callable[..., tuple[Carry, Array]]]
    lacks: str = ""
    refuses: Callable[[Call], str | None] = lambda call: None

    def reason(self, call: Call) -> str | None:
        """None where it can run a call, or why it cannot."""
        return self.refuses(call) if type(call.form) in self.loops else self.lacks


def _pallas(*arguments: Any) -> tuple[Carry, Array]:
    # Imported where it runs: Pallas is slow to import, and Mosaic GPU not in every jax.
    from seqjax.ops.pallas.recurrence import scan

    return scan(*arguments)


def _pallas_refuses(call: Call) -> str | None:
    from seqjax.ops.pallas.shapes import refuses

    return refuses(call)


BACKENDS: dict[str, Backend] = {
    "scan": Backend({Elementwise: engine.scan, Linear: linear.scan, Steps: engine.scan_steps}),
    "autodiff": Backend(
        {Elementwise: engine.autodiff, Linear: linear.autodiff, Steps: engine.scan_steps}
    ),
    "associative": Backend(
        {Linear: linear.associative},
        "it needs a recurrence that is linear in its state, such as min_gru or lru",
    ),
    "newton": Backend(
        {Elementwise: newton.scan, Linear: linear.associative},
        "it needs a cell without products within its step: gru takes reset_after=True",
    ),
    "cudnn": Backend({Elementwise: cudnn.lstm}, "it has the LSTM alone", cudnn.refuses),
    "pallas": Backend(
        {Elementwise: _pallas},
        "its kernels run cells that are elementwise functions of their gates, such as lstm or gru",
        _pallas_refuses,
    ),
}

# What None tries first, by platform. A loop over time is the faster linear recurrence on a
# CPU (docs/performance.md); elsewhere its steps would each be a launch. "pallas" is nowhere
# here, for it has run on no GPU yet: "gpu": ("pallas", "associative", "scan") picks it there.
_ORDER: dict[str, tuple[str, ...]] = {"cpu": ("scan",)}
_ELSEWHERE = ("associative", "scan")


def choose(call: Call) -> str:
    """The name of the backend that runs a call.

    Raises:
        ValueError: for an unknown name, or a backend that cannot run the call.

    Example:
        >>> from seqjax import ops
        >>> form = ops.LSTMCell().form
        >>> choose(Call("lstm", form, (1, 5, 3), 4, "float32", options={}))
        'scan'
    """
    name = call.options.get("implementation")
    if name is None:
        order = (*choices().first, *_ORDER.get(call.platform, _ELSEWHERE))
        return next(name for name in order if BACKENDS[name].reason(call) is None)
    if name not in BACKENDS:
        known = ", ".join(map(repr, get_args(Implementation)))
        raise ValueError(f"{call.op}: implementation must be None or one of {known}, not {name!r}.")
    if reason := BACKENDS[name].reason(call):
        raise ValueError(f"{call.op}: implementation {name!r} cannot run this: {reason}.")
    return name


def run_form(
    cell: Cell,
    params: Params,
    x: Array,
    carry: Carry,
    mask: Array | None,
    recurrent_mask: Array | None,
    *,
    implementation: str,
    loop: Loop,
    guess: Array | None = None,
    counter: Array | None = None,
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
        loop: its direction, and steps per iteration.
        guess: of ``h`` [T, B, H], of "newton"; or None.
        counter: [B], of "newton"; or None.

    Returns:
        The final carry, and the outputs [T, B, H].
    """
    over_time = BACKENDS[implementation].loops[type(cell.form)]
    run = _run_form if implementation in _AS_IT_STANDS else _compiled
    return run(cell, over_time, loop, params, x, carry, mask, recurrent_mask, guess, counter)


# What two of them trace depends on the device, too; a step under "autodiff" may read what changes.
_AS_IT_STANDS = ("cudnn", "pallas", "autodiff")


def _run_form(
    cell: Cell,
    over_time: Callable[..., tuple[Carry, Array]],
    loop: Loop,
    params: Params,
    x: Array,
    carry: Carry,
    mask: Array | None,
    recurrent_mask: Array | None,
    guess: Array | None,
    counter: Array | None,
) -> tuple[Carry, Array]:
    form, dtype = cell.form, carry_dtype(x, cell.kernel(params))
    if isinstance(form, Elementwise):
        weights, own = cell.weights(params, dtype)
        more = {"guess": guess, "counter": counter} if over_time is newton.scan else {}
        return over_time(form, loop, own, weights, x, carry, mask, recurrent_mask, **more)
    if isinstance(form, Linear):
        end, h = over_time(loop, *form.coefficients(params, x, dtype), carry, mask)
        return end, form.output(params, h, x, dtype)
    # Widened outside the loop and narrowed within, so that their gradients add up in the
    # carry's dtype.
    wide = jax.tree.map(lambda leaf: widen(leaf, dtype), params)

    def step(carry: Carry, inputs: Any) -> Carry:
        narrow = jax.tree.map(lambda w, leaf: w.astype(leaf.dtype), wide, params)
        return form.step(narrow, carry, inputs, recurrent_mask)

    return over_time(step, form.hidden, form.project(params, x, dtype), carry, mask, loop)


_compiled = compiled(0, 1, 2)(_run_form)


def run_step(cell: Cell, params: Params, x: Array, carry: Carry) -> tuple[Carry, Array]:
    """One step on `x` [B, I]: ``(carry, y)``."""
    form, dtype = cell.form, carry_dtype(x, cell.kernel(params))
    if isinstance(form, Elementwise):
        weights, own = cell.weights(params, dtype)
        carry = engine.single_step(form, own, weights, x, carry)
    elif isinstance(form, Linear):
        a, b = form.coefficients(params, x, dtype)
        carry = lax.expand_dims(a, range(b.ndim - a.ndim)) * carry + b
        return carry, form.output(params, carry, x, dtype)
    else:
        inputs = jax.tree.map(lambda z: z[0], form.project(params, x[None], dtype))
        carry = form.step(params, carry, inputs, None)
    return carry, form.hidden(carry)
