"""Answers at the end of a sequence, and stacks of mixed precision."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import linen
from jax.sharding import PartitionSpec as P

from seqjax import models, nn
from tests.compiled import drawn, run

B, T, I = 3, 8, 2
LENGTHS = np.array([8, 1, 3])
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
STACKS = {
    "both ways": nn.Bidirectional(nn.GRU(3)),
    "under a head": nn.Stack((nn.Bidirectional(nn.LSTM(3)), nn.BatchNorm(), nn.Dense(2))),
    "above others": nn.Stack(
        (nn.RNN(3), nn.Bidirectional(nn.RNN(3), nn.LSTM(2)), nn.Dense(2, activation="tanh"))
    ),
    "under a block without memory": nn.Stack(
        (nn.Bidirectional(nn.GRU(2)), nn.Residual(nn.Dense(4), 4))
    ),
    "above a stride": nn.Stack(
        (nn.CausalConv(3, 2, stride=2), nn.Bidirectional(nn.MinGRU(3)), nn.Dense(2))
    ),
}


@pytest.mark.parametrize("layer", STACKS.values(), ids=STACKS)
def test_each_direction_answers_at_its_own_end(layer):
    """As one sequence after the other, whose backward half ends at its first step."""
    model = models.from_layer(layer, I, last=True)
    every = models.from_layer(layer, I)
    params = drawn(model.init)
    apply = jax.jit(model.apply)
    dirty, other = X.copy(), X.copy()
    dirty[1, 1:] = np.nan
    other[0, 0] += 3
    y = apply(params, dirty, seq_lengths=LENGTHS)
    for b, n in list(enumerate(LENGTHS))[1:]:
        np.testing.assert_allclose(y[b], apply(params, X[b : b + 1, :n])[0], atol=1e-6)
    # The backward half's last step has seen one input: there the answer must not stand.
    steps = run(every.apply, params, X, seq_lengths=LENGTHS)
    assert (np.abs(y - steps[:, -1]) > 1e-6).any()
    changed = apply(params, other, seq_lengths=LENGTHS)
    assert (np.asarray(changed)[0] != np.asarray(y)[0]).any()


def test_both_directions_end_in_their_carries():
    layer = nn.Bidirectional(nn.GRU(3))
    model = models.from_layer(layer, I, last=True)
    params = drawn(model.init)
    carry, y = run(model.apply, params, X, seq_lengths=LENGTHS, return_carry=True)
    np.testing.assert_allclose(y, np.concatenate(carry, axis=-1), atol=1e-6)
    stack = models.from_layer(nn.Stack((nn.Dense(2), layer, nn.Dense(1))), I, last=True)
    ends, y = run(stack.apply, drawn(stack.init), X, return_carry=True)
    assert jax.tree.map(jnp.shape, ends) == ((), ((B, 3), (B, 3)), ())
    assert y.shape == (B, 1)


def test_below_another_recurrent_layer_it_answers_every_step():
    """The last step of the layer above is the answer, as in Keras."""
    layer = nn.Stack((nn.Bidirectional(nn.GRU(3)), nn.LSTM(4)))
    params = drawn(models.from_layer(layer, I).init)
    last = run(models.from_layer(layer, I, last=True).apply, params, X)
    np.testing.assert_array_equal(last, run(models.from_layer(layer, I).apply, params, X)[:, -1])


@pytest.mark.parametrize("name", nn.LAYERS)
def test_parameters_of_another_precision_than_the_inputs(name):
    """A stack of alike layers takes what a layer alone takes."""
    kind = nn.LAYERS[name]
    stack = nn.Stack((kind(8), kind(8)))
    params = jax.device_get(drawn(stack.init, X))
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    y = run(stack.apply, low, X)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, run(stack.apply, params, X), atol=0.1)
    assert jax.eval_shape(stack.apply, low, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", nn.LAYERS)
def test_parameters_are_drawn_in_any_precision(name):
    layer = nn.LAYERS[name](8, param_dtype=jnp.bfloat16)
    variables = jax.jit(layer.init)(jax.random.key(0), X)
    leaves = jax.tree.leaves(jax.device_get(variables))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    assert all(np.isfinite(leaf.astype(np.float32)).all() for leaf in leaves)
    assert np.isfinite(run(layer.apply, variables, X)).all()
    if "recurrent_kernel" in variables["params"]:
        given = layer.clone(recurrent_init=jax.nn.initializers.orthogonal())
        assert jax.tree.leaves(jax.jit(given.init)(jax.random.key(0), X))[0].dtype == jnp.bfloat16


def test_a_given_initialiser_is_the_whole_of_it():
    """A chrono initialisation, say, of an LSTM's forget gate."""
    layer = nn.LSTM(2, bias_init=lambda key, shape, dtype: jnp.arange(8.0, dtype=dtype))
    bias = jax.jit(layer.init)(jax.random.key(0), X)["params"]["bias"]
    assert bias.tolist() == list(range(8))
    layer = nn.MinGRU(2, recurrent_init=jax.nn.initializers.zeros)
    with pytest.raises(ValueError, match="MinGRU has no recurrent_kernel to draw"):
        jax.jit(layer.init)(jax.random.key(0), X)


