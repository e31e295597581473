import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

X = np.random.default_rng(0).normal(size=(3, 8, 1)).astype(np.float32)


@pytest.mark.parametrize("architecture", ["rnn", "lstm", "lru", "conv"])
def test_step_by_step_equals_the_whole_and_learns_through_dropout(architecture):
    model = models.make(architecture, inputs=1, features=(6, 5), outputs=2, dropout=0.3)
    params = drawn(model.init)
    y = run(model.apply, params, X)
    assert y.shape == (3, 8, 2)
    carry, outputs, step = model.initial_carry(3), [], jax.jit(model.step)
    for t in range(8):
        carry, y_t = step(params, carry, X[:, t])
        outputs.append(y_t)
    np.testing.assert_allclose(np.stack(outputs, axis=1), y, atol=1e-5)
    noisy = run(model.apply, params, X, key=jax.random.key(2))
    assert (noisy != y).any()
    first = (step(params, model.initial_carry(3), k * X[:, 0])[1] for k in (-1, 0, 1))
    down, zero, up = map(np.asarray, first)
    assert np.abs(up + down - 2 * zero).max() > 1e-3  # not linear, whatever the cell is


def test_last_answers_at_each_sequences_own_end():
    every = models.make("gru", inputs=1, features=(4,), outputs=2)
    last = models.make("gru", inputs=1, features=(4,), outputs=2, last=True)
    params = drawn(every.init)
    y = run(every.apply, params, X)
    np.testing.assert_allclose(run(last.apply, params, X), y[:, -1], atol=1e-6)
    ends = run(last.apply, params, X, seq_lengths=np.array([8, 3, 1]))
    np.testing.assert_allclose(ends, y[np.arange(3), np.array([7, 2, 0])], atol=1e-6)
    carry, ends = run(last.apply, params, X, return_carry=True)
    assert jax.tree.leaves(carry)[0].shape == (3, 4)


# The chapter's own counts (issue 3 builds the models).
@pytest.mark.parametrize(
    ("architecture", "outputs", "count"),
    [("rnn", 1, 1281), ("rnn", 10, 1470), ("lstm", 10, 5250), ("gru", 10, 4110)],
)
def test_parameter_counts_are_the_published_ones(architecture, outputs, count):
    model = models.make(architecture, inputs=1, features=(20, 20), outputs=outputs)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_any_layer_becomes_a_model():
    model = models.from_layer(nn.Bidirectional(nn.RNN(2)), inputs=1)
    assert run(model.apply, drawn(model.init), X).shape == (3, 8, 4)


def test_strided_and_valid_convolutions_make_models():
    layer = nn.Stack((nn.CausalConv(3, kernel_size=4, stride=2, padding="valid"), nn.GRU(2)))
    model = models.from_layer(layer, inputs=1, last=True)
    params = drawn(model.init)
    lengths = np.array([8, 6, 7])
    y = run(model.apply, params, X, seq_lengths=lengths)
    for b, n in enumerate(lengths):
        alone = run(model.apply, params, X[b : b + 1, :n])
        np.testing.assert_allclose(y[b : b + 1], alone, atol=1e-6)


def test_errors_say_what_is_known():
    with pytest.raises(ValueError, match="'transformer'"):
        models.make.__wrapped__("transformer", inputs=1, features=(2,), outputs=1)
    with pytest.raises(ValueError, match=r"not 'GRU'\. Did you mean 'gru'"):
        models.make("GRU", inputs=1, features=2, outputs=1)
    with pytest.raises(ValueError, match="at least one layer"):
        models.make("rnn", inputs=1, features=(), outputs=1)


def test_generate_feeds_the_model_its_own_outputs():
    model = models.make("lstm", inputs=1, features=(5,), outputs=1)
    params = drawn(model.init)
    series = X
    for _ in range(4):  # the window read anew for every step
        series = np.concatenate([series, run(model.apply, params, series)[:, -1:]], axis=1)
    x = jnp.asarray(X)
    ours = jax.device_get(models.generate(model, params, x, 4))
    np.testing.assert_allclose(ours, series[:, 8:], atol=1e-6)
    last = models.make("lstm", inputs=1, features=(5,), outputs=1, last=True)
    np.testing.assert_array_equal(models.generate(last, params, x, 4), ours)
    np.testing.assert_allclose(models.generate(model, params, x, 1), ours[:, :1], atol=1e-6)


