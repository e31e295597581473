"""Optimizers whose numbers are no constants: a search over them compiles once."""

import functools
from collections.abc import Callable
from typing import Any

import optax


def tunable(
    make: Callable[..., optax.GradientTransformation], **numbers: float
) -> optax.GradientTransformation:
    """``make(**numbers)``, its numbers kept in its state: another value compiles nothing anew.

    For searches over learning rates and the like; `fit` can track "learning_rate" of it.

    Args:
        make: such as `optax.adam`, or a function of one's own at the top of a module.
        **numbers: its arguments.

    Returns:
        The transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = tunable(optax.sgd, learning_rate=0.5)
        >>> updates, _ = optimizer.update(jnp.ones(1), optimizer.init(jnp.zeros(1)))
        >>> updates.tolist(), optimizer.update is tunable(optax.sgd, learning_rate=0.1).update
        ([-0.5], True)
    """
    update = _template(make, tuple(sorted(numbers))).update
    return optax.GradientTransformationExtraArgs(
        optax.inject_hyperparams(make)(**numbers).init, update
    )


@functools.cache
def _template(make: Callable[..., Any], names: tuple[str, ...]) -> Any:
    return optax.inject_hyperparams(make)(**dict.fromkeys(names, 0.0))


def cosine_adamw(
    learning_rate: float,
    steps: int,
    *,
    warm_up: int = 0,
    weight_decay: float = 1e-2,
    clip: float | None = 1.0,
) -> optax.GradientTransformation:
    """AdamW, its rate rising and falling within a training, its gradients clipped; `tunable`.

    Args:
        learning_rate: the highest.
        steps: of the training; at its end the rate is 0.
        warm_up: steps in which the rate rises linearly from 0; then it falls by half a cosine.
        weight_decay: of all parameters, times the rate.
        clip: the largest norm of a whole gradient; None for none.

    Returns:
        The transformation; another learning rate or weight decay compiles nothing anew, and
        `fit` can track "learning_rate": that of an epoch's last step.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = cosine_adamw(1e-3, steps=100, warm_up=10)
        >>> updates, _ = optimizer.update(jnp.ones(1), optimizer.init(jnp.ones(1)), jnp.ones(1))
        >>> updates.tolist()  # the first step of a warm-up
        [-0.0]

    Source: Loshchilov and Hutter, arXiv 1711.05101 and 1608.03983; clipping after Pascanu et
    al., arXiv 1211.5063.
    """
    numbers = {"highest": learning_rate, "weight_decay": weight_decay}
    return tunable(_cosine_adamw(steps, warm_up, clip), **numbers)


@functools.cache
def _cosine_adamw(
    steps: int, warm_up: int, clip: float | None
) -> Callable[..., optax.GradientTransformation]:
    shape = optax.cosine_decay_schedule(1.0, steps)
    if warm_up:
        shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, warm_up, steps)

    def make(highest: Any, weight_decay: Any) -> optax.GradientTransformation:
        def constant(learning_rate: Any) -> optax.GradientTransformation:
            return optax.adamw(learning_rate, weight_decay=weight_decay)

        # Injected, so that the state holds the rate of each step, which `fit` can track.
        adamw = optax.inject_hyperparams(constant)(lambda step: highest * shape(step))
        return adamw if clip is None else optax.chain(optax.clip_by_global_norm(clip), adamw)

    return make
