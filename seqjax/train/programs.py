"""Training's programs, compiled: for one seed, or for several over the devices of a mesh.

States, keys and results have the seeds along their first axis; data is shared.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seqjax.train.mesh import replicate
from seqjax.train.steps import (
    Params,
    Place,
    Program,
    Sums,
    TrainState,
    initial_state,
    keep_best,
    train_steps,
    validation_sums,
)

_SEED, _SHARED = PartitionSpec("seed"), PartitionSpec()


class Layout(NamedTuple):
    """Where the seeds of a training are.

    Attributes:
        over: what the one seed's batches are split over (`data_mesh`); or None.
        mesh: with the axis "seed"; None for one seed.
        local: seeds side by side on each of its devices.
    """

    over: Mesh | None = None
    mesh: Mesh | None = None
    local: int = 1

    @property
    def seeds(self) -> int:
        """How many there is room for."""
        return self.local * (1 if self.mesh is None else self.mesh.size)

    @property
    def words(self) -> str:
        """The devices that it is on, where there are several: " on 3 of 8 devices"."""
        if jax.device_count() == 1:
            return ""
        if self.over is not None:
            return f", batches split over {self.over.size} of {jax.device_count()} devices"
        return f" on {1 if self.mesh is None else self.mesh.size} of {jax.device_count()} devices"

    def fewer(self, seeds: int) -> "Layout":
        """For so many of the seeds."""
        if self.mesh is None or seeds == self.seeds:
            return self
        needed = -(-seeds // self.local)
        mesh = Mesh(self.mesh.devices.reshape(-1)[:needed], ("seed",))
        return Layout(mesh=mesh, local=-(-seeds // needed))

    def share(self, tree: Any) -> Any:
        """`tree` where every seed reads it."""
        if self.mesh is not None:
            return jax.device_put(tree, NamedSharding(self.mesh, _SHARED))
        return self.place(tree)

    def place(self, tree: Any) -> Any:
        """A seed's tree where it is alone: on the devices that its batches are split over."""
        return tree if self.over is None else replicate(self.over, tree)

    def stack(self, trees: Sequence[Any]) -> Any:
        """Each seed's tree, the last once more where there is room, along the first axis."""
        filled = [*trees, *[trees[-1]] * (self.seeds - len(trees))]
        if self.mesh is not None:
            return jax.device_put(_stack(filled), NamedSharding(self.mesh, _SEED))
        if self.over is None:
            return _stack(filled)
        everywhere = NamedSharding(self.over, _SHARED)
        return jax.jit(_stack, out_shardings=everywhere)([self.place(tree) for tree in filled])

    def of(self, index: int, tree: Any) -> Any:
        """One seed's part of a stacked tree, where that of a seed alone would be."""
        if self.mesh is None:
            return _of(index, tree)
        everywhere = NamedSharding(self.mesh, _SHARED)
        return self.alone(jax.jit(_of, out_shardings=everywhere)(index, tree))

    def alone(self, tree: Any) -> Any:
        """What seeds share, on one device."""
        return tree if self.mesh is None else jax.device_put(tree, self.mesh.devices.flat[0])


@jax.jit
def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def _of(index: Any, tree: Any) -> Any:
    return jax.tree.map(lambda a: a[index], tree)


def over_seeds(layout: Layout, one: Callable[[Any, Any], Any], mine: Any, shared: Any) -> Any:
    """``one(of the seed, shared)`` for every seed along the first axis of `mine`."""

    def on_device(mine: Any, shared: Any) -> Any:
        if layout.local > 1:
            return jax.vmap(one, in_axes=(0, None))(mine, shared)
        # Without a batch axis of 1 in the way, a seed among several runs what one alone runs.
        result = one(jax.tree.map(lambda a: a[0], mine), shared)
        return jax.tree.map(lambda a: a[None], result)

    if layout.mesh is None:
        return on_device(mine, shared)
    # Seeds never meet, so there is nothing for the check of replication to find.
    return jax.shard_map(
        on_device,
        mesh=layout.mesh,
        in_specs=(_SEED, _SHARED),
        out_specs=_SEED,
        check_vma=False,
    )(mine, shared)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def start(
    optimizer: optax.GradientTransformation,
    keep_best: bool,
    track_norm: bool,
    metrics: tuple[str, ...],
    params: Params,
    opt_state: Any,
    carry: Any,
) -> TrainState:
    """The state of one seed before its first step."""
    return initial_state(optimizer, keep_best, track_norm, params, opt_state, carry, metrics)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnames="states")
def train(
    layout: Layout,
    program: Program,
    steps: int,
    states: TrainState,
    keys: Array,
    data: Any,
    carry: Any,
    at: Place,
) -> TrainState:
    """See `train_steps`."""

    def one(mine: tuple[TrainState, Array], shared: tuple[Any, Any, Place]) -> TrainState:
        state, key = mine
        data, carry, at = shared
        return train_steps(program, steps, state, data, key, carry, at)

    return over_seeds(layout, one, (states, keys), (data, carry, at))


@functools.cache
def train_with(options: tuple[tuple[str, Any], ...]) -> Any:
    """`train`, compiled with options of XLA."""
    jitted: Any = train
    how: Any = {"static_argnums": (0, 1, 2), "donate_argnames": "states"}
    return jax.jit(jitted.__wrapped__, compiler_options=dict(options), **how) if options else train


@functools.partial(jax.jit, static_argnums=(0, 1))
def validate(
    layout: Layout, program: Program, params: Params, carries: Any, data: Any
) -> tuple[Sums, Any]:
    """See `validation_sums`."""

    def one(mine: tuple[Params, Any], data: Any) -> tuple[Sums, Any]:
        return validation_sums(program, mine[0], data, mine[1])

    return over_seeds(layout, one, (params, carries), data)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnames="states")
def keep_bests(layout: Layout, sign: int, states: TrainState, figures: Array) -> TrainState:
    """See `keep_best`."""

    def one(mine: tuple[TrainState, Array], _: Any) -> TrainState:
        return keep_best(sign, *mine)

    return over_seeds(layout, one, (states, figures), ())


def keys_of(layout: Layout, seeds: Sequence[int]) -> Any:
    """The random key of each seed."""
    return layout.stack([key_of(seed) for seed in seeds])


def key_of(seed: Any) -> Array:
    """The random key of a seed; errors: see `checked_seed`."""
    return jax.random.key(checked_seed(seed))


def checked_seed(seed: Any) -> int:
    """A seed as a number of Python.

    Raises:
        ValueError: for what is no whole number of 32 bits: two of them would be one seed.
    """
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise ValueError(f"a seed is a whole number from 0 to {2**32 - 1}, not {seed!r}.")
    return number
