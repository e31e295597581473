import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seqjax import nn, ops
from seqjax.nn import combine

B, T, I = 3, 8, 2
LENGTHS = np.array([8, 0, 3])
LAYERS = {
    **{name: kind(4) for name, kind in nn.LAYERS.items()},
    "rnn layer norm": nn.RNN(4, layer_norm=True),
    "gru original": nn.GRU(4, reset_after=False),
    "conv": nn.CausalConv(4, kernel_size=3, dilation=2, activation=jax.nn.relu),
    "conv weight norm": nn.CausalConv(4, kernel_size=2, weight_norm=True),
    "batch norm": nn.Stack((nn.Dense(4), nn.BatchNorm(), nn.GRU(3))),
    "repeat": nn.Stack((nn.Dense(4), nn.Repeat(nn.LSTM(4), depth=3))),
    "wavenet": nn.WaveNet(3, dilations=(2,), residual_features=4),
    "wavenet with skips, relu": nn.WaveNet(
        3,
        kernel_size=3,
        dilations=(1, 2),
        residual_features=4,
        skip_features=5,
        gated=False,
        weight_norm=True,
    ),
    "lru with the skip": nn.LRU(I, 6, r_min=0.5, r_max=0.9),
    "residual": nn.Stack((nn.Dense(4), nn.Residual(nn.LRU(3, 4), 4))),
    "dense": nn.Dense(4, activation=jnp.tanh),
    "stack": nn.Stack((nn.LSTM(4), nn.CausalConv(3, kernel_size=2), nn.GRU(4), nn.Dense(1))),
    "seasonal": nn.Stack((nn.Dense(1), nn.SeasonalResidual(nn.LSTM(3), period=2, cycles=2))),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


def make(layer, inputs=I):
    x = jax.random.normal(jax.random.key(0), (B, T, inputs))
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    noise = iter(jax.random.split(jax.random.key(2), 100))
    return x, jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(noise), leaf.shape), variables
    )


def by_steps(layer, variables, carry, x):
    """The outputs of one step after the other, [batch, time, features]."""
    step = jax.jit(lambda carry, x: layer.apply(variables, carry, x, method="step"))
    outputs = []
    for t in range(x.shape[1]):
        carry, y = step(carry, x[:, t])
        outputs.append(y)
    return np.stack(outputs, axis=1)


@every_layer
def test_one_step_at_a_time_equals_whole_sequence(layer):
    x, variables = make(layer)
    whole = jax.jit(layer.apply)(variables, x)
    assert whole.shape[-1] == layer.output_features(I)
    steps = by_steps(layer, variables, layer.initial_carry(B, I), x)
    np.testing.assert_allclose(steps, whole, atol=1e-5)
    carry, _ = jax.jit(lambda x: layer.apply(variables, x, return_carry=True))(x[:, :5])
    np.testing.assert_allclose(by_steps(layer, variables, carry, x[:, 5:]), whole[:, 5:], atol=1e-5)


@every_layer
def test_parameters_are_the_same_made_either_way(layer):
    x, _ = make(layer)
    by_sequence = jax.jit(layer.init)(jax.random.key(1), x)
    by_step = jax.jit(lambda *a: layer.init(*a, method="step"))(
        jax.random.key(1), layer.initial_carry(B, I), x[:, 0]
    )
    jax.tree.map(np.testing.assert_array_equal, by_sequence, by_step)


@every_layer
def test_padded_batch_equals_each_sequence_alone(layer):
    x, variables = make(layer)
    apply = jax.jit(layer.apply)
    y = apply(variables, x, seq_lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        if n:
            alone = apply(variables, x[b : b + 1, :n])
            np.testing.assert_allclose(y[b : b + 1, :n], alone, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - nn.LAYERS.keys()))  # those: tests/ops
