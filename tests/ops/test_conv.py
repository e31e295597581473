import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops import convolve
from seqjax.ops.convolve import Window

B, T = 2, 11
SETTINGS = {
    "plain": {"kernel_size": 3},
    "dilated": {"kernel_size": 2, "dilation": 4},
    "dilated by 3, 3 taps": {"kernel_size": 3, "dilation": 3},
    "grouped": {"kernel_size": 2, "groups": 2, "dilation": 2},
    "depthwise": {"kernel_size": 3, "groups": 4},
    "one tap": {"kernel_size": 1},
    "longer than the sequence": {"kernel_size": 3, "dilation": 7},
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())


def make(kernel_size, groups=1, **_):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(kernel_size, 4 // groups, 8))
    params = ops.ConvParams(jnp.asarray(kernel), jnp.asarray(rng.normal(size=8)))
    return params, rng.normal(size=(B, T, 4))


def options(setting):
    return {key: value for key, value in setting.items() if key != "kernel_size"}


@functools.cache
def compiled(function, *options):
    """One program for each shape; operation by operation they would be thousands."""
    return jax.jit(functools.partial(function, **dict(options)))


def conv(params, x, *carry, seq_lengths=None, **options):
    """`causal_conv1d`, of arrays of NumPy."""
    if seq_lengths is not None:
        function = functools.partial(ops.causal_conv1d, seq_lengths=seq_lengths, **options)
        return jax.device_get(jax.jit(function)(params, x, *carry))
    return jax.device_get(compiled(ops.causal_conv1d, *options.items())(params, x, *carry))


def steps(setting, params, x, carry=None):
    if carry is None:
        carry = ops.conv_carry(
            x.shape[0], 4, setting["kernel_size"], setting.get("dilation", 1), jnp.dtype(x.dtype)
        )
    outputs = []
    for t in range(x.shape[1]):
        step = compiled(ops.causal_conv1d_step, *options(setting).items())
        carry, y = step(params, carry, x[:, t])
        outputs.append(y)
    return carry, np.stack(outputs, axis=1)


def by_definition(params, x, setting):
    """Sums over taps, in numpy."""
    taps, dilation, groups = (
        setting["kernel_size"],
        setting.get("dilation", 1),
        setting.get("groups", 1),
    )
    x, kernel = np.asarray(x), np.asarray(params.kernel)
    y = np.zeros((B, T, 8)) + np.asarray(params.bias)
    for t in range(T):
        for k in range(taps):
            past = t - (taps - 1 - k) * dilation
            if past >= 0:
                for g in range(groups):
                    ins = slice(g * 4 // groups, (g + 1) * 4 // groups)
                    outs = slice(g * 8 // groups, (g + 1) * 8 // groups)
                    y[:, t, outs] += x[:, past, ins] @ kernel[k][:, outs]
    return y


@every_setting
def test_equals_the_definition(setting, x64):
    params, x = make(**setting)
    y = conv(params, x, **options(setting))
    np.testing.assert_allclose(y, by_definition(params, x, setting), atol=1e-12)


@every_setting
def test_one_step_at_a_time_equals_whole_sequence(setting, x64):
    params, x = make(**setting)
    _, y = steps(setting, params, x)
    np.testing.assert_allclose(y, conv(params, x, **options(setting)), atol=1e-12)


@every_setting
@pytest.mark.parametrize("cut", [1, 4, 10])
def test_a_sequence_in_parts_whichever_way_each_ran(setting, cut, x64):
    params, x = make(**setting)
    whole = conv(params, x, **options(setting))
    keywords = options(setting) | {"return_carry": True}
    by_sequence, first = conv(params, x[:, :cut], **keywords)
    by_step, _ = steps(setting, params, x[:, :cut])
    for carry in (by_sequence, by_step):
        _, second = conv(params, x[:, cut:], carry, **keywords)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-12)
        _, second = steps(setting, params, x[:, cut:], carry)
        np.testing.assert_allclose(second, whole[:, cut:], atol=1e-12)


def test_stride_takes_every_nth_output(x64):
    params, x = make(kernel_size=3)
    every = conv(params, x)
    np.testing.assert_allclose(conv(params, x, stride=2), every[:, ::2], atol=1e-12)
    valid = conv(params, x, stride=2, padding="valid")
    np.testing.assert_allclose(valid, every[:, 2::2], atol=1e-12)


def test_a_stride_goes_on_in_phase(x64):
    params, x = make(kernel_size=3)
    carry, first = conv(params, x[:, :4], stride=2, return_carry=True)
    second = conv(params, x[:, 4:], carry, stride=2)
    whole = conv(params, x, stride=2)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-12)
    with pytest.raises(ValueError, match="phase"):
        conv(params, x[:, :3], stride=2, return_carry=True)


@pytest.mark.parametrize("stride", [1, 2])
def test_padded_batch_equals_each_sequence_alone(stride, x64):
    setting = {"kernel_size": 2, "dilation": 3}
    params, x = make(**setting)
    lengths = np.array([5, 0])
    padded = x.copy()
    padded[0, 5:] = padded[1] = np.nan
    y = conv(params, padded, dilation=3, stride=stride, seq_lengths=lengths)
    alone = conv(params, x[:1, :5], dilation=3, stride=stride)
    np.testing.assert_allclose(y[:1, : alone.shape[1]], alone, atol=1e-12)
    assert not y[0, alone.shape[1] :].any()
    assert not y[1].any()


def test_carry_is_that_of_each_sequences_own_end(x64):
    setting = {"kernel_size": 2, "dilation": 3}
    params, x = make(**setting)
    lengths = np.array([5, 0])
    carry, _ = conv(params, x, dilation=3, seq_lengths=lengths, return_carry=True)
    alone, _ = conv(params, x[:1, :5], dilation=3, return_carry=True)
    np.testing.assert_array_equal(carry.buffer[0], alone.buffer[0])
    assert not carry.buffer[1].any()


@every_setting
def test_causality_by_gradient(setting, x64):
    params, x = make(**setting)
    first = jax.jit(jax.jacrev(lambda x: ops.causal_conv1d(params, x, **options(setting))[0]))
    reach = np.abs(np.asarray(first(x))[:, :, 0]).sum(axis=(1, 3)) > 0
    lags = {setting.get("dilation", 1) * k for k in range(setting["kernel_size"])}
    expected = [[t - s in lags for s in range(T)] for t in range(T)]
    np.testing.assert_array_equal(reach, expected)


def test_receptive_field_is_where_the_gradient_ends(x64):
    dilations = (1, 2, 4)
    rng = np.random.default_rng(0)
    layers = [ops.ConvParams(jnp.asarray(rng.normal(size=(2, 1, 1)))) for _ in dilations]

    def stack(x):
        for params, dilation in zip(layers, dilations, strict=True):
            x = ops.causal_conv1d(params, x, dilation=dilation)
        return x[0, -1, 0]

    gradient = jax.jit(jax.grad(stack))(jnp.ones((1, T, 1)))
    assert np.count_nonzero(gradient) == ops.receptive_field(2, dilations) == 8


WIDE = {"kernel_size": 3, "dilation": 2, "inputs": 64}  # beyond the rule's limit


@pytest.mark.parametrize("setting", [*SETTINGS.values(), WIDE], ids=[*SETTINGS.keys(), "wide"])
@pytest.mark.parametrize(
    ("carried", "extra"),
    [
        (False, {}),
        (False, {"padding": "valid"}),
        (False, {"stride": 2}),
        (False, {"lengths": True}),
        (True, {}),
        (True, {"stride": 2}),
        (True, {"lengths": True}),
    ],
)
def test_derivative_equals_that_of_xlas_convolution(setting, extra, carried, x64):
    rng = np.random.default_rng(0)
    keywords = {k: v for k, v in setting.items() if k not in ("kernel_size", "inputs")} | extra
    if keywords.pop("lengths", False):
        keywords["seq_lengths"] = np.array([4, 0])
    inputs, taps = setting.get("inputs", 4), setting["kernel_size"]
    groups = setting.get("groups", 1)
    params = ops.ConvParams(
        jnp.asarray(rng.normal(size=(taps, inputs // groups, 8))), jnp.asarray(rng.normal(size=8))
    )
    x = jnp.asarray(rng.normal(size=(B, T, inputs)))
    past = (taps - 1) * setting.get("dilation", 1)
    before = jnp.asarray(rng.normal(size=(B, past, inputs)))
    oldest = jnp.asarray(np.zeros(B, np.int32))

    def loss(params, x, before, implementation):
        carry = ops.ConvCarry(before, oldest) if carried else None
        y = ops.causal_conv1d(params, x, carry, implementation=implementation, **keywords)
        return jnp.sum(jnp.sin(y))

    @jax.jit
    def of_both(*arguments):
        gradient = jax.value_and_grad(loss, (0, 1, 2))
        return tuple(gradient(*arguments, name) for name in ("products", "lax"))

    ours, xla = of_both(params, x, before)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), ours, xla)


@pytest.mark.parametrize("padding", ["valid", "causal"])
def test_a_kernel_as_long_as_the_series_costs_little_memory(padding):
    """Gathering under 200 taps at every step would take 200 times the output."""
    rng = np.random.default_rng(0)
    params = ops.ConvParams(jnp.asarray(rng.normal(size=(200, 1, 8)), jnp.float32))
    x = jnp.asarray(rng.normal(size=(4, 200, 1)), jnp.float32)

    def gradient(implementation):
        def loss(p, x):
            y = ops.causal_conv1d(p, x, padding=padding, implementation=implementation)
            return jnp.sum(y**2)

        program = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).compile()
        return program(params, x), program.memory_analysis().temp_size_in_bytes

    (ours, memory), (xla, _) = gradient(None), gradient("lax")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), ours, xla)
    gathered = 4 * 200 * (200 * 8) * 4  # bytes
    assert memory < gathered / 3


