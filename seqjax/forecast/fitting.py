"""Training a forecaster's networks, and their forecasts."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqjax import train
from seqjax.forecast import mixture
from seqjax.forecast.arrays import Array, Arrays, Windows, numpy_of, windows_at
from seqjax.forecast.heads import head_of
from seqjax.forecast.network import (
    Sizes,
    answer,
    answers_within,
    network_of,
    scaled_history,
)
from seqjax.forecast.settings import Settings

SAMPLED = 1024  # windows on which the naive forecasts are measured, before training
NUMBERS = 4_000_000  # of those forecasts, at most
CALLS = 20  # jitted calls of a training: what a progress bar shows
# Of programs that run once or twice: made quickly, not to be quick.
ONCE: Any = {"xla_backend_optimization_level": 0}


class Outputs(NamedTuple):
    """Forecasts of windows, in the unit of the series.

    Attributes:
        raw: [B, horizon, N], the head's outputs on the scale of the window.
        point: [B, horizon]
        shift: [B], of the windows.
        width: [B], of the windows.
    """

    raw: np.ndarray
    point: np.ndarray
    shift: np.ndarray
    width: np.ndarray


def fit_networks(
    settings: Settings,
    sizes: Sizes,
    arrays: Arrays,
    *,
    seeds: tuple[int, ...],
    progress: str | None = None,
    checkpoints: Path | None = None,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a network for each seed on windows drawn from a panel.

    Args:
        settings: resolved.
        sizes: of the network.
        arrays: the panel; only values before its stops are targets.
        seeds: the seeds.
        progress: a label for a progress bar.
        checkpoints: a folder, to resume from.

    Yields:
        ``(seed, fit)``, see `seqjax.train.fit_seeds`.
    """
    calls = min(CALLS, settings.steps)
    per_epoch = -(-settings.steps // calls)
    calls = -(-settings.steps // per_epoch)
    plan, batch = _drawing(settings, per_epoch)
    batches = train.Batches(arrays, plan, batch, per_epoch)
    assert settings.learning_rate is not None
    optimizer = train.cosine_adamw(
        settings.learning_rate, per_epoch * calls, weight_decay=settings.weight_decay
    )
    initial = functools.partial(_initial(settings, sizes), gate=_gate(settings, arrays))
    saved = {}
    if checkpoints is not None:
        given = {"forecaster": dataclasses.asdict(settings)}
        saved["checkpoints"] = lambda seed: train.Checkpoints(
            checkpoints / f"seed-{seed}", given | {"seed": seed}, every=CALLS // 4 * per_epoch
        )
    yield from train.fit_seeds(
        _loss_of(settings, sizes),
        initial,
        optimizer,
        batches,
        epochs=calls,
        seeds=seeds,
        progress=progress,
        compiler_options=_brief(settings),
        **saved,
    )


def _brief(settings: Settings) -> Any:
    """Options of XLA that compile sooner, for programs that run for seconds only.

    A training's program takes 6.0 or 3.9 s of a core in place of 7.7, its steps 2 or 6 % longer
    (GRU 64-64, jax 0.10.2). None where it is told to optimise still less, as in tests.
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return None
    read = settings.seeds * settings.steps * settings.window  # of 10,000 steps three seconds
    less = {"xla_backend_optimization_level": 1} if read < 30_000 else None
    return less | _without_emitters() if less and read < 10_000 else less


@functools.cache
def _without_emitters() -> dict[str, Any]:
    """An option of XLA; {} where there is none, as in jaxlib 0.11."""
    option = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=option).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return option


@functools.cache  # the same functions for the same arguments: see `train.Batches`
def _drawing(settings: Settings, steps: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How windows are drawn: a series, each as likely as the others, and a place in it."""
    size, history, horizon = settings.batch_size, settings.history, settings.answers

    def plan(arrays: Arrays, key: Array) -> tuple[Array, Array]:
        of_series, of_place = jax.random.split(key)
        lengths = arrays.stops - arrays.starts
        some = jnp.argsort(lengths < 2, stable=True)  # of one value nothing can be learned
        number = jax.random.uniform(of_series, (steps, size)) * jnp.sum(lengths > 1)
        series = some[number.astype(jnp.int32)]
        # Of short series windows that begin before them, with half of their values at least.
        room = jnp.maximum(lengths - horizon, 1)
        least = jnp.minimum(settings.read, jnp.maximum(room // 2, 1))[series]
        most = jnp.maximum(room[series], least)
        share = jax.random.uniform(of_place, (steps, size))
        read = least + jnp.floor(share * (most - least + 1)).astype(jnp.int32)
        return series, arrays.starts[series] + jnp.minimum(read, most) - 1

    def batch(arrays: Arrays, row: tuple[Array, Array]) -> tuple[Any, Array]:
        series, last = row
        windows, targets = windows_at(arrays, series, last, history, horizon)
        # A window of missing values alone, or with nothing to forecast, counts nothing.
        xp = numpy_of(targets)
        some = xp.any(xp.isfinite(targets), axis=1)
        some &= xp.any(xp.isfinite(windows.history), axis=1)
        return (windows, targets), some.astype(np.float32)

    return plan, batch


def _gate(settings: Settings, arrays: Arrays) -> mixture.Gate:
    """Where training begins: how a gate of constant weights mixes the naive forecasts best.

    The windows by NumPy: what runs once is not worth two seconds of compilation.
    """
    each = settings.answers * len(mixture.naive_names(settings))
    count = max(1, min(SAMPLED, NUMBERS // each) // settings.batch_size)
    plan, batch = _drawing(settings, count)
    drawn = jax.jit(plan, compiler_options=ONCE)(arrays, jax.random.key(0))
    row = tuple(np.asarray(one).reshape(-1) for one in drawn)
    (windows, targets), counted = batch(arrays, row)
    history, shift, width = scaled_history(settings, windows)
    scaled = (targets - shift[:, None]) / width[:, None]
    values = int(np.sum(arrays.stops - arrays.starts))
    return mixture.stacked(mixture.naive_of(settings, history), scaled, counted > 0, values)


@functools.cache
def _initial(settings: Settings, sizes: Sizes) -> Callable[..., Any]:
    """`Network.init` as one program."""
    return jax.jit(network_of(settings, sizes).init, compiler_options=ONCE)


@functools.cache
def _loss_of(settings: Settings, sizes: Sizes) -> Callable[..., train.Losses]:
    network, head = network_of(settings, sizes), head_of(settings)
    every = settings.strategy == "sequence"
    horizon, steps = settings.answers, settings.window

    def loss(params: Any, batch: tuple[Windows, Array], key: Array | None) -> train.Losses:
        windows, targets = batch
        answers = answers_within if every else answer
        found = answers(network, settings, params, windows, key)
        if every:  # the values that follow each step of the window
            around = jnp.concatenate([windows.history, targets], axis=1)
            first = windows.history.shape[1] - steps + 1
            places = first + jnp.arange(steps)[:, None] + jnp.arange(horizon)[None, :]
            targets = around[:, places]
        shift, width = (lax.expand_dims(one, range(1, targets.ndim)) for one in found[1:])
        known = jnp.isfinite(targets)
        scaled = (jnp.where(known, targets, 0.0) - shift) / width
        unit = width * lax.expand_dims(windows.width, range(1, targets.ndim))
        losses = head.losses(found.outputs, jnp.where(known, scaled, 0.0), unit)
        count = jnp.sum(known, axis=tuple(range(1, targets.ndim)))
        total = jnp.sum(jnp.where(known, losses, 0.0), axis=tuple(range(1, targets.ndim)))
        return train.Losses(total / jnp.maximum(count, 1))

    return loss


@functools.cache
def _blocks(settings: Settings, sizes: Sizes, blocks: int, size: int) -> Callable[..., Any]:
    """A jitted forecast of so many blocks of `answers` steps, each fed with those before it.

    Of batches of `size` windows.
    """
    network, head, horizon = network_of(settings, sizes), head_of(settings), settings.answers

    def forecast(params: Any, windows: Windows, added: Array) -> Any:
        length = windows.history.shape[1]

        def block(history: Array, inputs: tuple[Array, Array]) -> tuple[Array, Any]:
            number, more = inputs
            ahead = lax.dynamic_slice_in_dim(
                windows.ahead, number * horizon, length + horizon, axis=1
            )
            # What is known up to now is not known ahead: its last values are kept.
            shifted = jnp.minimum(jnp.arange(length) + number * horizon, length - 1)
            now = windows._replace(history=history, ahead=ahead, past=windows.past[:, shifted])
            found = answer(network, settings, params, now)
            scaled = head.point(found.outputs)
            shift, width = found.shift[:, None], found.width[:, None]
            point = (scaled + more) * width + shift
            history = jnp.concatenate([history, point], axis=1)[:, -length:]
            return history, (found.outputs, point, found.shift, found.width)

        numbers = jnp.arange(blocks)
        _, (raw, point, shift, width) = lax.scan(block, windows.history, (numbers, added))
        raw, point = (jnp.moveaxis(one, 0, 1) for one in (raw, point))
        joined = (size, blocks * horizon)
        # Of the scales the first: that of what is known.
        return raw.reshape(*joined, -1), point.reshape(joined), shift[0], width[0]

    return jax.jit(forecast, compiler_options=_brief(settings) if size == FEW else None)


# Sizes of a batch, and up to how many windows the first is taken. A program for each costs two
# seconds of compilation, as much as ten thousand windows; one series alone is no slower for it.
FEW, MANY_AT_ONCE, MANY = 16, 256, 4096


def forecasts(
    settings: Settings,
    sizes: Sizes,
    params: Any,
    arrays: Arrays,
    series: np.ndarray,
    last: np.ndarray,
    horizon: int,
    added: np.ndarray | None = None,
) -> Outputs:
    """Forecasts behind given places of a panel.

    Args:
        settings: of the forecaster.
        sizes: of the network.
        params: of one seed.
        arrays: the panel.
        series: [B], which series.
        last: [B], the place of the last value that is known.
        horizon: steps; more than the network's own are forecast block by block.
        added: [B, steps of all blocks], on the scale of the window: what is added to every
            forecast before the next block reads it, for sample paths. None adds nothing.

    Returns:
        The forecasts; `raw` behind the first block is on the scale of its own window.
    """
    blocks = -(-horizon // settings.answers)
    size = FEW if len(series) <= MANY else MANY_AT_ONCE
    run, ahead = _blocks(settings, sizes, blocks, size), blocks * settings.answers
    pieces = []
    for begin in range(0, len(series), size):
        of_piece = slice(begin, begin + size)
        rows, places = (np.resize(one[of_piece], size) for one in (series, last))
        count = len(series[of_piece])
        extra = np.zeros((blocks, size, settings.answers), np.float32)
        if added is not None:
            split = added[of_piece].reshape(count, blocks, settings.answers)
            extra[:, :count] = np.moveaxis(split, 1, 0)
        windows, _ = windows_at(arrays, rows, places, settings.history, ahead)
        found = run(params, windows, extra)
        raw, point, shift, width = (np.asarray(one, np.float64)[:count] for one in found)
        pieces.append((raw[:, :horizon], point[:, :horizon], shift, width))
    raw, point, shift, width = (np.concatenate(one) for one in zip(*pieces, strict=True))
    unit, zero = (np.asarray(one, np.float64)[series] for one in (arrays.width, arrays.shift))
    point = point * unit[:, None] + zero[:, None]
    return Outputs(raw, point, shift * unit + zero, width * unit)
