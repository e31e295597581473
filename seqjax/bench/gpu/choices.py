"""Section "choices": what each rule of `seqjax.ops.layout.Choices` costs either way.

What wins here is what the launcher sets on this kind of device (`seqjax.devices`).
Dimensions: B batch, T time, I input features, H features.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax import ops
from seqjax.bench.cases import Case, make_arrays
from seqjax.bench.gpu.checks import KERNELS
from seqjax.bench.gpu.measure import Compiled, compiled, in_turns, side_by_side
from seqjax.bench.gpu.rows import Emit, Row, problem
from seqjax.bench.peers import ours
from seqjax.bench.peers.jax_layer import Apply, gradient_of
from seqjax.ops.backends import BACKENDS
from seqjax.ops.layout import Choices, choices, choose_layout

CLEAR = 1.05  # times as fast: below that, what stands stays


class Way(NamedTuple):
    """One way to run one case.

    Attributes:
        question: which choice; its ways are compared with each other.
        case: in words.
        name: the way's; the first of a question is what stands now.
        make: the program and its arguments, forward + backward.
        layout: the fields of `Choices` that it is, or None for what is no such field.
    """

    question: str
    case: str
    name: str
    make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
    layout: dict[str, Any] | None = None


def run(dry: bool, emit: Emit) -> None:
    """A row for each way: ms, and times what stands; then the choices that won."""
    wins: dict[str, dict[str, list[float]]] = {}
    layouts: dict[tuple[str, str], dict[str, Any] | None] = {}
    groups: dict[tuple[str, str], list[Way]] = {}
    for way in ways(dry):
        groups.setdefault((way.question, way.case), []).append(way)
    for (question, case), group in groups.items():
        ready: dict[str, Compiled] = {}
        for name, result in side_by_side({w.name: partial(_compiled, w) for w in group}, 8):
            if isinstance(result, Exception):
                emit(problem({"choice": question, "case": case, "way": name}, result))
            else:
                ready[name] = result
        names = [way.name for way in group if way.name in ready]
        programs = {name: ready[name].run for name in names}
        medians = in_turns(programs, 1 if dry else 5, 0.0 if dry else 0.03)
        for way in group:
            if way.name not in medians:
                continue
            labels = {"choice": question, "case": case, "way": way.name}
            values = {"ms": 1e3 * medians[way.name]}
            if group[0].name in medians:
                values["times as fast"] = medians[group[0].name] / medians[way.name]
                wins.setdefault(question, {}).setdefault(way.name, []).append(
                    values["times as fast"]
                )
            layouts[question, way.name] = way.layout
            emit(Row(labels, values | ready[way.name].facts))
    emit(Row({"choice": "what won"}, {"choices": winners(wins, layouts)}))


def winners(
    wins: dict[str, dict[str, list[float]]], layouts: dict[tuple[str, str], dict[str, Any] | None]
) -> dict[str, Any]:
    """The fields of `Choices` that are clearly faster, over a question's cases together.

    Example:
        >>> wins = {"unroll": {"1": [1.0, 1.0], "4": [1.3, 1.2], "8": [1.4, 0.8]}}
        >>> winners(wins, {("unroll", "4"): {"unroll": 4}, ("unroll", "8"): {"unroll": 8}})
        {'unroll': 4}
    """
    found: dict[str, Any] = {}
    for question, of in wins.items():
        cases = max(map(len, of.values()))
        means = {
            name: statistics.geometric_mean(values)
            for name, values in of.items()
            # A loss in any case is no win; where a kernel refuses, the next in order runs.
            if min(values) > 0.97 and (len(values) == cases or _refusing(layouts, question, name))
        }
        best = max(means, key=lambda name: means[name], default="")
        if best and means[best] > CLEAR and (layout := layouts.get((question, best))):
            layout = layout | {"first": (*found.get("first", ()), *layout.get("first", ()))}
            found |= {name: value for name, value in layout.items() if value != ()}
    return found


def _refusing(layouts: dict[tuple[str, str], Any], question: str, name: str) -> bool:
    return "first" in (layouts.get((question, name)) or {})


def _compiled(way: Way) -> Compiled:
    program, arguments = way.make()
    if way.layout is None:
        return compiled(program, *arguments)
    with choose_layout(choices()._replace(**way.layout)):
        return compiled(program, *arguments)


def ways(dry: bool) -> Iterator[Way]:
    """All of them, the most promising first."""
    steps = 16 if dry else 1024
    widths = (8,) if dry else (64, 256)
    layers = [Case(kind, 16, steps, width, width) for kind in ("lstm", "gru") for width in widths]
    for case in layers[: 1 if dry else 3]:
        for unroll in (1, 4) if dry else (1, 2, 4, 8, 16):
            yield _way("unroll", case, str(unroll), {"unroll": unroll})
        for inside in (False, True):
            name = "in the loop" if inside else "before the loop"
            yield _way("projection", case, name, {"project_in_loop": inside})
        for name in ("scan", *sorted(set(KERNELS) & set(BACKENDS))):
            make = partial(layer_gradient, case, name)  # which may refuse
            words = f"{case.kind} ({case.shape})"
            yield Way("a kernel of our own", words, name, make, {"first": (name,)})
        stands = choices().small_batch
        for few in (stands, 0 if stands else Choices().small_batch):
            name = "features" if few else "sequences"
            make, layout = partial(layer_gradient, case, "pallas"), {"small_batch": few}
            yield Way("rows of a kernel's tile", f"{case.kind} ({case.shape})", name, make, layout)
        for size in (0, 2**10) if dry else (0, 2**22, 2**25):
            name = f"pieces of {size} bytes" if size else "gradients of all steps"
            yield _way("pieces", case, name, {"piece_bytes": size})
    for kind in ("min_gru", "lru"):
        case = Case(kind, 16, steps, widths[-1], widths[-1])
        for name in ("associative", "scan"):
            yield _way("linear recurrences", case, name, {"first": (name,)})
        if dry:
            break
    for width in widths:
        case = Case("conv", 16, steps, width, width)
        for name in ("lax", "products"):
            yield _way("convolutions", case, name, {"convolution": name})
    for width in (8,) if dry else (20, 64):
        for name in ("in turn", "wavefront"):
            make = partial(_two_layers, width, steps, name == "wavefront")
            layout = {"wavefront": 2 * width} if name == "wavefront" else {"wavefront": 0}
            yield Way(f"two LSTMs of {width}", f"B 16, T {steps}", name, make, layout)
    for name in ("lax.cond", "jnp.where"):
        make = partial(_updates, steps, name == "lax.cond")
        yield Way("an update or none, a step", f"{steps} steps of Adam, 64 x 64", name, make)
    for name in ("one after another", "jax.vmap"):
        make = partial(_seeds, 4 if dry else 16, name == "jax.vmap", 8 if dry else 50)
        yield Way("seeds", "LSTM 20, B 32", name, make)


def _way(question: str, case: Case, name: str, layout: dict[str, Any]) -> Way:
    return Way(question, f"{case.kind} ({case.shape})", name, partial(layer_gradient, case), layout)


def layer_gradient(
    case: Case, implementation: str | None = None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Forward + backward of a layer, and its arguments: bfloat16, where it may be."""
    dtype = jnp.float32 if case.kind in ("lru", "conv") else jnp.bfloat16
    arrays = make_arrays(case)
    weights = {name: jnp.asarray(value, dtype) for name, value in arrays.weights.items()}
    apply, params = ours.apply_and_params(case, weights, implementation)
    x, cotangent = jnp.asarray(arrays.x, dtype), jnp.asarray(arrays.cotangent, dtype)
    return gradient_of(apply), (params, x, cotangent)