def test_forward_mode_works_with_xlas_convolution(x64):
    params, x = make(kernel_size=2)

    def y(x):
        return ops.causal_conv1d(params, x, implementation="lax")

    _, tangent = jax.jit(lambda x: jax.jvp(y, (x,), (x,)))(x)
    zero = conv(params, np.zeros_like(x), implementation="lax")
    np.testing.assert_allclose(tangent, conv(params, x, implementation="lax") - zero, atol=1e-12)


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="implementation must be None or one of"):
        convolve.convolve.__wrapped__(jnp.ones((1, 2, 3)), jnp.ones((1, 3, 1)), Window(), "fast")


def test_errors_name_the_shapes():
    params, x = make(kernel_size=2)
    x = jnp.asarray(x)
    with pytest.raises(ValueError, match="x has 3 inputs"):
        ops.causal_conv1d(params, x[..., :3])
    with pytest.raises(ValueError, match="buffer must be"):
        ops.causal_conv1d_step(params, ops.conv_carry(B, 4, 3), x[:, 0])
    with pytest.raises(ValueError, match="buffer must be"):
        ops.causal_conv1d(params, x, ops.conv_carry(B, 4, 3))
    with pytest.raises(ValueError, match="bias must be"):
        ops.causal_conv1d(params._replace(bias=jnp.zeros(1)), x)
    with pytest.raises(ValueError, match="padding"):
        ops.causal_conv1d(params, x, padding="valid", return_carry=True)


