import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from seqjax import nn, ops
from seqjax.nn import combine
from tests.compiled import drawn

B, T, I = 3, 8, 2
LENGTHS = np.array([8, 0, 3])
LAYERS = {
    **{name: kind(4) for name, kind in nn.LAYERS.items()},
    "rnn layer norm": nn.RNN(4, layer_norm=True),
    "gru original": nn.GRU(4, reset_after=False),
    "conv": nn.CausalConv(4, kernel_size=3, dilation=2, activation=jax.nn.relu),
    "conv weight norm": nn.CausalConv(4, kernel_size=2, weight_norm=True),
    "batch norm": nn.Stack((nn.Dense(4), nn.BatchNorm(), nn.LayerNorm(), nn.GRU(3))),
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


@functools.cache
def make(layer, inputs=I):
    """Inputs, of NumPy, whose rows cost no compilation, and variables, all drawn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, inputs)).astype(np.float32)
    return x, drawn(layer.init, x)


@functools.cache
def apply(layer, *, return_carry=True):
    """Carry and outputs of a layer: one function, so that tests share its programs."""

    @jax.jit
    def carry_and_outputs(variables, x, carry=None, lengths=None):
        y = layer.apply(variables, x, carry, seq_lengths=lengths, return_carry=return_carry)
        return y if return_carry else (None, y)

    return lambda *args: jax.device_get(carry_and_outputs(*args))


@functools.cache
def one_step(layer):
    return jax.jit(functools.partial(layer.apply, method="step"))


def by_steps(layer, variables, carry, x):
    """The outputs of one step after the other, [batch, time, features]."""
    outputs = []
    for t in range(x.shape[1]):
        carry, y = one_step(layer)(variables, carry, x[:, t])
        outputs.append(y)
    return np.stack(outputs, axis=1)


@every_layer
def test_one_step_at_a_time_equals_whole_sequence(layer):
    x, variables = make(layer)
    _, whole = apply(layer)(variables, x)
    assert whole.shape[-1] == layer.output_features(I)
    steps = by_steps(layer, variables, layer.initial_carry(B, I), x)
    np.testing.assert_allclose(steps, whole, atol=1e-5)
    carry, _ = apply(layer)(variables, x, None, np.full(B, 5))
    np.testing.assert_allclose(by_steps(layer, variables, carry, x[:, 5:]), whole[:, 5:], atol=1e-5)


# The layers of cells are one class.
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - nn.LAYERS.keys() | {"lstm", "lru"}))
def test_parameters_are_the_same_made_either_way(name):
    layer = LAYERS[name]
    x, _ = make(layer)
    by_sequence = jax.jit(layer.init)(jax.random.key(1), x)
    by_step = jax.jit(functools.partial(layer.init, method="step"))(
        jax.random.key(1), layer.initial_carry(B, I), x[:, 0]
    )
    jax.tree.map(np.testing.assert_array_equal, by_sequence, by_step)


@every_layer
def test_padded_batch_equals_each_sequence_alone(layer):
    x, variables = make(layer)
    _, y = apply(layer)(variables, x, None, LENGTHS)
    _, whole = apply(layer)(variables, x)  # whose steps see none of those after them: see below
    for b, n in enumerate(LENGTHS):
        np.testing.assert_allclose(y[b, :n], whole[b, :n], atol=1e-5)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - nn.LAYERS.keys()))  # those: tests/ops
def test_padding_reaches_no_gradient(name):
    layer = LAYERS[name]
    x, variables = make(layer)
    dirty = x.copy()
    dirty[1], dirty[2, 3:] = np.nan, np.inf

    def valid_outputs(variables, dirty):
        y = layer.apply(variables, dirty, seq_lengths=LENGTHS)
        steps = layer.output_length(jnp.asarray(LENGTHS))
        valid = jnp.arange(y.shape[1])[None, :, None] < steps[:, None, None]
        return jnp.sum(jnp.where(valid, y, 0) ** 2)

    gradients = jax.jit(jax.grad(valid_outputs))(variables, dirty)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@every_layer
def test_causality_by_gradient(layer):
    x, variables = make(layer)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[0]))(x)
    reach = np.abs(np.asarray(jacobian)[:, :, 0]).sum(axis=(1, 3))
    assert not np.triu(reach, 1).any()
    assert (np.diag(reach) > 0).any()


@every_layer
def test_every_leaf_of_a_carry_begins_with_the_batch(layer):
    """So that one `jax.tree.map` reorders beams, or splits a batch."""
    x, variables = make(layer)
    carry, _ = apply(layer)(variables, x)
    for found in (carry, layer.initial_carry(B, I)):
        assert {leaf.shape[0] for leaf in jax.tree.leaves(found)} <= {B}
    same = jax.tree.map(lambda a, b: a.shape == b.shape, carry, layer.initial_carry(B, I))
    assert all(jax.tree.leaves(same))
    order = np.array([2, 0, 1])
    turned = jax.tree.map(lambda leaf: leaf[order], carry)
    _, y = apply(layer)(variables, x, carry)
    _, reordered = apply(layer)(variables, x[order], turned)
    np.testing.assert_allclose(reordered, y[order], atol=1e-6)


@every_layer
def test_errors_say_what_does_not_fit(layer):
    x, variables = make(layer)
    given = jnp.asarray(x)
    if not isinstance(layer, nn.Dense):  # which takes any rank
        with pytest.raises(ValueError, match=r"x must be \[batch, time, features\]"):
            layer.apply(variables, given[0])
    with pytest.raises(ValueError, match=r"x holds int32.*nn\.Embed"):
        layer.apply(variables, jnp.ones((B, T, 1), int))
    with pytest.raises(ValueError, match=r"(must be|are for).*"):
        layer.apply(variables, jnp.ones((B, T, I + 3)))
    if jax.tree.leaves(layer.initial_carry(B, I)):
        with pytest.raises(ValueError, match="carr"):
            layer.apply(variables, given, jnp.ones((B, 17)))
    _, long = apply(layer)(variables, x, None, np.array([8, 200, 3], np.uint8))
    _, clipped = apply(layer)(variables, x, None, np.array([8, 8, 3]))
    np.testing.assert_array_equal(long, clipped)


def test_a_layer_without_biases_is_one_whose_biases_are_zero():
    def stack(**options):
        conv = functools.partial(nn.CausalConv, kernel_size=2)
        kinds = (nn.LSTM, nn.GRU, nn.MinGRU, conv, nn.Dense)
        return nn.Stack(tuple(kind(3, **options) for kind in kinds))

    x, variables = make(stack())
    zeros = flatten_dict(variables["params"])
    kept = {path: leaf for path, leaf in zeros.items() if not path[-1].endswith("bias")}
    zeros |= {path: np.zeros_like(zeros[path]) for path in zeros.keys() - kept.keys()}
    kept = unflatten_dict(kept)
    without, key = stack(use_bias=False), jax.random.key(0)
    shapes = jax.eval_shape(without.init, key, x)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, kept)
    _, expected = apply(stack())({"params": unflatten_dict(zeros)}, x)
    np.testing.assert_allclose(apply(without)({"params": kept}, x)[1], expected, atol=1e-6)
    for kind in ops.CELLS.values():
        cell = kind()
        params = jax.eval_shape(lambda k, c=cell: ops.init(c, k, I, 3, use_bias=False), key)
        assert not any(getattr(params, name, None) for name in ("bias", "recurrent_bias"))
        assert jax.eval_shape(functools.partial(ops.run, cell), params, x).shape == (B, T, 3)


def test_generated_layers_can_be_pickled():
    stack = nn.Stack((*(kind(4) for kind in nn.LAYERS.values()), nn.Dense(1)))
    assert pickle.loads(pickle.dumps(stack)) == stack


def test_bidirectional_is_two_layers_side_by_side():
    layer = nn.Bidirectional(nn.GRU(4))
    x, variables = make(layer)
    _, y = apply(layer)(variables, x, None, LENGTHS)
    apart = (
        (nn.GRU(4), "forward"),
        (nn.GRU(4, reverse=True, keep_order=True), "backward_layer"),
    )
    both = [
        apply(one)({"params": variables["params"][name]}, x, None, LENGTHS)[1]
        for one, name in apart
    ]
    np.testing.assert_allclose(y, np.concatenate(both, axis=-1), atol=1e-6)
    assert y.shape[-1] == layer.output_features(I)
    _, alone = apply(layer)(variables, x[2:, :3])
    np.testing.assert_allclose(y[2:, :3], alone, atol=1e-6)


def test_bidirectional_takes_forward_recurrent_layers_only():
    for layer in (nn.LSTM(2, reverse=True), nn.Stack((nn.LSTM(2),))):
        with pytest.raises(ValueError, match="run forwards"):
            nn.Bidirectional(layer).init(jax.random.key(0), jnp.zeros((1, 2, I)))


def test_bidirectional_refuses_single_steps():
    layer = nn.Bidirectional(nn.RNN(4))
    x, variables = make(layer)
    with pytest.raises(ValueError, match="one step at a time"):
        one_step(layer)(variables, layer.initial_carry(B, I), x[:, 0])
    with pytest.raises(ValueError, match="one step at a time"):
        one_step(nn.RNN(4, reverse=True))({}, jnp.zeros((B, 4)), x[:, 0])


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}])
def test_dropout_in_a_recurrent_layer_is_one_mask_for_all_steps(rates):
    layer = nn.LSTM(16, **rates)
    x, variables = make(layer, inputs=16)

    @jax.jit
    def draw(seed, x):  # and the gradient of the first sequence's outputs
        def outputs(x):
            rngs = {"dropout": jax.random.key(seed)}
            y = layer.apply(variables, x, deterministic=False, rngs=rngs)
            return jnp.sum(y[0]), y

        gradient, y = jax.grad(outputs, has_aux=True)(x)
        return y, gradient

    whole = apply(layer)(variables, x)[1]
    np.testing.assert_array_equal(whole, apply(nn.LSTM(16))(variables, x)[1])
    (zero, gradient), (again, _), (one, _) = (jax.device_get(draw(s, x)) for s in (0, 0, 1))
    np.testing.assert_array_equal(zero, again)
    assert (zero != one).any()
    first = np.isclose(zero[:, 0], whole[:, 0], atol=1e-6)  # of two programs
    assert first.all() == ("recurrent_dropout" in rates)  # h before the first step is zero
    if "dropout" in rates:  # what is masked has no gradient at any step, what is kept at all
        masked = gradient[0] == 0
        assert (masked == masked[:1]).all()
        assert masked.any()
        assert not masked.all()


def test_a_recurrent_mask_is_drawn_for_each_sequence_and_scaled():
    layer = nn.RNN(400, activation=lambda z: z, recurrent_dropout=0.25)
    identity = {"kernel": jnp.zeros((1, 400)), "recurrent_kernel": jnp.eye(400)}
    variables = {"params": identity | {"bias": jnp.zeros(400)}}
    y = np.asarray(
        layer.apply(
            variables,
            jnp.zeros((2, 3, 1)),
            jnp.ones((2, 400)),
            deterministic=False,
            rngs={"dropout": jax.random.key(0)},
        )
    )
    np.testing.assert_allclose(np.unique(y[:, 0]), [0, 4 / 3], atol=1e-6)
    np.testing.assert_allclose(y[:, 1], y[:, 0] * y[:, 0], atol=1e-6)  # the same mask again
    assert (y[0] != y[1]).any()
    assert abs(np.mean(y[:, 0] == 0) - 0.25) < 0.05
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        nn.GRU(2, dropout=1.0).init(jax.random.key(0), jnp.ones((1, 2, 1)), deterministic=False)


def test_weight_norm_separates_length_and_direction():
    layer = nn.CausalConv(4, kernel_size=2, weight_norm=True)
    x = jnp.ones((B, T, I))
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]  # whose scale is the length
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
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 64, I)), jnp.float32)
    variables = drawn(nn.Stack(layers).init, x)

    def gradient_and_kept_bytes(stack):
        def loss(variables):
            return jnp.mean(stack.apply(variables, x) ** 2)

        pullback = jax.eval_shape(lambda v: jax.vjp(loss, v)[1], variables)
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))
        return jax.jit(jax.grad(loss))(variables), kept

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
        return stack.apply(variables, jnp.asarray(x), deterministic=False, rngs=rngs)

    drawn = np.stack([draw(0), *(draw(seed) for seed in range(400))])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[1] != drawn[2]).any()
    assert (drawn[0] != 0).all()  # not after the last layer
    np.testing.assert_allclose(drawn[1:].mean(axis=0), apply(stack)(variables, x)[1], atol=1.0)
    alone = nn.Stack((nn.Dense(5),), dropout=0.4)
    x, variables = make(alone)
    rngs = {"dropout": jax.random.key(0)}
    np.testing.assert_array_equal(
        alone.apply(variables, jnp.asarray(x), deterministic=False, rngs=rngs),
        apply(alone)(variables, x)[1],
    )


def test_a_strided_layer_shortens_the_lengths_above_it():
    stack = nn.Stack((nn.CausalConv(4, kernel_size=2, stride=2), nn.LSTM(3)))
    x, variables = make(stack)
    outputs = apply(stack, return_carry=False)
    _, y = outputs(variables, x, None, LENGTHS)
    _, alone = outputs(variables, x[2:, :3])
    np.testing.assert_allclose(y[2:, :2], alone, atol=1e-6)
    assert not y[2, 2:].any()
    with pytest.raises(ValueError, match="slower rate"):
        one_step(stack)(variables, stack.initial_carry(B, I), x[:, 0])


def test_a_strided_last_layer_answers_at_every_step():
    layer = nn.CausalConv(4, kernel_size=3, stride=2)
    x, variables = make(layer)
    steps = by_steps(layer, variables, layer.initial_carry(B, I), x)
    np.testing.assert_allclose(steps[:, ::2], apply(layer)(variables, x)[1], atol=1e-5)


def test_valid_padding_counts_only_whole_pasts():
    layer = nn.CausalConv(4, kernel_size=3, stride=2, padding="valid")
    x, variables = make(layer)
    outputs = apply(layer, return_carry=False)
    _, y = outputs(variables, x, None, np.array([8, 6, 2]))
    assert layer.output_length(8) == y.shape[1] == 3
    np.testing.assert_allclose(y[1:2, :2], outputs(variables, x[1:2, :6])[1], atol=1e-6)
    assert not y[1, 2:].any()
    assert not y[2].any()


def test_valid_padding_refuses_single_steps():
    layer = nn.CausalConv(4, kernel_size=3, padding="valid")
    x, variables = make(layer)
    with pytest.raises(ValueError, match='padding="causal"'):
        one_step(layer)(variables, layer.initial_carry(B, I), x[:, 0])


def test_dtype_is_that_of_the_computation_not_of_the_parameters():
    layer = nn.LSTM(4, dtype=jnp.bfloat16)
    x, variables = make(layer)
    carry, y = apply(layer)(variables, x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(jnp.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_a_layer_works_inside_nnx():
    layer = nn.LSTM(4)
    x = jnp.asarray(make(layer)[0])
    wrapped = nnx.bridge.ToNNX(layer, rngs=nnx.Rngs(0)).lazy_init(x)
    params = ops.LSTMParams(wrapped.kernel[...], wrapped.recurrent_kernel[...], wrapped.bias[...])
    np.testing.assert_allclose(wrapped(x), jax.jit(ops.lstm)(params, x), atol=1e-6)


def test_seasonal_residual_starts_from_the_seasonal_mean():
    layer = nn.SeasonalResidual(nn.LSTM(3), period=4, cycles=2)
    x = np.random.default_rng(0).normal(size=(2, 12, 1)).astype(np.float32)
    _, y = apply(layer)(jax.jit(layer.init)(jax.random.key(1), x), x)
    t = 10  # forecasts x[11] from x[7] and x[3]
    np.testing.assert_allclose(y[:, t], (x[:, 7] + x[:, 3]) / 2, atol=1e-6)


def test_seasonal_residual_reads_its_own_place_and_the_neighbours():
    layer = nn.SeasonalResidual(nn.LSTM(3), period=4, cycles=2)
    _, variables = make(layer, inputs=1)
    x = np.random.default_rng(3).normal(size=(1, 12, 1)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: layer.apply(variables, x)[0, 10, 0]))(x)
    assert np.flatnonzero(gradient).tolist() == [2, 3, 4, 6, 7, 8]
    with pytest.raises(ValueError, match="one series"):
        layer.initial_carry(2, 3)


def test_a_stack_of_alike_layers_runs_in_one_loop(monkeypatch):
    """Parameters of the same names and outputs; the carries continue a sequence as they should."""
    stack = nn.Stack((nn.LSTM(4), nn.LSTM(4), nn.Dense(2), nn.LSTM(3)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 3)), jnp.float32)
    params = drawn(stack.init, x)
    lengths = np.array([6, 2])

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
    again = jax.eval_shape(stack.init, jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, params)
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
    params = drawn(plain.init, x)["params"]
    _, one = apply(nn.LSTM(4))({"params": params["layers_0"]}, x)
    _, two = apply(nn.LSTM(4))({"params": params["layers_1"]}, 2 * one)
    np.testing.assert_allclose(loud.apply({"params": params}, x), 2 * two, atol=1e-6)


def test_a_convolutions_activation_goes_by_name_too():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    plain, named = (nn.CausalConv(4, 2, activation=name) for name in (None, "tanh"))
    params = drawn(plain.init, x)
    np.testing.assert_array_equal(named.apply(params, x), jnp.tanh(plain.apply(params, x)))


def test_a_convolution_is_zero_after_a_sequences_end_whatever_its_activation_makes_of_zero():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    layer = nn.CausalConv(4, 2, stride=2, activation="sigmoid")
    params = drawn(layer.init, x)
    outputs = apply(layer, return_carry=False)
    _, y = outputs(params, x, None, np.array([6, 3]))
    assert not y[1, 2:].any()
    np.testing.assert_allclose(y[1, :2], outputs(params, x[1:, :3])[1][0], atol=1e-6)