def test_padding_reaches_no_gradient(name):
    layer = LAYERS[name]
    x, variables = make(layer)
    dirty = x.at[1].set(jnp.nan).at[2, 3:].set(jnp.inf)

    def valid_outputs(variables):
        y = layer.apply(variables, dirty, seq_lengths=LENGTHS)
        steps = layer.output_length(jnp.asarray(LENGTHS))
        valid = jnp.arange(y.shape[1])[None, :, None] < steps[:, None, None]
        return jnp.sum(jnp.where(valid, y, 0) ** 2)

    gradients = jax.jit(jax.grad(valid_outputs))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@every_layer
def test_causality_by_gradient(layer):
    x, variables = make(layer)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[0]))(x)[:, :, 0]
    reach = np.abs(jacobian).sum(axis=(1, 3))
    assert not np.triu(reach, 1).any()
    assert (np.diag(reach) > 0).any()


@every_layer
def test_every_leaf_of_a_carry_begins_with_the_batch(layer):
    """So that one `jax.tree.map` reorders beams, or splits a batch."""
    x, variables = make(layer)

    def end(x, carry=None):
        return jax.jit(lambda x: layer.apply(variables, x, carry, return_carry=True))(x)

    carry, _ = end(x)
    for found in (carry, layer.initial_carry(B, I)):
        assert {leaf.shape[0] for leaf in jax.tree.leaves(found)} <= {B}
    same = jax.tree.map(lambda a, b: a.shape == b.shape, carry, layer.initial_carry(B, I))
    assert all(jax.tree.leaves(same))
    order = jnp.array([2, 0, 1])
    turned = jax.tree.map(lambda leaf: leaf[order], carry)
    _, y = end(x, carry)
    np.testing.assert_allclose(end(x[order], turned)[1], y[order], atol=1e-6)


@every_layer
def test_errors_say_what_does_not_fit(layer):
    x, variables = make(layer)
    if not isinstance(layer, nn.Dense):  # which takes any rank
        with pytest.raises(ValueError, match=r"x must be \[batch, time, features\]"):
            layer.apply(variables, x[0])
    with pytest.raises(ValueError, match=r"x holds int32.*nn\.Embed"):
        layer.apply(variables, jnp.ones((B, T, 1), int))
    with pytest.raises(ValueError, match=r"(must be|are for).*"):
        layer.apply(variables, jnp.ones((B, T, I + 3)))
    if jax.tree.leaves(layer.initial_carry(B, I)):
        with pytest.raises(ValueError, match="carr"):
            layer.apply(variables, x, jnp.ones((B, 17)))
    long = layer.apply(variables, x, seq_lengths=np.array([8, 200, 3], np.uint8))
    clipped = layer.apply(variables, x, seq_lengths=np.array([8, 8, 3]))
    np.testing.assert_array_equal(long, clipped)


@pytest.mark.parametrize("kind", nn.LAYERS.values(), ids=nn.LAYERS)
def test_the_examples_of_generated_layers_run(kind):
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, module=False)
    assert doctest.DocTestRunner().run(example) == (0, 5)


def test_bidirectional_is_two_layers_side_by_side():
    layer = nn.Bidirectional(nn.GRU(4))
    x, variables = make(layer)
    y = layer.apply(variables, x, seq_lengths=LENGTHS)
    forward = nn.GRU(4).apply({"params": variables["params"]["forward"]}, x, seq_lengths=LENGTHS)
    backward = nn.GRU(4, reverse=True, keep_order=True).apply(
        {"params": variables["params"]["backward_layer"]}, x, seq_lengths=LENGTHS
    )
    np.testing.assert_allclose(y, jnp.concatenate([forward, backward], axis=-1), atol=1e-6)
    assert y.shape[-1] == layer.output_features(I)
    alone = layer.apply(variables, x[2:, :3])
    np.testing.assert_allclose(y[2:, :3], alone, atol=1e-6)


