"""What is the same from call to call, and what a resumed run must agree with."""

import functools
import gc
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models, nn
from seqjax.storage.same import same
from seqjax.train import CheckpointError, Checkpoints, MetricsLog, array_batches, fit, tunable
from seqjax.train.fingerprint import settings_of

X = np.random.default_rng(0).normal(size=(12, 6, 1)).astype(np.float32)
SCALE = 2.0
BOX = {"scale": 2.0}
ARRAY = np.ones(2)


class Settings:
    scale = 2.0


def reversed_gradient(factor):
    @jax.custom_vjp
    def identity(x):
        return x

    identity.defvjp(lambda x: (x, None), lambda _, g: (-factor * g,))
    return identity


def loss_of(features, rate, scale=1.0):
    model = models.make("gru", inputs=1, features=features, outputs=1, last=True, dropout=rate)

    def loss(params, batch, key):
        y = model.apply(params, batch, key=key)
        return scale * jnp.mean((y - batch[:, -1]) ** 2, axis=-1)

    return model, loss


def optimizer_of(rate):
    schedule = optax.cosine_decay_schedule(rate, 40)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))


def test_ten_fits_with_fresh_closures_compile_as_one(compilations):
    """Cross-validation: a new model, loss and optimizer of the same settings for every fold."""

    def fold(number):
        model, loss = loss_of((4,), 0.1)
        train = array_batches(np.delete(X, number, axis=0), 4)
        validation = array_batches(X[number : number + 1], 4)
        params = model.init(jax.random.key(number))
        fit(loss, params, optimizer_of(0.01), train, epochs=2, validation=validation)

    fold(0)
    gc.collect()
    arrays = len(jax.live_arrays())
    assert not compilations(lambda: [fold(number) for number in range(1, 10)])
    gc.collect()
    assert len(jax.live_arrays()) <= arrays


def test_an_optimizer_with_an_array_compiles_once_as_long_as_it_is_the_same_one(compilations):
    model, loss = loss_of((4,), 0.1)
    params, batches = model.init(jax.random.key(0)), array_batches(X, 4)
    scale = jnp.float32(0.5)  # in a closure: what may change is not compared
    scaled = optax.chain(
        optax.sgd(0.1), optax.stateless(lambda u, p: jax.tree.map(lambda a: scale * a, u))
    )
    plain = optax.GradientTransformation(scaled.init, lambda u, s, p=None: scaled.update(u, s, p))
    for optimizer in (scaled, plain):
        fit(loss, params, optimizer, batches, epochs=1)
        assert not compilations(lambda o=optimizer: fit(loss, params, o, batches, epochs=1))


def test_another_number_of_the_optimizer_compiles_nothing_but_its_own_start(compilations):
    model, loss = loss_of((4,), 0.1)
    params, batches = model.init(jax.random.key(0)), array_batches(X, 4)

    def trained(optimizer):
        return fit(loss, params, optimizer, batches, epochs=2, track=["learning_rate"])

    first = trained(tunable(optax.adam, learning_rate=0.1))
    runs = {}

    def sweep():
        for rate in (0.01, 0.02, 0.03):
            runs[rate] = trained(tunable(optax.adam, learning_rate=rate))

    assert compilations(sweep) <= 3
    for rate, done in runs.items():
        assert done.history[-1]["learning_rate"] == pytest.approx(rate)
        plain = fit(loss, params, optax.adam(rate), batches, epochs=2)
        assert done.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=1e-5)
    assert first.history[-1]["loss"] != runs[0.01].history[-1]["loss"]


@pytest.mark.parametrize(
    ("make", "equal"),
    [
        (lambda: loss_of((4,), 0.1)[1], True),
        (lambda: optimizer_of(0.1), True),
        (lambda: functools.partial(jnp.power, 2.0), True),
        (lambda: lambda x: x * SCALE, True),
        (lambda: jax.jit(lambda x: x * 3.0), True),
        (lambda: optax.inject_hyperparams(optax.adam)(0.1), True),
        (lambda: lambda x: x * BOX["scale"], True),
        (lambda: lambda x: x * ARRAY, False),  # what may change
        (lambda: lambda x: x * sys.maxsize, False),
        (lambda: reversed_gradient(2.0), False),  # what `__wrapped__` does not tell
        (lambda: functools.partial(max, BOX.get), False),
        (lambda: lambda x: x * Settings.scale, False),
    ],
)
def test_what_is_the_same(make, equal):
    first, second = make(), make()
    assert (same(first) == same(second)) == equal


