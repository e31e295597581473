"""What a loss may return beside one loss for each example: weights, a carry, metrics."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models
from seqjax.ops.layout import choices, choose_layout
from seqjax.train import (
    Checkpoints,
    EarlyStopping,
    Losses,
    array_batches,
    evaluate_metrics,
    fit,
    fit_seeds,
    stream,
    tunable,
    with_running_statistics,
)

RNG = np.random.default_rng(0)
LENGTHS = np.array([5, 1, 3, 0, 2, 4, 1])
X = RNG.normal(size=(7, 5)).astype(np.float32)
Y = RNG.integers(0, 2, (7, 5))
BATCHES = array_batches({"x": X, "y": Y, "n": LENGTHS}, 3)
START = {"w": jnp.float32(0.1), "b": jnp.float32(0.0)}


def of_tokens(params, batch, key):
    """Each token's loss, NaN in the padding, and whether it is right."""
    valid = jnp.arange(5)[None, :] < batch["n"][:, None]
    logits = batch["x"] * params["w"] + params["b"]
    losses = optax.sigmoid_binary_cross_entropy(logits, batch["y"])
    right = (logits > 0) == batch["y"]
    weights = valid.astype(jnp.float32)
    return Losses(
        jnp.where(valid, losses, jnp.nan), weights, metrics={"accuracy": (right, weights)}
    )


def flat_mean(params):
    """The same over all tokens in one row."""
    rows = [
        (x, y)
        for x, y, n in zip(X, Y, LENGTHS, strict=True)
        for x, y in zip(x[:n], y[:n], strict=True)
    ]
    x, y = (jnp.array(column) for column in zip(*rows, strict=True))
    logits = x * params["w"] + params["b"]
    losses = optax.sigmoid_binary_cross_entropy(logits, y)
    return jnp.mean(losses), jnp.mean((logits > 0) == y)


def test_means_over_unequal_lengths_are_exact():
    """Whatever the batches: a mean over tokens, not one of means over sequences or batches."""
    for size in (2, 3, 7):
        found = evaluate_metrics(of_tokens, START, array_batches(BATCHES.data, size))
        loss, accuracy = flat_mean(START)
        assert found == pytest.approx({"loss": float(loss), "accuracy": float(accuracy)}, rel=1e-6)
    whole = array_batches(BATCHES.data, 7)
    done = fit(of_tokens, START, optax.sgd(0.5), whole, epochs=1, validation=whole)
    gradient = jax.grad(lambda params: flat_mean(params)[0])(START)
    for name, start in START.items():
        expected = start - 0.5 * gradient[name]
        np.testing.assert_allclose(done.params[name], expected, rtol=1e-5)
    assert done.history[0]["loss"] == pytest.approx(float(flat_mean(START)[0]), rel=1e-6)
    accuracy = float(flat_mean(done.params)[1])
    assert done.history[0]["validation_accuracy"] == pytest.approx(accuracy)


def test_the_best_epoch_by_a_metric():
    def loss(params, batch, key):
        distance = jnp.abs(params["w"] - 0.5) * jnp.ones_like(batch["x"][:, 0])
        return Losses((params["w"] - 2.0) ** 2 + 0 * distance, metrics={"near": -distance})

    options = {"epochs": 40, "validation": BATCHES}
    stopping = EarlyStopping(3, metric="near", mode="max")
    done = fit(loss, START, optax.sgd(0.02), BATCHES, early_stopping=stopping, **options)
    near = [line["validation_near"] for line in done.history]
    best = int(np.argmax(near))
    assert len(near) == best + 1 + 3 < 40
    assert -abs(float(done.params["w"]) - 0.5) == pytest.approx(near[best])
    with pytest.raises(ValueError, match="watches 'nearer', but validation gives loss, near"):
        fit(
            loss,
            START,
            optax.sgd(0.1),
            BATCHES,
            early_stopping=EarlyStopping(3, "nearer"),
            **options,
        )


# -- a carry from batch to batch -----------------------------------------------------


SERIES = RNG.normal(size=(4, 24)).astype(np.float32)  # two sequences side by side, in pieces of 6
PIECES = array_batches(
    {"x": SERIES.reshape(2, 2, 4, 6).transpose(0, 2, 1, 3).reshape(16, 6)[:8]}, 2, shuffle=False
)


