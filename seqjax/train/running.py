"""Running statistics beside trained parameters, kept from the optimizer."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

_STATISTICS = frozenset({"running_mean", "running_variance"})  # as `seqjax.nn.BatchNorm` names them


@functools.lru_cache(maxsize=64)  # the same for the same optimizer: what it does compiles once
def with_running_statistics(
    optimizer: optax.GradientTransformation, momentum: float = 0.99
) -> optax.GradientTransformation:
    """`optimizer` for trained parameters, a moving average for running statistics.

    Running statistics are the leaves named ``running_mean`` and ``running_variance``; a layer
    such as `seqjax.nn.BatchNorm` gives them their distance from the batch's statistics for a
    gradient. Each step moves them by ``1 - momentum`` of it. `fit` and `fit_seeds` do this
    themselves where parameters hold such leaves: it is for another momentum, and for
    loops of one's own.

    Args:
        optimizer: for all other leaves; its clipping and schedule see these alone.
        momentum: of the moving average.

    Returns:
        The transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"scale": jnp.ones(1), "running_mean": jnp.zeros(1)}
        >>> transformation = with_running_statistics(optax.adam(0.1), momentum=0.75)
        >>> gradient = {"scale": jnp.ones(1), "running_mean": jnp.array([-4.0])}
        >>> updates, _ = transformation.update(gradient, transformation.init(params), params)
        >>> updates["running_mean"].tolist()
        [1.0]
    """
    return optax.partition({"trained": optimizer, "running": optax.sgd(1 - momentum)}, _labels)


def statistics_apart(
    optimizer: optax.GradientTransformation, params: Any
) -> optax.GradientTransformation:
    """`with_running_statistics`, where `params` hold some and `optimizer` has not heard of it."""

    def partitioned(node: Any) -> bool:
        return isinstance(node, optax.transforms.PartitionState)

    if "running" not in jax.tree.leaves(_labels(params)):
        return optimizer
    state = jax.eval_shape(optimizer.init, params)
    if any(map(partitioned, jax.tree.leaves(state, is_leaf=partitioned))):
        return optimizer
    return with_running_statistics(optimizer)


@functools.lru_cache(maxsize=64)  # likewise
def update_of(optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """Its update, which takes ``value=`` whether it wants it or not."""
    return optax.with_extra_args_support(optimizer).update


def trained_leaves(tree: Any) -> list[Any]:
    """The leaves of parameters, or of their gradient, but for running statistics."""
    return [leaf for path, leaf in jax.tree.leaves_with_path(tree) if not _is_statistic(path)]


def _is_statistic(path: tuple[Any, ...]) -> bool:
    return bool(path) and getattr(path[-1], "key", getattr(path[-1], "name", "")) in _STATISTICS


def _labels(params: Any) -> Any:
    return jax.tree.map_with_path(
        lambda path, _: "running" if _is_statistic(path) else "trained", params
    )
