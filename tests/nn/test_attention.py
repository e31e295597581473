import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

B, T, S, F, M = 3, 5, 7, 4, 6
X = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
MEMORY = np.random.default_rng(1).normal(size=(B, S, M)).astype(np.float32)
LENGTHS = np.array([7, 0, 3])
both = pytest.mark.parametrize("score", ["dot", "additive"])


def made(layer, x=X):
    """Parameters away from their initialisers' zeros."""
    context = {"memory": MEMORY}
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x, context=context)
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: jnp.asarray(random.normal(size=a.shape) / 2, a.dtype), shapes["params"]
    )


def by_definition(params, score, x, memory):
    """One query [F], its memory [S, M]: ``(weights, y)``, in NumPy."""
    params = jax.tree.map(np.asarray, params)
    query = x @ params["query"]["kernel"]
    scores = []
    for one in memory:
        key = one @ params["key"]["kernel"]
        if score == "dot":
            scores.append(query @ key / np.sqrt(len(key)))
        else:
            scores.append(params["energy"] @ np.tanh(query + key + params["key"]["bias"]))
    weights = np.exp(scores) / np.exp(scores).sum()
    found = weights @ memory if len(memory) else np.zeros(M)
    output = np.concatenate([x, found]) @ params["output"]["kernel"] + params["output"]["bias"]
    return weights, np.tanh(output)


@both
def test_it_is_its_equations_over_whole_sequences_and_by_steps(score):
    layer = nn.Attention(5, score)
    params = made(layer)
    context = {"memory": MEMORY, "memory_lengths": LENGTHS}
    options = {"context": context, "return_carry": True, "mutable": "intermediates"}
    (carry, y), sown = run(layer.apply, {"params": params}, X, **options)
    (weights,) = sown["intermediates"]["weights"]
    for b, n in enumerate(LENGTHS):
        for t in range(T):
            expected, output = by_definition(params, score, X[b, t], MEMORY[b, :n])
            np.testing.assert_allclose(weights[b, t, :n], expected, atol=1e-6)
            np.testing.assert_allclose(y[b, t], output, atol=1e-5)
        assert not weights[b, :, n:].any()

    @jax.jit
    def step(carry, x, context):
        return layer.apply({"params": params}, carry, x, context=context, method="step")

    for t in range(T):  # from what was read, and from the context
        np.testing.assert_allclose(step(carry, X[:, t], None)[1], y[:, t], atol=1e-6)
        empty, y_t = step((), X[:, t], context)
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-6)
        assert empty == ()


@both
def test_padded_equals_alone_values_and_gradients(score):
    layer = nn.Attention(5, score)
    params = made(layer)

    def loss(params, x, memory, lengths):
        context = {"memory": memory, "memory_lengths": lengths}
        return jnp.sum(layer.apply({"params": params}, x, context=context) ** 2)

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    valid = np.arange(S)[:, None] < LENGTHS[:, None, None]
    dirty = np.where(valid, MEMORY, np.float32(np.nan))
    value, (of_params, of_x) = gradient(params, X, dirty, LENGTHS)
    alone = [
        gradient(params, X[b : b + 1], MEMORY[b : b + 1, : max(n, 1)], LENGTHS[b : b + 1])
        for b, n in enumerate(LENGTHS)
    ]

    def close(ours, theirs):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)

    close(value, sum(float(one) for one, _ in alone))
    close(of_x, np.concatenate([x for _, (_, x) in alone]))  # of what sees nothing, too
    parts = [p for _, (p, _) in alone]
    jax.tree.map(lambda ours, *own: close(ours, np.sum(own, axis=0)), of_params, *parts)


def test_a_models_weights_are_sown():
    model = models.seq2seq(
        "gru", source_vocab_size=9, target_vocab_size=6, features=(4,), embedding=3
    )
    params = drawn(model.init)
    words, source = jnp.array([[1, 4], [1, 2]]), jnp.array([[3, 1, 4], [5, 2, 0]])
    context = {"source": source, "source_lengths": jnp.array([3, 2])}
    weigh = functools.partial(models.attention_weights, model, context=context)
    weights = run(weigh, params, words)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not weights[1, :, 2].any()
    plain = models.seq2seq(
        "gru", source_vocab_size=9, target_vocab_size=6, features=(4,), attention=None
    )
    with pytest.raises(ValueError, match="no attention"):
        models.attention_weights(plain, drawn(plain.init), words, context=context)


def test_what_does_not_fit_is_told():
    layer = nn.Attention(5)
    params = {"params": made(layer)}
    with pytest.raises(ValueError, match="must hold 'memory'"):
        run(layer.apply, params, X)
    with pytest.raises(ValueError, match=r"must be \[3, source, features\].*\(2, 7, 6\)"):
        run(layer.apply, params, X, context={"memory": MEMORY[:2]})
    with pytest.raises(ValueError, match="carry must be an AttentionCarry"):
        run(layer.apply, params, X, jnp.ones((B, 5)), context={"memory": MEMORY})