def smoothed(params, batch, key, carry):
    """An average that runs over the pieces; its gradient stays within one."""
    values = []
    for t in range(6):
        carry = params["w"] * carry + (1 - params["w"]) * batch["x"][:, t]
        values.append((batch["x"][:, t] - carry) ** 2)
    return Losses(jnp.stack(values, axis=1), carry=carry)


def by_hand(start, steps, rate=0.1):
    w, carry, losses = start, jnp.zeros(2), []
    for step in range(steps):
        if step % 4 == 0:
            carry = jnp.zeros(2)
        batch = {"x": PIECES.data["x"][2 * (step % 4) : 2 * (step % 4) + 2]}

        def value(w, batch=batch, carry=carry):
            found = smoothed({"w": w}, batch, None, carry)
            return jnp.mean(found.values), found.carry

        (loss, carry), gradient = jax.value_and_grad(value, has_aux=True)(w)
        w, losses = w - rate * gradient, [*losses, float(loss)]
    return w, carry, losses


def test_a_carry_goes_from_batch_to_batch_and_begins_anew_with_each_epoch(tmp_path):
    """Truncated back-propagation over a text in pieces; saved in the middle of an epoch."""
    params, start = {"w": jnp.float32(0.5)}, jnp.zeros(2)
    how = {"epochs": 2, "carry": start, "validation": PIECES, "steps_per_call": 3}
    done = fit(smoothed, params, optax.sgd(0.1), PIECES, **how)
    w, carry, losses = by_hand(jnp.float32(0.5), 8)
    np.testing.assert_allclose(done.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(done.state.carry, carry, rtol=1e-5)
    assert done.history[1]["loss"] == pytest.approx(np.mean(losses[4:]), rel=1e-5)
    _, _, expected = by_hand(w, 4, rate=0.0)  # validation: the pieces in a row, from the start
    assert done.history[1]["validation_loss"] == pytest.approx(np.mean(expected), rel=1e-5)

    asked = iter([False, False, True, True])
    with Checkpoints(tmp_path, {}, every=100) as saves, pytest.raises(Exception, match="step 4"):
        fit(
            smoothed,
            params,
            optax.sgd(0.1),
            PIECES,
            checkpoints=saves,
            stop=lambda: next(asked),
            **how,
        )
    with Checkpoints(tmp_path, {}, every=100) as saves:
        resumed = fit(smoothed, params, optax.sgd(0.1), PIECES, checkpoints=saves, **how)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, done.state)
    assert resumed.history == done.history  # without a log


def test_each_seed_carries_its_own():
    def init(key):
        return {"w": jax.random.uniform(key)}

    runs = fit_seeds(
        smoothed, init, optax.sgd(0.1), PIECES, epochs=2, seeds=(0, 1, 2), carry=jnp.zeros(2)
    )
    for seed, done in runs:
        w, carry, _ = by_hand(init(jax.random.key(seed))["w"], 8)
        np.testing.assert_allclose(done.state.carry, carry, rtol=1e-4)
        np.testing.assert_allclose(done.params["w"], w, rtol=1e-4)


def test_a_skipped_step_leaves_the_carry():
    def loss(params, batch, key, carry):
        bad = jnp.where(batch["i"] == 1, jnp.nan, 1.0)
        return Losses((params["w"] - 1.0) ** 2 * bad, carry=carry + jnp.mean(bad))

    batches = array_batches({"i": np.repeat(np.arange(3), 2)}, 2, shuffle=False)
    done = fit(loss, {"w": 0.0}, optax.sgd(0.1), batches, epochs=1, carry=jnp.zeros(()))
    assert float(done.state.carry) == 2.0
    assert done.state.params["w"].dtype == jnp.float32  # it was a number of Python


# -- what is told, and handed over ---------------------------------------------------


class Tracker:
    def __init__(self):
        self.heard = []

    def epoch(self, seed, line):
        self.heard.append((seed, line))


def squares(params, batch, key):
    return (batch["x"][:, 0] * params["w"] + params["b"] - batch["x"][:, 1]) ** 2