def test_what_differs_is_told_apart(monkeypatch):
    for a, b in (
        (loss_of((4,), 0.1), loss_of((4,), 0.2)),
        (loss_of((4,), 0.1), loss_of((5,), 0.1)),
        (loss_of((4,), 0.0), loss_of((4,), 0.0, scale=True)),
        (optimizer_of(0.1), optimizer_of(0.2)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (functools.partial(max, np.float32(0.0)), functools.partial(max, np.float32(-0.0))),
    ):
        assert same(a) is not same(b)

    def scaled():
        return lambda x: x * SCALE

    before = same(scaled())
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert same(scaled()) is not before

    def boxed():
        return lambda x: x * BOX["scale"]

    before = same(boxed())
    monkeypatch.setitem(BOX, "scale", 3.0)
    assert same(boxed()) is not before
    layer, other = nn.Dense(4), nn.Dense(4)
    shared, apart = nn.Stack((layer, layer)), nn.Stack((layer, other))
    assert shared == apart  # for Flax
    assert same(functools.partial(max, shared)) is not same(functools.partial(max, apart))


def test_a_closure_that_changed_since_is_another_one():
    """JAX traces a function anew for another size; it must not find other values there."""

    def fold(x):
        found = []
        for weight in (1.0, 10.0):

            def loss(p):
                return weight * p  # noqa: B023 - that it changes is the point

            found.append(float(jax.jit(same(loss))(x)[0]))
        return found

    assert fold(jnp.full(2, 2.0)) == [2.0, 20.0]
    assert fold(jnp.full(3, 3.0)) == [3.0, 30.0]


def test_settings_are_told_in_words():
    text = settings_of(optimizer_of(0.01))
    assert all(part in text for part in ("max_norm=1.0", "init_value=0.01", "weight_decay=0.01"))
    assert settings_of(optax.sgd(0.1)) != settings_of(optax.sgd(0.2))


# -- a resumed run is held to it ----------------------------------------------------------


def train(folder, epochs=2, rate=0.1, data=X, shuffle=True, log=None):
    def loss(params, batch, key):
        return (batch[:, 0, 0] * params - batch[:, 1, 0]) ** 2

    batches = array_batches(data, 4, shuffle=shuffle)
    with Checkpoints(folder, {}, every=3) as saves:
        return fit(
            loss,
            jnp.float32(0.0),
            optax.adam(rate),
            batches,
            epochs=epochs,
            checkpoints=saves,
            metrics=log,
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 0.2}, r"fit\.optimizer \(optax .*step_size=-0\.1.* and is now .*=-0\.2"),
        ({"data": X + 1}, r"fit\.data was '\w+' and is now '\w+'"),
        ({"shuffle": False}, r"fit\.order was .*shuffle=True.* and is now .*shuffle=False"),
    ],
)
def test_another_learning_rate_other_data_or_another_order_are_refused(tmp_path, changed, message):
    before = train(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path, epochs=3, **changed)
    np.testing.assert_array_equal(train(tmp_path).params, before.params)  # nothing is lost


@pytest.mark.parametrize("edit", ["missing", "doubled", "changed", "deleted"])
def test_a_log_edited_by_hand_is_told_and_mended(tmp_path, caplog, edit):
    def run(folder, epochs):
        return train(folder, epochs, log=MetricsLog(str(folder / "m.jsonl"), seed=0))

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "edited", 3)
    path = tmp_path / "edited" / "m.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if edit == "deleted":
        path.unlink()
    else:
        changed = {
            "missing": [],
            "doubled": [lines[1]] * 2,
            "changed": ['{"seed": 0, "step": 6}\n'],
        }
        path.write_text("".join([lines[0], *changed[edit], lines[2]]))
    done = run(tmp_path / "edited", 4)
    assert done.history == whole.history
    assert path.read_bytes() == (tmp_path / "whole" / "m.jsonl").read_bytes()
    assert ("are not those of the checkpoint" in caplog.text) == (edit != "deleted")