def test_bidirectional_takes_forward_recurrent_layers_only():
    for layer in (nn.LSTM(2, reverse=True), nn.Stack((nn.LSTM(2),))):
        with pytest.raises(ValueError, match="run forwards"):
            nn.Bidirectional(layer).init(jax.random.key(0), jnp.zeros((1, 2, I)))


def test_bidirectional_refuses_single_steps():
    layer = nn.Bidirectional(nn.RNN(4))
    x, variables = make(layer)
    with pytest.raises(ValueError, match="one step at a time"):
        layer.apply(variables, layer.initial_carry(B, I), x[:, 0], method="step")
    with pytest.raises(ValueError, match="one step at a time"):
        nn.RNN(4, reverse=True).init(jax.random.key(0), jnp.zeros((B, 4)), x[:, 0], method="step")


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}])
def test_dropout_in_a_recurrent_layer_is_one_mask_for_all_steps(kind, rates):
    layer = kind(16, **rates)
    x, variables = make(layer, inputs=16)

    def draw(seed, x=x):
        rngs = {"dropout": jax.random.key(seed)}
        return layer.apply(variables, x, deterministic=False, rngs=rngs)

    np.testing.assert_array_equal(layer.apply(variables, x), kind(16).apply(variables, x))
    np.testing.assert_array_equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).any()
    first = draw(0)[:, 0] == layer.apply(variables, x)[:, 0]
    assert first.all() == ("recurrent_dropout" in rates)  # h before the first step is zero
    if "dropout" in rates:  # what is masked has no gradient at any step, what is kept at all
        gradient = jax.grad(lambda x: jnp.sum(draw(0, x)[0]))(x)[0]
        masked = gradient == 0
        assert (masked == masked[:1]).all()
        assert masked.any()
        assert not masked.all()


def test_a_recurrent_mask_is_drawn_for_each_sequence_and_scaled():
    layer = nn.RNN(400, activation=lambda z: z, recurrent_dropout=0.25)
    identity = {"kernel": jnp.zeros((1, 400)), "recurrent_kernel": jnp.eye(400)}
    variables = {"params": identity | {"bias": jnp.zeros(400)}}
    y = layer.apply(
        variables,
        jnp.zeros((2, 3, 1)),
        jnp.ones((2, 400)),
        deterministic=False,
        rngs={"dropout": jax.random.key(0)},
    )
    np.testing.assert_allclose(np.unique(y[:, 0]), [0, 4 / 3], atol=1e-6)
    np.testing.assert_allclose(y[:, 1], y[:, 0] * y[:, 0], atol=1e-6)  # the same mask again
    assert (y[0] != y[1]).any()
    assert abs(float(jnp.mean(y[:, 0] == 0)) - 0.25) < 0.05
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        nn.GRU(2, dropout=1.0).init(jax.random.key(0), jnp.ones((1, 2, 1)), deterministic=False)


def test_weight_norm_separates_length_and_direction():
    layer = nn.CausalConv(4, kernel_size=2, weight_norm=True)
    x = jnp.ones((B, T, I))
    params = layer.init(jax.random.key(0), x)["params"]
    plain = nn.CausalConv(4, kernel_size=2)
    same = {key: params[key] for key in ("kernel", "bias")}
    y = plain.apply({"params": same}, x)
    np.testing.assert_allclose(layer.apply({"params": params}, x), y, atol=1e-6)
    longer = params | {"kernel": 3 * params["kernel"], "scale": 2 * params["scale"]}
    np.testing.assert_allclose(layer.apply({"params": longer}, x), 2 * y, atol=1e-5)
    nothing = params | {"kernel": jnp.zeros_like(params["kernel"])}
    gradient = jax.grad(lambda p: jnp.sum(layer.apply({"params": p}, x)))(nothing)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_forget_bias_starts_at_one():
    bias = nn.LSTM(3).init(jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]["bias"]
    assert bias.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6