@pytest.mark.parametrize("features", [2, 65])
def test_a_window_longer_than_its_input_has_no_output_and_no_gradient(features):
    """Narrow layers gather, wide ones do not."""
    x, kernel = jnp.ones((1, 2, features)), jnp.ones((2, features, features))

    def total(x, kernel):
        y = ops.causal_conv1d(ops.ConvParams(kernel), x, dilation=8, padding="valid")
        assert y.shape == (1, 0, features)
        return jnp.sum(y)

    gradients = jax.jit(jax.grad(total, (0, 1)))(x, kernel)
    for gradient, like in zip(gradients, (x, kernel), strict=True):
        np.testing.assert_array_equal(gradient, jnp.zeros_like(like))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize("setting", [{"stride": 2}, {"padding": "valid"}])
def test_lengths_of_any_width_keep_the_padding_out(setting, dtype):
    """Shorter than the kernel, and of a type that cannot go below zero or above 255."""
    params = ops.ConvParams(jnp.ones((3, 1, 1)))
    x = np.ones((3, 300, 1), np.float32)
    lengths = np.array([1, 0, 100], dtype)
    y = conv(params, x, seq_lengths=lengths, **setting)
    for b, n in enumerate(lengths.tolist()):
        alone = conv(params, x[b : b + 1, :n], **setting) if n > 2 else y[b:, :0]
        count = ops.conv_output_length(
            n, 3, setting.get("stride", 1), 1, setting.get("padding", "causal")
        )
        assert not y[b, count:].any()
        if n > 2:
            np.testing.assert_allclose(y[b : b + 1, :count], alone)
    found = ops.conv_output_length(lengths, 3, 1, 1, "valid")
    assert found.tolist() == [0, 0, 98]


def test_sequences_may_stand_at_different_places_in_their_rings(x64):
    """Each row of a carry has a place of its own: batches may be put together and split."""
    params, x = make(3, dilation=2)
    step = compiled(ops.causal_conv1d_step, ("dilation", 2))
    other = one = ops.conv_carry(1, 4, 3, 2, jnp.dtype(x.dtype))
    for t in range(3):
        one, _ = step(params, one, x[:1, t])
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)
    assert both.oldest.tolist() == [3, 0]
    both, y = step(params, both, np.stack([x[0, 3], x[1, 0]]))
    whole = conv(params, x, dilation=2)
    np.testing.assert_allclose(y, np.stack([whole[0, 3], whole[1, 0]]), atol=1e-12)
    y = conv(params, np.stack([x[0, 4:9], x[1, 1:6]]), both, dilation=2)
    np.testing.assert_allclose(y, np.stack([whole[0, 4:9], whole[1, 1:6]]), atol=1e-12)