def _two_layers(width: int, steps: int, together: bool) -> Any:
    cell = ops.LSTMCell()
    params = [ops.init(cell, jax.random.key(k), width, width) for k in range(2)]
    x = jax.random.normal(jax.random.key(2), (16, steps, width))

    def in_turn(params: Any, x: Array) -> Array:
        for layer in params:
            x = ops.run(cell, layer, x)
        return x

    apply: Apply = partial(ops.wavefront, cell) if together else in_turn
    return gradient_of(apply), (params, x, jnp.ones_like(x))


def _updates(steps: int, cond: bool) -> Any:
    """A training's loop in small: an update that is not finite changes nothing."""
    w = jax.random.normal(jax.random.key(0), (64, 64)) / 8
    x = jax.random.normal(jax.random.key(1), (32, 64))

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        w, m = state
        gradient = jax.grad(lambda w: jnp.mean(jnp.tanh(x @ w) ** 2))(w)
        changed = (w - 1e-3 * m, 0.9 * m + gradient)
        finite = jnp.isfinite(jnp.sum(gradient**2))
        if cond:
            return lax.cond(finite, lambda: changed, lambda: state), None
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), changed, state), None

    def program(w: Array) -> Any:
        return lax.scan(step, (w, jnp.zeros_like(w)), None, length=steps)[0]

    return program, (w,)


def _seeds(count: int, together: bool, steps: int) -> Any:
    cell = ops.LSTMCell()
    draw = jax.vmap(lambda key: ops.init(cell, key, 1, 20))
    params = draw(jax.random.split(jax.random.key(0), count))
    x = jax.random.normal(jax.random.key(1), (32, steps, 1))

    def one(params: Any) -> Any:
        return jax.grad(lambda p: jnp.sum(ops.run(cell, p, x) ** 2))(params)

    return (jax.vmap(one) if together else partial(lax.map, one)), (params,)