def test_stack_recomputes_to_the_same_gradient_and_keeps_less():
    layers = (nn.LSTM(16), nn.LSTM(16), nn.Dense(1))
    x = jax.random.normal(jax.random.key(0), (4, 64, I))
    variables = jax.jit(nn.Stack(layers).init)(jax.random.key(1), x)

    def gradient_and_kept_bytes(stack):
        _, pullback = jax.vjp(lambda v: jnp.mean(stack.apply(v, x) ** 2), variables)
        return pullback(1.0)[0], sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))

    plain, plain_bytes = gradient_and_kept_bytes(nn.Stack(layers))
    remat, remat_bytes = gradient_and_kept_bytes(nn.Stack(layers, remat=True))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-7), plain, remat)
    assert remat_bytes < 0.3 * plain_bytes


def test_dropout_acts_between_layers_only():
    stack = nn.Stack((nn.Dense(50), nn.Dense(50)), dropout=0.4)
    x, variables = make(stack)

    @jax.jit
    def draw(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return stack.apply(variables, x, deterministic=False, rngs=rngs)

    np.testing.assert_array_equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).any()
    assert (draw(0) != 0).all()  # not after the last layer
    mean = np.mean([draw(seed) for seed in range(400)], axis=0)
    np.testing.assert_allclose(mean, stack.apply(variables, x), atol=1.0)
    alone = nn.Stack((nn.Dense(5),), dropout=0.4)
    x, variables = make(alone)
    rngs = {"dropout": jax.random.key(0)}
    np.testing.assert_array_equal(
        alone.apply(variables, x, deterministic=False, rngs=rngs), alone.apply(variables, x)
    )


def test_a_strided_layer_shortens_the_lengths_above_it():
    stack = nn.Stack((nn.CausalConv(4, kernel_size=2, stride=2), nn.LSTM(3)))
    x, variables = make(stack)
    y = stack.apply(variables, x, seq_lengths=LENGTHS)
    alone = stack.apply(variables, x[2:, :3])
    np.testing.assert_allclose(y[2:, :2], alone, atol=1e-6)
    assert not y[2, 2:].any()
    with pytest.raises(ValueError, match="slower rate"):
        stack.apply(variables, stack.initial_carry(B, I), x[:, 0], method="step")


def test_a_strided_last_layer_answers_at_every_step():
    layer = nn.CausalConv(4, kernel_size=3, stride=2)
    x, variables = make(layer)
    steps = by_steps(layer, variables, layer.initial_carry(B, I), x)
    np.testing.assert_allclose(steps[:, ::2], layer.apply(variables, x), atol=1e-5)


def test_valid_padding_counts_only_whole_pasts():
    layer = nn.CausalConv(4, kernel_size=3, stride=2, padding="valid")
    x, variables = make(layer)
    y = layer.apply(variables, x, seq_lengths=np.array([8, 6, 2]))
    assert layer.output_length(8) == y.shape[1] == 3
    np.testing.assert_allclose(y[1:2, :2], layer.apply(variables, x[1:2, :6]), atol=1e-6)
    assert not y[1, 2:].any()
    assert not y[2].any()


