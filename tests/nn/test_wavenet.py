import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

B, T = 2, 24
CONDITIONED = nn.WaveNet(
    3,
    dilations=(1, 2),
    cycles=2,
    residual_features=5,
    skip_features=6,
    global_features=2,
    local_features=3,
    weight_norm=True,
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def conditioned():
    x = draw(B, T, 1)
    conditions = {
        "global_condition": draw(B, 2, seed=1),
        "local_condition": draw(B, T, 3, seed=2),
    }
    return x, conditions, jax.jit(CONDITIONED.init)(jax.random.key(3), x)


def test_the_books_network_has_its_parameters():
    layer = nn.WaveNet(10, dilations=(1, 2, 4))
    params = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 50, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 17_130


def test_equals_the_equations():
    """Gates, residuals and skips by hand, one block after the other."""
    layer = nn.WaveNet(2, dilations=(1, 3), residual_features=4)
    x = draw(B, T, 1)
    variables = drawn(layer.init, x)
    params = jax.device_get(variables)["params"]

    def conv(name, x, dilation=1):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        past = (len(kernel) - 1) * dilation
        padded = np.pad(x, ((0, 0), (past, 0), (0, 0)))
        taps = [padded[:, k * dilation :][:, :T] @ kernel[k] for k in range(len(kernel))]
        return sum(taps) + bias[None, None]

    state, skips = conv("entry", x), 0
    for k, dilation in enumerate((1, 3)):
        a = conv(f"dilated_{k}", state, dilation)
        unit = np.tanh(a[..., :4]) / (1 + np.exp(-a[..., 4:]))
        product = conv(f"residual_{k}", unit)
        state, skips = state + product, skips + product
    expected = conv("out", np.maximum(conv("hidden", np.maximum(skips, 0)), 0))
    np.testing.assert_allclose(run(layer.apply, variables, x), expected, atol=1e-5)


def test_one_step_at_a_time_equals_whole_sequence_with_conditions():
    x, conditions, variables = conditioned()
    whole = run(CONDITIONED.apply, variables, x, context=conditions)
    step = jax.jit(lambda *a, **k: CONDITIONED.apply(variables, *a, method="step", **k))
    local = conditions["local_condition"]
    carry = CONDITIONED.initial_carry(B, 1)
    for t in range(T):
        carry, y = step(
            carry,
            x[:, t],
            context=conditions | {"local_condition": local[:, t]},
        )
        np.testing.assert_allclose(y, whole[:, t], atol=1e-5)


def test_conditions_reach_the_output_where_they_should():
    x, conditions, variables = conditioned()
    apply = jax.jit(CONDITIONED.apply)

    def y(**moved):  # the named condition, moved where an index tells
        changed = jax.tree.map(np.copy, conditions)
        for name, index in moved.items():
            changed[name][index] += 1
        return jax.device_get(apply(variables, x, context=changed))

    plain = y()
    other_speaker = y(global_condition=0)
    assert (other_speaker[0] != plain[0]).all()
    np.testing.assert_array_equal(other_speaker[1], plain[1])
    later = y(local_condition=np.s_[:, 15])
    np.testing.assert_array_equal(later[:, :15], plain[:, :15])
    assert (later[:, 15] != plain[:, 15]).any()


def test_padding_reaches_neither_outputs_nor_gradients():
    x, conditions, variables = conditioned()
    lengths = np.array([24, 7])
    dirty, dirty_local = x.copy(), conditions["local_condition"].copy()
    dirty[1, 7:], dirty_local[1, 7:] = np.nan, np.inf

    @jax.jit
    def gradient_and_outputs(variables, x, context):
        def loss(variables):
            y = CONDITIONED.apply(variables, x, seq_lengths=lengths, context=context)
            return jnp.sum(y**2), y

        return jax.grad(loss, has_aux=True)(variables)

    gradient, y = jax.device_get(
        gradient_and_outputs(variables, dirty, conditions | {"local_condition": dirty_local})
    )
    own = {
        "global_condition": conditions["global_condition"][1:],
        "local_condition": conditions["local_condition"][1:, :7],
    }
    alone = run(CONDITIONED.apply, variables, x[1:, :7], context=own)
    np.testing.assert_allclose(y[1:, :7], alone, atol=1e-5)
    assert not y[1, 7:].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_receptive_field_is_where_the_gradient_ends():
    layer = nn.WaveNet(1, kernel_size=3, dilations=(1, 2), cycles=2, residual_features=4)
    assert layer.receptive_field == 1 + 2 * (1 + 2 * 3)
    x = draw(1, T, 1)
    variables = drawn(layer.init, x)
    gradient = jax.jit(jax.grad(lambda x: layer.apply(variables, x)[0, -1, 0]))(x)
    assert np.flatnonzero(gradient)[0] == T - layer.receptive_field


def test_every_parameter_is_used():
    x, conditions, variables = conditioned()

    @jax.jit
    @jax.grad
    def gradient(variables, context):
        return jnp.sum(CONDITIONED.apply(variables, jnp.asarray(x), context=context) ** 2)

    for path, leaf in jax.tree.leaves_with_path(gradient(variables, conditions)):
        assert np.any(leaf), path


def test_a_carry_from_the_sequence_goes_on_step_by_step():
    layer = nn.WaveNet(1, dilations=(1, 2), residual_features=4)
    model = models.from_layer(layer, inputs=1)
    x = draw(B, T, 1)
    params = drawn(model.init)
    carry, _ = run(model.apply, params, x[:, :20], return_carry=True)
    whole, step = run(model.apply, params, x), jax.jit(model.step)
    for t in range(20, T):
        carry, y = step(params, carry, x[:, t])
        np.testing.assert_allclose(y, whole[:, t], atol=1e-5)


def test_a_model_takes_conditions():
    model = models.from_layer(CONDITIONED, inputs=1)
    x, conditions, _ = conditioned()
    params = drawn(model.init)
    y = run(model.apply, params, x, context=conditions)
    same = run(CONDITIONED.apply, {"params": params}, x, context=conditions)
    np.testing.assert_array_equal(y, same)
    first = {key: value[:, 0] if value.ndim == 3 else value for key, value in conditions.items()}
    _, y_0 = jax.jit(model.step)(params, model.initial_carry(B), x[:, 0], context=first)
    np.testing.assert_allclose(y_0, y[:, 0], atol=1e-5)


def test_generating_reads_the_conditions_of_every_step():
    layer = nn.WaveNet(
        1, dilations=(1, 2), residual_features=4, global_features=2, local_features=3
    )
    model = models.from_layer(layer, inputs=1)
    x, conditions, _ = conditioned()
    params = drawn(model.init)
    series, apply = x.copy(), jax.jit(model.apply)
    for t in range(20, T):  # the whole series read anew for every sample
        series[:, t] = np.asarray(apply(params, series, context=conditions))[:, t - 1]
    known, conditions = jnp.asarray(x[:, :20]), jax.tree.map(jnp.asarray, conditions)
    ours = models.generate(model, params, known, T - 20, context=conditions)
    np.testing.assert_allclose(ours, series[:, 20:], atol=1e-5)
    with pytest.raises(ValueError, match=r"local_condition must be .* 20 known steps and 3 more"):
        models.generate(model, params, known, 3, context=conditions)


def test_a_low_precision_network_stays_so():
    layer = nn.WaveNet(1, dilations=(1,), global_features=2, param_dtype=jnp.bfloat16)
    x = jnp.ones((1, 4, 1), jnp.bfloat16)
    variables = drawn(layer.init, x)
    told = {"global_condition": jnp.ones((1, 2), jnp.bfloat16)}
    carry, y = run(layer.apply, variables, x, return_carry=True, context=told)
    assert y.dtype == jnp.bfloat16
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, layer.initial_carry(1, 1))


