"""Training a forecaster's networks, and their forecasts."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from seqjax import train
from seqjax.forecast import mixture
from seqjax.forecast.arrays import Arrays, Windows, windows_at
from seqjax.forecast.heads import head_of
from seqjax.forecast.network import (
    Sizes,
    answer,
    answers_within,
    network_of,
    scaled_history,
)
from seqjax.forecast.settings import Settings

SAMPLED = 32  # batches on which the naive forecasts are measured, before training
CALLS = 20  # jitted calls of a training: what a progress bar shows


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
    plan, batch = _drawing(settings, per_epoch)
    batches = train.Batches(arrays, plan, batch, per_epoch)
    optimizer = train.cosine_adamw(
        settings.learning_rate, per_epoch * calls, weight_decay=settings.weight_decay
    )
    network = network_of(settings, sizes)
    saved = {}
    if checkpoints is not None:
        given = {"forecaster": dataclasses.asdict(settings)}
        saved["checkpoints"] = lambda seed: train.Checkpoints(
            checkpoints / f"seed-{seed}", given | {"seed": seed}, every=CALLS // 4 * per_epoch
        )
    yield from train.fit_seeds(
        _loss_of(settings, sizes),
        functools.partial(network.init, gate=_gate(settings)(arrays)),
        optimizer,
        batches,
        epochs=calls,
        seeds=seeds,
        progress=progress,
        **saved,
    )


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
        least = jnp.minimum(history, jnp.maximum(room // 2, 1))[series]
        most = jnp.maximum(room[series], least)
        share = jax.random.uniform(of_place, (steps, size))
        read = least + jnp.floor(share * (most - least + 1)).astype(jnp.int32)
        return series, arrays.starts[series] + jnp.minimum(read, most) - 1

    def batch(arrays: Arrays, row: tuple[Array, Array]) -> tuple[Any, Array]:
        series, last = row
        windows, targets = windows_at(arrays, series, last, history, horizon)
        # A window of missing values alone, or with nothing to forecast, counts nothing.
        some = jnp.any(jnp.isfinite(targets), axis=1)
        some &= jnp.any(jnp.isfinite(windows.history), axis=1)
        return (windows, targets), some.astype(jnp.float32)

    return plan, batch


@functools.cache
def _gate(settings: Settings) -> Callable[[Arrays], Array]:
    """Where training begins: how a gate of constant weights should mix the naive forecasts."""
    plan, batch = _drawing(settings, SAMPLED)

    def gate(arrays: Arrays) -> Array:
        def errors(row: tuple[Array, Array]) -> tuple[Array, Array]:
            (windows, targets), counted = batch(arrays, row)
            history, shift, width = scaled_history(settings, windows)
            scaled = (targets - shift[:, None]) / width[:, None]
            return mixture.errors(settings, history, scaled, counted > 0)

        total, count = lax.map(errors, plan(arrays, jax.random.key(0)))
        found = mixture.gate_of(settings, jnp.sum(total, axis=0), jnp.sum(count, axis=0))
        return jnp.pad(found, ((0, 0), (0, head_of(settings).outputs)))

    return jax.jit(gate)


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
def _windows(settings: Settings, ahead: int) -> Callable[[Arrays, Array, Array], Windows]:
    """Jitted: the windows of a forecast of so many steps.

    Apart from the forecast, since panels of different sizes then share that program.
    """
    history = settings.history
    return jax.jit(lambda arrays, series, last: windows_at(arrays, series, last, history, ahead)[0])


@functools.cache
def _blocks(settings: Settings, sizes: Sizes, blocks: int) -> Callable[..., Any]:
    """A jitted forecast of so many blocks of `answers` steps, each fed with those before it."""
    network, head, horizon = network_of(settings, sizes), head_of(settings), settings.answers

    def forecast(params: Any, windows: Windows, added: Array) -> Any:
        size, length = windows.history.shape

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

    return jax.jit(forecast)


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
    run, windows = _blocks(settings, sizes, blocks), _windows(settings, blocks * settings.answers)
    size = _round_up(len(series))
    pieces = []
    for begin in range(0, len(series), size):
        of_piece = slice(begin, begin + size)
        rows, places = (np.resize(one[of_piece], size) for one in (series, last))
        count = len(series[of_piece])
        extra = np.zeros((blocks, size, settings.answers), np.float32)
        if added is not None:
            split = added[of_piece].reshape(count, blocks, settings.answers)
            extra[:, :count] = np.moveaxis(split, 1, 0)
        read = windows(arrays, jnp.asarray(rows), jnp.asarray(places))
        found = run(params, read, jnp.asarray(extra))
        raw, point, shift, width = (np.asarray(one, np.float64)[:count] for one in found)
        pieces.append((raw[:, :horizon], point[:, :horizon], shift, width))
    raw, point, shift, width = (np.concatenate(one) for one in zip(*pieces, strict=True))
    unit, zero = (np.asarray(one, np.float64)[series] for one in (arrays.width, arrays.shift))
    point = point * unit[:, None] + zero[:, None]
    return Outputs(raw, point, shift * unit + zero, width * unit)


def _round_up(count: int) -> int:
    """A batch's size: few different ones, so few compilations."""
    return min(256, 1 << max(count - 1, 0).bit_length())
