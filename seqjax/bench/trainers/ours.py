"""The contestants of this package: `train.fit`, and `train.fit_seeds` over all cores."""

import statistics
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from seqjax import losses, models, nn, train
from seqjax.bench.tasks import (
    BATCH,
    DILATIONS,
    FEATURES,
    HORIZON,
    MILK_DROPOUT,
    MILK_FEATURES,
    TEXT_EMBEDDING,
    TEXT_FEATURES,
    TEXT_VOCABULARY,
    Name,
    Task,
    make_examples,
    prepared,
)
from seqjax.bench.worker import Prepared
from seqjax.train.steps import Place, Program, initial_state, train_steps


def training(task: dict[str, Any], seeds: int = 1) -> Prepared:
    """The task with `train.fit`; several seeds at once with `train.fit_seeds`."""
    if seeds > 1 and jax.config.values["jax_num_cpu_devices"] != seeds:
        jax.config.update("jax_num_cpu_devices", seeds)
    found = Task(**task)
    model = make_model(found.name)
    batches, validation = (
        train.array_batches(part._asdict(), BATCH, shuffle=shuffle)
        for part, shuffle in zip(make_examples(found), (True, False), strict=True)
    )
    optimizer = optax.adam(found.learning_rate)

    def loss(params: Any, batch: dict[str, Array], key: Array | None) -> Array:
        y = model.apply(params, batch["x"], key=key)
        if found.name == "text":
            return jnp.mean(losses.cross_entropy(y, batch["y"]), axis=1)
        squares = (y - batch["y"]) ** 2
        return jnp.mean(squares, axis=tuple(range(1, squares.ndim)))

    params = model.init(jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))

    def fit(epochs: int) -> float:
        done = train.fit(loss, params, optimizer, batches, epochs=epochs, validation=validation)
        return done.history[-1]["validation_loss"]

    def fit_seeds(epochs: int) -> float:
        runs = train.fit_seeds(
            loss,
            model.init,
            optimizer,
            batches,
            epochs=epochs,
            seeds=range(seeds),
            validation=validation,
        )
        return statistics.fmean(done.history[-1]["validation_loss"] for _, done in runs)

    if seeds > 1:
        # Several seeds share their devices' steps: there is no step of one to time.
        return prepared(found, parameters, fit_seeds)
    jitted = jax.jit(train_steps, static_argnums=(0, 1), donate_argnames="state")
    batch = train.array_batches(
        jax.tree.map(lambda a: a[:BATCH], batches.data), BATCH, shuffle=False
    )
    update = optax.with_extra_args_support(optimizer).update
    program = Program(loss, update, batch.plan, batch.batch)
    state = initial_state(optimizer, False, False, jax.tree.map(jnp.copy, params))
    key, zero = jax.random.key(0), jnp.int32(0)
    at = Place(epoch=zero, first=zero, fresh=jnp.bool_(True), limit=jnp.int32(10))

    def step() -> None:
        nonlocal state
        state = jitted(program, 1, state, batch.data, key, None, at)
        jax.block_until_ready(state)

    return prepared(found, parameters, fit, step)


def make_model(name: Name) -> models.Model:
    """The model of a task."""
    if name == "text":
        return models.language_model(
            "lstm",
            vocab_size=TEXT_VOCABULARY,
            features=(TEXT_FEATURES,),
            embedding=TEXT_EMBEDDING,
        )
    if name == "milk":
        widths = (MILK_FEATURES, MILK_FEATURES)
        return models.make(
            "lstm", inputs=1, features=widths, outputs=1, last=True, dropout=MILK_DROPOUT
        )
    if name == "wavenet":
        layers = [nn.CausalConv(FEATURES, 2, dilation=d, activation=jax.nn.relu) for d in DILATIONS]
    else:
        layers = [nn.LAYERS[name](FEATURES) for _ in range(2)]
    return models.from_layer(nn.Stack((*layers, nn.Dense(HORIZON))), inputs=1)