def test_what_reads_both_ways_without_an_end_is_refused():
    layer = nn.Residual(nn.Stack((nn.Bidirectional(nn.GRU(2)), nn.Dense(2))), 2)
    with pytest.raises(ValueError, match=r"Residual: part of it reads backwards.*no single end"):
        run(models.from_layer(layer, I, last=True).apply, {}, X)
    backwards = nn.GRU(3, reverse=True, keep_order=True)
    params = drawn(models.from_layer(backwards, I).init)
    y = run(models.from_layer(backwards, I, last=True).apply, params, X, seq_lengths=LENGTHS)
    carry, _ = run(backwards.apply, {"params": params}, X, seq_lengths=LENGTHS, return_carry=True)
    np.testing.assert_allclose(y, carry, atol=1e-6)


@pytest.mark.parametrize("rate", [-0.5, 1.0, float("nan")])
def test_a_dropout_rate_is_one(rate):
    for layer in (
        nn.Stack((nn.Dense(I), nn.Dense(I)), dropout=rate),
        nn.Residual(nn.Dense(I), I, dropout=rate),
        nn.Repeat(nn.Dense(I), 2, dropout=rate),
        nn.WaveNet(1, dropout=rate),
        nn.GRU(2, dropout=rate),
    ):
        with pytest.raises(ValueError, match=r"a dropout rate is in \[0, 1\)"):
            layer.init(jax.random.key(0), jnp.asarray(X), deterministic=False)


def test_partitioned_initialisers_are_flax_boxes():
    """`flax.linen.with_partitioning`: a parameter that says how it is to be split."""
    init = linen.with_partitioning(jax.nn.initializers.normal(), (None, "model"))
    layer = nn.LSTM(4, kernel_init=init)
    variables = jax.jit(layer.init)(jax.random.key(0), X)
    assert linen.get_partition_spec(variables)["params"]["kernel"] == P(None, "model")
    unboxed = linen.meta.unbox(variables)
    np.testing.assert_array_equal(run(layer.apply, variables, X), run(layer.apply, unboxed, X))


def test_a_carry_for_another_number_of_layers_is_refused():
    stack = nn.Stack((nn.GRU(3), nn.Dense(2)))
    params = drawn(stack.init, X)
    with pytest.raises(ValueError, match=r"a carry must be a tuple of 2.*not \(\(3, 3\),\)"):
        stack.apply(params, jnp.asarray(X), (jnp.zeros((B, 3)),))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Stack((nn.LSTM(4), linen.LayerNorm())), "linen.*LayerNorm is no layer"),
        (lambda: nn.Stack(nn.LSTM(4), nn.Dense(1)), "layers are one tuple, .* not LSTM"),
        (lambda: nn.Parallel((nn.LSTM, nn.GRU(3))), "is no layer of seqjax.nn"),
    ],
)
def test_what_is_no_layer_is_refused(make, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users have it
    with pytest.raises(ValueError, match=words):
        make()