def test_callbacks_learning_rate_and_gradient_norm():
    tracker, whole = Tracker(), array_batches({"x": X}, 7, shuffle=False)
    optimizer = optax.inject_hyperparams(optax.sgd)(optax.exponential_decay(0.4, 1, 0.5))
    how = {"epochs": 2, "callbacks": [tracker], "track": ("gradient_norm", "learning_rate")}

    def loss(params, batch, key):  # with a statistic, whose gradient is no part of the norm
        return squares(params, batch, key) + 5 * params["running_mean"]

    done = fit(loss, START | {"running_mean": jnp.ones(())}, optimizer, whole, seed=3, **how)
    assert tracker.heard == [(3, line) for line in done.history]
    gradient = jax.grad(lambda params: jnp.mean(squares(params, {"x": X}, None)))(START)
    norm = float(optax.tree_utils.tree_norm(gradient))
    assert done.history[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    assert [line["learning_rate"] for line in done.history] == pytest.approx([0.4, 0.2])
    with pytest.raises(ValueError, match=r"no learning_rate to track; make it by optax\.inject"):
        fit(squares, START, optax.sgd(0.1), whole, epochs=1, track=("learning_rate",))


def test_metrics_of_training_are_tracked_by_name():
    """The mean over an epoch's examples; such as how often "newton" fell back to the loop.

    Each solution begins with that of the step before, which travels as a carry.
    """
    model = models.make("gru", inputs=1, features=(12,), outputs=1, implementation="newton")
    params, x = model.init(jax.random.key(0)), X[..., None]

    def loss(params, x, key, carry, most=0, counter=None):
        known = {"guess": carry, "counter": counter}
        y, solution = model.apply(params, x, return_solution=True, **known)
        seen = {"fallbacks": solution.fallbacks, "iterations": solution.iterations, "x": x[:, 0, 0]}
        return Losses(jnp.mean(y**2, axis=(1, 2)), carry=solution.guess, metrics=seen)

    batches = stream(lambda number: itertools.repeat(x), steps=1)
    unknown = jax.eval_shape(functools.partial(model.apply, return_solution=True), params, x)[1]
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape), unknown.guess)
    counts = ("fallbacks", "iterations", "backward_fallbacks")
    how: Any = {"carry": zeros, "track_metrics": (*counts, "x")}
    done = fit(loss, params, optax.sgd(1e-3), batches, epochs=4, **how)
    for line in done.history:
        assert line["fallbacks"] == line["backward_fallbacks"] == 0
        assert line["x"] == pytest.approx(float(np.mean(X[:, 0])), rel=1e-5)
    assert done.history[-1]["iterations"] < done.history[0]["iterations"]
    with choose_layout(choices()._replace(newton_iterations=1)):

        def again(*given, **options):  # compiled anew, for this layout
            return loss(*given, most=1, **options)

        how: Any = {"carry": zeros, "track_metrics": counts}
        done = fit(again, params, optax.sgd(1e-3), batches, epochs=1, **how)
    assert {done.history[0][name] for name in counts} == {1}
    with pytest.raises(ValueError, match=r"backward_fallbacks, but .* takes no counter: let it"):
        fit(squares, START, optax.sgd(0.1), BATCHES, epochs=1, track_metrics=counts[2:])
    optimizer = optax.sgd(0.1)
    with pytest.raises(ValueError, match=r"track_metrics names near, but the .* loss are none"):
        fit(squares, START, optimizer, BATCHES, epochs=1, track_metrics=("near",))
    for name in ("epoch", "validation_loss", "seed"):
        with pytest.raises(ValueError, match=f"a line already has {name}; give the metric another"):
            fit(squares, START, optimizer, BATCHES, epochs=1, track_metrics=(name,))


def test_a_transformation_that_needs_the_loss():
    optimizer = optax.chain(
        optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=2, factor=0.5, rtol=1.0)
    )
    done = fit(squares, START, optimizer, BATCHES, epochs=4)
    assert float(optax.tree_utils.tree_get(done.state.opt_state, "scale")) < 1.0


def test_the_optimizers_state_goes_in_and_comes_out():
    """Two trainings in a row, with nothing forgotten, are one."""
    whole = array_batches({"x": X}, 7, shuffle=False)
    adam = optax.adam(0.1)
    first = fit(squares, START, adam, whole, epochs=3)
    then = fit(squares, first.params, adam, whole, epochs=2, opt_state=first.state.opt_state)
    once = fit(squares, START, adam, whole, epochs=5)
    jax.tree.map(np.testing.assert_array_equal, then.params, once.params)
    jax.tree.map(np.testing.assert_array_equal, then.state.opt_state, once.state.opt_state)