def test_dropout_acts_in_training_only():
    layer = nn.WaveNet(1, dilations=(1, 2), residual_features=4, dropout=0.5)
    x = draw(B, T, 1)
    variables = drawn(layer.init, x)
    rngs = {"dropout": jax.random.key(2)}
    noisy = run(layer.apply, variables, x, deterministic=False, rngs=rngs)
    assert (noisy != run(layer.apply, variables, x)).any()


def test_errors_name_the_condition():
    x, conditions, variables = conditioned()
    with pytest.raises(ValueError, match=r"global_condition must be \[2, 2\]"):
        run(CONDITIONED.apply, variables, x, context={"global_condition": jnp.ones((B, 5))})
    with pytest.raises(
        ValueError, match=r"local_condition must be \[2, 24, 3\] .* the context has n"
    ):
        run(CONDITIONED.apply, variables, x, context={"global_condition": jnp.ones((B, 2))})
    model = models.from_layer(nn.WaveNet(1, global_features=2), inputs=1)
    params = drawn(model.init)
    with pytest.raises(
        ValueError, match=r"no layer reads .*local.*they read \['global_condition'\]"
    ):
        run(model.apply, params, x, context=conditions)
    with pytest.raises(ValueError, match="at least one block"):
        nn.WaveNet(1, dilations=()).init(jax.random.key(0), jnp.asarray(x))
