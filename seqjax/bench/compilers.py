"""What the contestants of ``seqjax.bench compile`` do: compile one program and say what it took.

Each call works on a gradient program: forward + backward with respect to parameters and
input. A process of its own runs each contestant.
"""

import dataclasses
import functools
import importlib
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from seqjax import nn, ops
from seqjax.bench.cases import Case, make_arrays
from seqjax.bench.peers import ours
from seqjax.bench.peers.jax_layer import Apply, gradient_of
from seqjax.bench.worker import NoSuchLayerError


def use_cache(folder: str | None) -> None:
    """Turn the persistent compilation cache on (every program, however small), or off."""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def measure(
    maker: str, case: dict[str, Any], depth: int = 1, cache: str | None = None, run: bool = True
) -> dict[str, float]:
    """Trace, lower, compile and run one program.

    Args:
        maker: who makes the layer: one of our implementations, "stack", "repeat",
            "chunks", "unrolled", or the name of a peer.
        case: fields of a `Case`.
        depth: layers one upon the other.
        cache: the persistent compilation cache's folder, or None.
        run: whether to run it once.

    Returns:
        Seconds by stage, ``instructions`` of the optimised program and
        ``temporary bytes``, its peak of working memory.
    """
    use_cache(cache)
    found = Case(**case)
    _warm_up(maker, found.kind)
    apply, params = _stacked(maker, found, depth)
    arrays = make_arrays(found)
    arguments = params, jnp.asarray(arrays.x), jnp.asarray(arrays.cotangent)
    begun = time.perf_counter()
    traced = jax.jit(gradient_of(apply)).trace(*arguments)
    at_trace = time.perf_counter()
    lowered = traced.lower()
    at_lower = time.perf_counter()
    compiled = lowered.compile()
    at_compile = time.perf_counter()
    memory = compiled.memory_analysis()
    assert memory is not None
    seconds = {
        "trace": at_trace - begun,
        "lower": at_lower - at_trace,
        "compile": at_compile - at_lower,
        "all three": at_compile - begun,
        "instructions": float((compiled.as_text() or "").count(" = ")),
        "temporary bytes": float(memory.temp_size_in_bytes),
    }
    if run:
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds["first run"] = time.perf_counter() - begun
    return seconds


@functools.cache
def _warm_up(maker: str, kind: str) -> None:
    """What a process spends once, on the first program of its kind, is not compile time."""
    case = Case(kind, batch=2, time=3, inputs=2, features=2)
    apply, params = _stacked(maker, case, 1)
    arrays = make_arrays(case)
    jax.block_until_ready(jax.jit(gradient_of(apply))(params, arrays.x, arrays.cotangent))


def _stacked(maker: str, case: Case, depth: int) -> tuple[Apply, Any]:
    if maker == "repeat":
        return _repeated(case, depth)
    if maker == "stack":
        return _nn_stack(case, depth)
    layers = []
    for k in range(depth):
        of_layer = dataclasses.replace(case, inputs=case.features if k else case.inputs)
        weights = make_arrays(of_layer, seed=k).weights
        layers.append(_layer(maker, of_layer, weights))

    def apply(params: list[Any], x: Array) -> Array:
        for (run, _), own in zip(layers, params, strict=True):
            x = run(own, x)
        return x

    return apply, [params for _, params in layers]


def _layer(maker: str, case: Case, weights: dict[str, Any]) -> tuple[Apply, Any]:
    if maker in ("scan", "autodiff", "associative", "products", "lax"):
        return ours.apply_and_params(case, weights, maker)
    if maker == "chunks":
        return _chunked(case, weights)
    if maker == "unrolled":
        return _unrolled(case, weights)
    return importlib.import_module(f"seqjax.bench.peers.{maker}").apply_and_params(case, weights)


def _chunked(case: Case, weights: dict[str, Any]) -> tuple[Apply, Any]:
    """Ours, recomputed in chunks of about the square root of the steps."""
    cell, params = ours.cell_and_params(case, weights)
    size = round(math.sqrt(case.time))
    return lambda params, x: ops.run(cell, params, x, chunk_size=size), params


def _unrolled(case: Case, weights: dict[str, Any]) -> tuple[Apply, Any]:
    """A Python loop over the one-step cell: what a scan spares."""
    if case.kind not in ops.CELLS:
        raise NoSuchLayerError("unrolled: recurrent layers only")
    cell, params = ours.cell_and_params(case, weights)
    start = cell.initial_carry(case.batch, case.features, jnp.float32)

    def apply(params: Any, x: Array) -> Array:
        carry, outputs = start, []
        for t in range(case.time):
            carry, y = ops.step(cell, params, carry, x[:, t])
            outputs.append(y)
        return jnp.stack(outputs, axis=1)

    return apply, params


def _repeated(case: Case, depth: int) -> tuple[Apply, Any]:
    """`seqjax.nn.Repeat`: a loop over layers that are alike."""
    return _module(nn.Repeat(nn.LAYERS[case.kind](case.features), depth=depth), case)


def _nn_stack(case: Case, depth: int) -> tuple[Apply, Any]:
    """`seqjax.nn.Stack`: the layers one by one."""
    return _module(nn.Stack(tuple(nn.LAYERS[case.kind](case.features) for _ in range(depth))), case)


def _module(module: Any, case: Case) -> tuple[Apply, Any]:
    x = jnp.zeros((case.batch, case.time, case.features))
    params = jax.jit(module.init)(jax.random.key(0), x)
    return lambda params, x: module.apply(params, x), params
