import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, losses, models, nn
from tests.compiled import drawn, run

B, T, F, N = 3, 6, 4, 2
RNG = np.random.default_rng(0)
X, CONSTANT, CHANGING = (
    RNG.normal(size=shape).astype(np.float32) for shape in ((B, T, F), (B, N), (B, T, N))
)
LENGTHS = np.array([6, 0, 3])
ENCODER = nn.Stack((nn.Dense(5, "tanh"), nn.Dense(3)))


def made(layer):
    """A model and parameters away from their initialisers' zeros."""
    model = models.from_layer(layer, F)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda a: jnp.asarray(random.normal(size=a.shape) / 2, a.dtype), shapes
    )


@pytest.mark.parametrize("c", [CONSTANT, CHANGING], ids=["constant", "changing"])
@pytest.mark.parametrize("encoder", [None, ENCODER], ids=["plain", "encoder"])
def test_it_is_its_equation_one_step_at_a_time_too(encoder, c):
    model, params = made(nn.Condition(N, encoder=encoder))
    code = np.asarray(c if c.ndim == 3 else np.repeat(c[:, None], T, axis=1))
    if encoder is not None:
        one, two = (params["encoder"][f"layers_{k}"]["dense"] for k in (0, 1))
        one, two = (jax.tree.map(np.asarray, each) for each in (one, two))
        code = np.tanh(code @ one["kernel"] + one["bias"]) @ two["kernel"] + two["bias"]
    projection = jax.tree.map(np.asarray, params["projection"])
    expected = X + (code @ projection["kernel"] + projection["bias"])
    y = jax.jit(model.apply)(params, X, context={"condition": c})
    np.testing.assert_allclose(y, expected, atol=1e-5)
    carry, step = model.initial_carry(B), jax.jit(model.step)
    for t in range(T):
        now = {"condition": c if c.ndim == 2 else c[:, t]}
        carry, y_t = step(params, carry, X[:, t], context=now)
        np.testing.assert_allclose(y_t, expected[:, t], atol=1e-5)


@pytest.mark.parametrize("c", [CONSTANT, CHANGING], ids=["constant", "changing"])
def test_padded_equals_alone_values_and_gradients(c):
    model, params = made(nn.Stack((nn.Condition(N, encoder=ENCODER), nn.GRU(3))))

    def loss(params, x, c, lengths=None):
        y = model.apply(params, x, seq_lengths=lengths, context={"condition": c})
        if lengths is not None:
            y = jnp.where(losses.token_weights(lengths, T)[..., None] > 0, y, 0)
        return jnp.sum(y**2)

    past = np.arange(T)[:, None] >= LENGTHS[:, None, None]
    dirty = np.where(past, np.float32(np.nan), c) if c.ndim == 3 else c
    gradient = jax.jit(jax.value_and_grad(loss))
    batch = gradient(params, np.where(past, np.float32(np.inf), X), dirty, LENGTHS)
    alone = jax.tree.map(np.zeros_like, batch)
    for b, n in enumerate(LENGTHS):
        own = c[b : b + 1] if c.ndim == 2 else c[b : b + 1, :n]
        if n:
            one = gradient(params, X[b : b + 1, :n], own)
            alone = jax.tree.map(np.add, alone, one)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), batch, alone)


def test_what_it_reads_is_named_and_checked():
    model, params = made(nn.Condition(N, reads="speaker"))
    with pytest.raises(ValueError, match=r"must hold 'speaker', \[batch, 2\]"):
        run(model.apply, params, X)
    with pytest.raises(ValueError, match=r"speaker must be \[3, 2\] or \[3, 6, 2\] .*\(3, 5\)"):
        run(model.apply, params, X, context={"speaker": jnp.ones((B, 5))})
    with pytest.raises(ValueError, match="must stand alone"):
        models.from_layer(nn.Condition(N, encoder=nn.GRU(2)), F).init(jax.random.key(0))


def test_a_captioner_says_what_its_condition_is_streams_and_is_saved(tmp_path):
    model = models.captioner("gru", vocab_size=5, condition=N, features=(6, 6), embedding=4)
    params = drawn(model.init)
    words, context = np.array([[1, 3, 2], [1, 4, 4], [1, 0, 0]], np.int32), {"condition": CONSTANT}
    y = run(model.apply, params, words, context=context)
    assert (y[0, 0] != y[1, 0]).any()  # the same word of two pictures
    continued = words
    for _ in range(4):
        logits = run(model.apply, params, continued, context=context)[:, -1]
        continued = np.concatenate([continued, logits.argmax(-1)[:, None]], axis=1)
    words, context = jnp.asarray(words), jax.tree.map(jnp.asarray, context)
    greedy = {"key": jax.random.key(0), "sample": lambda key, y: y.argmax(-1)}
    found = models.generate(model, params, words, 4, context=context, **greedy)
    np.testing.assert_array_equal(found, continued[:, 3:])
    io.save_model(tmp_path / "captioner.safetensors", model, params)
    again, params = io.load_model(tmp_path / "captioner.safetensors")
    assert again.layer == model.layer
    np.testing.assert_array_equal(run(again.apply, params, words, context=context), y)


def test_a_captioner_names_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"'gruu'.*gru"):
        models.captioner("gruu", vocab_size=5, condition=N)
    with pytest.raises(ValueError, match="no option 'peepholes'"):
        models.captioner("gru", vocab_size=5, condition=N, peepholes=True)
    with pytest.raises(ValueError, match="at least one layer"):
        models.captioner("gru", vocab_size=5, condition=N, features=())