# -- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda p, b, k: b["y"][:, 0], TypeError, "returned int32, which has no gradient"),
        (lambda p, b, k: b["y"][:, 0] > 0, TypeError, "returned bool"),
        (lambda p, b, k: [1.0, 2.0, 3.0], TypeError, "must return an array or Losses, not list"),
        (lambda p, b, k: p["w"], ValueError, "one loss for each example"),
        (lambda p, b, k: Losses(b["x"], b["x"][:, :2]), ValueError, r"with weights \(3, 2\)"),
        (
            lambda p, b, k: Losses(b["x"], carry=jnp.zeros(2)),
            ValueError,
            r"given the carry None and returned \(2,\).* Give fit a carry to begin with",
        ),
        (
            lambda p, b, k: Losses(b["x"][:, 0], metrics={"loss": b["x"][:, 0]}),
            ValueError,
            "cannot be named 'loss'",
        ),
        (
            lambda p, b, k: Losses(b["x"][:, 0], metrics={"m": p["w"]}),
            ValueError,
            "The metric 'm' must return",
        ),
    ],
)
def test_losses_of_a_wrong_kind(loss, error, message):
    with pytest.raises(error, match=message):
        fit(loss, START, optax.sgd(0.1), BATCHES, epochs=1, validation=BATCHES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 2.5}, "epochs must be at least 1, a whole number, not 2.5"),
        ({"track": ["lr"]}, "track knows gradient_norm and learning_rate, not lr"),
        (
            {"early_stopping": EarlyStopping(mode="maximum"), "validation": BATCHES},
            "mode is 'min' or 'max', not 'maximum'",
        ),
        (
            {"early_stopping": EarlyStopping(0), "validation": BATCHES},
            "patience must be at least 1",
        ),
        ({"max_skips": 0}, "max_skips must be at least 1"),
        ({"seed": -1}, "from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "a seed is a whole number"),
    ],
)
def test_settings_that_would_train_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        fit.__wrapped__(squares, START, optax.sgd(0.1), BATCHES, **{"epochs": 1} | options)
    with pytest.raises(TypeError, match=r"no option 'early_stoping'. Did you mean"):
        fit(squares, START, optax.sgd(0.1), BATCHES, epochs=1, early_stoping=EarlyStopping())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"batches": {"x": X}}, r"batches must be .*train\.array_batches.* not dict"),
        ({"validation": {"x": X}}, "validation must be .*array_batches"),
        ({"optimizer": 1e-3}, "optimizer must be an Optax transformation.* not float"),
        ({"params": lambda key: START}, r"params must be .*model\.init\(key\), not function"),
        ({"checkpoints": "folder"}, r"checkpoints must be train\.Checkpoints\(.* not str"),
        ({"metrics": "log.jsonl"}, r"metrics must be train\.MetricsLog\(path\), not str"),
        ({"early_stopping": 3, "validation": BATCHES}, r"train\.EarlyStopping\(.* not int"),
        ({"callbacks": [print]}, r"callbacks must be objects with a method epoch\(seed, line\)"),
        ({"callbacks": print}, "not builtin_function_or_method"),
        ({"progress": 3}, "progress must be a label or True, not int"),
    ],
)
def test_arguments_of_another_type_are_told_with_the_right_one(wrong, right):
    how = {"loss": squares, "params": START, "optimizer": optax.sgd(0.1), "batches": BATCHES}
    with pytest.raises(TypeError, match=right):
        fit.__wrapped__(**how | {"epochs": 1} | wrong)  # as without types
    of_seeds = {"init": lambda key: START, "seeds": (0,)} | wrong
    if of_seeds.pop("params", None):
        of_seeds["init"], right = START, "init must be a function key -> params"
    if {"checkpoints", "metrics"} & wrong.keys():
        right = r"must be a function: lambda seed: train\."
    del how["params"]
    with pytest.raises(TypeError, match=right):
        fit_seeds.__wrapped__(**how | {"epochs": 1} | of_seeds)  # at the call