def test_valid_padding_refuses_single_steps():
    layer = nn.CausalConv(4, kernel_size=3, padding="valid")
    x, variables = make(layer)
    with pytest.raises(ValueError, match='padding="causal"'):
        layer.apply(variables, layer.initial_carry(B, I), x[:, 0], method="step")


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_dtype_is_that_of_the_computation_not_of_the_parameters(kind):
    layer = kind(4, dtype=jnp.bfloat16)
    x, variables = make(layer)
    carry, y = layer.apply(variables, x, return_carry=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(jnp.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_a_layer_works_inside_nnx():
    layer = nn.LSTM(4)
    x, _ = make(layer)
    wrapped = nnx.bridge.ToNNX(layer, rngs=nnx.Rngs(0)).lazy_init(x)
    params = ops.LSTMParams(wrapped.kernel[...], wrapped.recurrent_kernel[...], wrapped.bias[...])
    np.testing.assert_allclose(wrapped(x), ops.lstm(params, x), atol=1e-6)


def test_seasonal_residual_starts_from_the_seasonal_mean():
    layer = nn.SeasonalResidual(nn.LSTM(3), period=4, cycles=2)
    x = jax.random.normal(jax.random.key(0), (2, 12, 1))
    y = layer.apply(layer.init(jax.random.key(1), x), x)
    t = 10  # forecasts x[11] from x[7] and x[3]
    np.testing.assert_allclose(y[:, t], (x[:, 7] + x[:, 3]) / 2, atol=1e-6)


def test_seasonal_residual_reads_its_own_place_and_the_neighbours():
    layer = nn.SeasonalResidual(nn.LSTM(3), period=4, cycles=2)
    x, variables = make(layer, inputs=1)
    x = jax.random.normal(jax.random.key(3), (1, 12, 1))
    gradient = jax.grad(lambda x: layer.apply(variables, x)[0, 10, 0])(x)[0, :, 0]
    assert np.flatnonzero(gradient).tolist() == [2, 3, 4, 6, 7, 8]
    with pytest.raises(ValueError, match="one series"):
        layer.initial_carry(2, 3)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_stack_of_alike_layers_runs_in_one_loop(kind, monkeypatch):
    """The same parameters and outputs; the carries continue a sequence as they should."""
    stack = nn.Stack((kind(4), kind(4), nn.Dense(2), kind(3)))
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    params = stack.init(jax.random.key(1), x)
    lengths = jnp.array([6, 2])

    def run(initial_carry=None, **options):
        return jax.jit(lambda p, x: stack.apply(p, x, initial_carry, return_carry=True, **options))(
            params, x
        )

    carries, y = run(seq_lengths=lengths)
    further = run(carries)
    assert str(jax.make_jaxpr(lambda p: stack.apply(p, x))(params)).count("scan[") == 2
    monkeypatch.setattr(combine, "wavefront_pays", lambda features, layers: False)
    assert str(jax.make_jaxpr(lambda p: stack.apply(p, x))(params)).count("scan[") == 3
    apart = run(seq_lengths=lengths)
    again = stack.init(jax.random.key(1), x)
    assert jax.tree.structure(params) == jax.tree.structure(again)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        ((carries, y), further),
        (apart, run(carries)),
    )


class Louder(nn.LSTM):
    """A layer of a user's own, made of one of ours."""

    def __call__(self, *args, **options):
        return 2 * super().__call__(*args, **options)


def test_a_layer_of_the_users_own_keeps_its_call():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    loud, plain = (nn.Stack((kind(4), kind(4))) for kind in (Louder, nn.LSTM))
    params = plain.init(jax.random.key(1), x)
    one = nn.LSTM(4).apply({"params": params["params"]["layers_0"]}, x)
    expected = 2 * nn.LSTM(4).apply({"params": params["params"]["layers_1"]}, 2 * one)
    np.testing.assert_allclose(loud.apply(params, x), expected, atol=1e-6)


def test_a_convolutions_activation_goes_by_name_too():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    plain, named = (nn.CausalConv(4, 2, activation=name) for name in (None, "tanh"))
    params = plain.init(jax.random.key(1), x)
    np.testing.assert_array_equal(named.apply(params, x), jnp.tanh(plain.apply(params, x)))


def test_a_convolution_is_zero_after_a_sequences_end_whatever_its_activation_makes_of_zero():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    layer = nn.CausalConv(4, 2, stride=2, activation="sigmoid")
    params = layer.init(jax.random.key(1), x)
    y = layer.apply(params, x, seq_lengths=jnp.array([6, 3]))
    assert not y[1, 2:].any()
    np.testing.assert_allclose(y[1, :2], layer.apply(params, x[1:, :3])[0], atol=1e-6)
