"""The contestants of the benchmark of generation: a carry, or everything once more.

Both draw ``value = y + NOISE * normal(fold_in(key, sample))`` from the same weights after
the same context. Dimensions: B batch, T steps of the context, N samples.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from seqjax import models, nn
from seqjax.bench.worker import Prepared

Kind = Literal["rnn", "lstm", "wavenet"]
Generator: TypeAlias = Callable[[models.Model, Any, Array, int, Array], Array]
"""``(model, params, x [B, T, 1], samples, key) -> [B, N, 1]``"""

NOISE = 0.3
RECURRENT_LAYERS = 2
RECURRENT_CONTEXT = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """One model, and how much it generates.

    Attributes:
        kind: "rnn" and "lstm" are `RECURRENT_LAYERS` layers under a dense head;
            "wavenet" is `seqjax.nn.WaveNet`, gated, with dilations 2, 4, 8, ... above its
            first convolution.
        samples: to generate, at least 2.
        receptive_field: of a WaveNet, a power of 2, at least 4; None for what remembers
            everything.
        features: width.
        batch: sequences.
    """

    kind: Kind
    samples: int
    receptive_field: int | None = None
    features: int = 32
    batch: int = 1

    @property
    def layers(self) -> int:
        """Recurrent layers, or causal convolutions (of two taps)."""
        if self.receptive_field is None:
            return RECURRENT_LAYERS
        return self.receptive_field.bit_length() - 1

    @property
    def context(self) -> int:
        """Steps known before the first sample: a WaveNet's whole receptive field."""
        return RECURRENT_CONTEXT if self.receptive_field is None else self.receptive_field


def make_model(case: Case) -> models.Model:
    """The case's model, of one input and one output."""
    if case.kind != "wavenet":
        features = (case.features,) * case.layers
        return models.make(case.kind, inputs=1, features=features, outputs=1)
    dilations = tuple(2**k for k in range(1, case.layers))
    layer = nn.WaveNet(1, dilations=dilations, residual_features=case.features)
    assert layer.receptive_field == case.receptive_field
    return models.from_layer(layer, inputs=1)


def cached(case: dict[str, Any]) -> Prepared:
    """`seqjax.models.generate`."""
    return _prepared(Case(**case), _generate)


def recomputed(case: dict[str, Any]) -> Prepared:
    """The model over everything that a sample depends on, for every sample."""
    found = Case(**case)
    return _prepared(found, _from_prefix if found.receptive_field is None else _from_window)


def _generate(model: models.Model, params: Any, x: Array, samples: int, key: Array) -> Array:
    """[B, N, 1] after the context x [B, T, 1], as the two below."""
    return models.generate(model, params, x, samples, key=key, sample=_sample)


def _sample(key: Array, y: Array) -> Array:
    return y + NOISE * jax.random.normal(key, y.shape, y.dtype)


def _from_window(model: models.Model, params: Any, x: Array, samples: int, key: Array) -> Array:
    """The last T steps, moved on by one with every sample."""

    def step(window: Array, number: Array) -> tuple[Array, Array]:
        y = model.apply(params, window)[:, -1]
        value = _sample(jax.random.fold_in(key, number), y)
        return jnp.concatenate([window[:, 1:], value[:, None]], axis=1), value

    return jnp.swapaxes(lax.scan(step, x, jnp.arange(samples))[1], 0, 1)


def _from_prefix(model: models.Model, params: Any, x: Array, samples: int, key: Array) -> Array:
    """All steps so far, in a buffer of twice the length whenever one is full.

    Compiled shapes are fixed: one buffer for all samples would cost the whole length
    from the first sample on.
    """
    context = x.shape[1]
    end = context + samples
    known, length = x, context
    while length < end:
        first, length = length, min(2 * length, end)
        buffer = jnp.pad(known, ((0, 0), (0, length - first), (0, 0)))

        def step(position: Array, buffer: Array) -> Array:
            y = model.apply(params, buffer)
            y = lax.dynamic_index_in_dim(y, position - 1, axis=1, keepdims=False)
            value = _sample(jax.random.fold_in(key, position - context), y)
            return lax.dynamic_update_index_in_dim(buffer, value, position, axis=1)

        known = lax.fori_loop(first, length, step, buffer)
    return known[:, context:]


def _prepared(case: Case, generate: Generator) -> Prepared:
    # Cases that differ in their samples alone share a model: compiled once for all.
    model, params = _model_and_params(dataclasses.replace(case, samples=0))
    x = jax.random.normal(jax.random.key(1), (case.batch, case.context, 1))
    key = jax.random.key(2)

    def run(samples: int) -> Array:
        return jax.block_until_ready(_run(generate, model, samples, params, x, key))

    # The first sample apart: it takes the cached contestant the reading of the context.
    programs: dict[str, Callable[[], object]] = {
        "first sample": lambda: run(1),
        "all samples": lambda: run(case.samples),
    }
    return Prepared(programs, lambda: {"samples": np.asarray(run(case.samples))})


@functools.cache
def _model_and_params(case: Case) -> tuple[models.Model, Any]:
    model = make_model(case)
    return model, model.init(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    generate: Generator, model: models.Model, samples: int, params: Any, x: Array, key: Array
) -> Array:
    return generate(model, params, x, samples, key)