def test_what_is_plain_needs_no_form_of_its_own(capsys):
    """One name for a list of it, one object for a list of it, True for a label."""
    heard = []

    class Listener:
        def epoch(self, seed, line):
            heard.append(line)

    how = {"track": "gradient_norm", "callbacks": Listener(), "progress": True}
    done = fit(squares, START, optax.sgd(0.1), BATCHES, epochs=2, **how)
    assert heard == done.history
    assert all(line["gradient_norm"] > 0 for line in heard)
    assert capsys.readouterr().err.startswith("training on 1 of 4 devices epoch 1/2 loss ")
    fit(squares, START, optax.sgd(0.1), BATCHES, epochs=1, progress=False)
    assert not capsys.readouterr().err


def test_running_statistics_are_kept_from_the_optimizer_unasked():
    """Decay would shrink them, and momentum carry them on; any other name is a parameter's."""
    params = START | {"layer": {"running_mean": jnp.full(2, 3.0)}}
    params |= {"cost": jnp.zeros(()), "running_cost": jnp.zeros(())}

    def loss(params, batch, key):  # whose gradient is 0.5, as a layer's would be its distance
        costs = (params["cost"] - 1) ** 2 + (params["running_cost"] - 1) ** 2
        return squares(params, batch, key) + 0.5 * jnp.sum(params["layer"]["running_mean"]) + costs

    adam = optax.adamw(0.1, weight_decay=0.5)
    steps = 2 * BATCHES.steps
    for optimizer, rate in ((adam, 0.01), (with_running_statistics(adam, momentum=0.9), 0.1)):
        done = fit(loss, params, optimizer, BATCHES, epochs=2)
        expected = 3.0 - steps * rate * 0.5
        np.testing.assert_allclose(done.params["layer"]["running_mean"], expected, rtol=1e-5)
        assert done.params["running_cost"] == done.params["cost"] > 0.1
        runs = dict(fit_seeds(loss, lambda key: params, optimizer, BATCHES, epochs=2, seeds=[0]))
        jax.tree.map(np.testing.assert_array_equal, runs[0].params, done.params)


def test_a_watched_metric_that_is_no_number_ends_the_run():
    def loss(params, batch, key):
        values = squares(params, batch, key)
        return Losses(values, metrics={"odd": jnp.full_like(values, jnp.nan)})

    batches = array_batches({"x": X}, 7)
    how = {"epochs": 2, "validation": batches}
    with pytest.raises(FloatingPointError, match="the metric 'odd', which early stopping watches"):
        fit(loss, START, optax.sgd(0.1), batches, early_stopping=EarlyStopping(9, "odd"), **how)
    fit(loss, START, optax.sgd(0.1), batches, early_stopping=EarlyStopping(9), **how)


def test_a_batch_that_counts_nothing_changes_nothing_and_is_no_fault():
    def loss(params, batch, key):
        weights = jnp.where(batch["i"] == 1, 0.0, 1.0)
        return Losses((params["w"] - 1.0) ** 2 + 0.0 * weights, weights)

    batches = array_batches({"i": np.repeat(np.arange(3), 2)}, 2, shuffle=False)
    done = fit(loss, {"w": 0.0}, optax.sgd(0.1), batches, epochs=1)
    assert float(done.params["w"]) == pytest.approx(1 - 0.8**2)
    assert done.history == [{"step": 3, "epoch": 1, "loss": pytest.approx((1 + 0.64) / 2)}]


def test_a_carry_that_is_not_finite_is_named():
    def loss(params, batch, key, carry):
        return Losses(squares(params, batch, key), carry={"h": carry["h"] * jnp.inf})

    batches = array_batches({"x": X}, 7)
    with pytest.raises(FloatingPointError, match=r"and carry\['h'\] is not finite"):
        fit(loss, START, optax.sgd(0.1), batches, epochs=1, carry={"h": jnp.ones(2)}, max_skips=1)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_tunable_numbers_that_the_start_needs(rate):
    numbers = {"learning_rate": rate, "initial_accumulator_value": 0.5}
    whole = array_batches({"x": X}, 7, shuffle=False)
    ours, plain = (
        fit(squares, START, optimizer, whole, epochs=3).params
        for optimizer in (tunable(optax.adagrad, **numbers), optax.adagrad(**numbers))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, plain)