def test_generate_draws_with_a_key_of_its_own_for_every_step():
    model = models.make("gru", inputs=3, features=(5,), outputs=3)
    params = drawn(model.init)
    context = jax.nn.one_hot(jnp.array([[0, 1, 2], [2, 2, 0]]), 3)

    traced = []

    def sample(key, y):
        traced.append(y)
        return jax.nn.one_hot(jax.random.categorical(key, y), 3)

    def draw(seed):
        key = jax.random.key(seed)
        return np.asarray(models.generate(model, params, context, 20, key=key, sample=sample))

    first, compiled = draw(0), len(traced)
    again, other = draw(0), draw(1)
    assert len(traced) == compiled  # once, though it was called from outside of jax.jit
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first[0], axis=0)) > 1
    np.testing.assert_array_equal(first.sum(-1), 1)


def test_generating_from_a_wavenet_costs_the_same_for_every_sample():
    """One loop of one step's products, whatever the number of samples."""
    layer = nn.WaveNet(1, dilations=(1, 4), residual_features=4)
    model = models.from_layer(layer, inputs=1)
    params = drawn(model.init)
    apply = jax.jit(model.apply)
    series, x = np.pad(X, ((0, 0), (0, 8), (0, 0))), jnp.asarray(X)
    for t in range(8, 16):  # the whole series read anew for every sample
        series[:, t] = np.asarray(apply(params, series))[:, t - 1]
    np.testing.assert_allclose(models.generate(model, params, x, 8), series[:, 8:], atol=1e-5)

    def program(steps):
        jaxpr = jax.make_jaxpr(lambda params: models.generate(model, params, x, steps))(params)
        return str(jaxpr).count("dot_general"), re.findall(r"length=(\d+)", str(jaxpr))

    (few, short), (many, long) = program(10), program(1000)
    assert few == many
    assert (short, long) == (["9"], ["999"])


def test_generate_says_what_does_not_fit():
    model = models.make("gru", inputs=1, features=(2,), outputs=2)
    params = drawn(model.init)
    with pytest.raises(ValueError, match="as many outputs as inputs"):
        models.generate(model, params, jnp.asarray(X), 2)
    with pytest.raises(ValueError, match="at least 1"):
        models.generate.__wrapped__(model, params, jnp.asarray(X), 0)
    with pytest.raises(ValueError, match="no sample that makes any"):
        models.generate(model, params, X, 2, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"shape is \(3, 0, 1\)"):
        models.generate(model, params, X[:, :0], 2)
    model = models.captioner("gru", vocab_size=5, condition=2, features=3)
    words, moving = np.array([[1, 2], [3, 0]]), {"condition": np.ones((2, 4, 2))}
    params, generate = drawn(model.init), models.generate.__wrapped__  # as without types
    for given, change, wrong in (
        (words, {}, r"draws need a key, .*sampler\(0\), needs none"),
        ([[1, 2], [3]], {}, r"pad them \(seqjax.data.padded\) and give seq_lengths"),
        (words, {"seq_lengths": [2, 0]}, "at least 1, but are"),
        (words, {"seq_lengths": [2, 1], "context": moving}, "group sequences by length"),
    ):
        with pytest.raises(ValueError, match=wrong):
            generate(model, params, given, 2, **change)


@pytest.mark.parametrize("architecture", ["lstm", "conv"])
def test_an_option_that_a_layer_lacks_is_named(architecture):
    with pytest.raises(
        ValueError, match=rf"{architecture} has no option 'param_dtyp'.*param_dtype"
    ):
        models.make(architecture, inputs=1, features=(4,), outputs=1, param_dtyp="bfloat16")
