import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, losses, models, nn
from seqjax.nn.spec import layer_from_json, layer_to_json
from tests.compiled import run

B, S, T, IN, OUT = 2, 6, 5, 9, 7
SOURCE = np.random.default_rng(0).integers(0, IN, (B, S), np.int32)
WORDS = np.random.default_rng(1).integers(0, OUT, (B, T), np.int32)
SOURCE_LENGTHS, LENGTHS = np.array([6, 4]), np.array([5, 2])
CONTEXT = {"source": SOURCE, "source_lengths": SOURCE_LENGTHS}


BOTH_WAYS = nn.Bidirectional(nn.GRU(2))


def pair(decoding, *above, encoding=BOTH_WAYS, **options):
    encoder = nn.Stack((nn.Embed(IN, 3), encoding))
    decoder = nn.Stack((nn.Embed(OUT, 3), decoding, *above, nn.Dense(OUT)))
    return nn.EncoderDecoder(encoder, decoder, **options)


WITH_ATTENTION = {
    "dot": pair(nn.GRU(4), nn.Attention(4)),
    "additive, lstm above": pair(nn.LSTM(4), nn.Attention(4, "additive"), nn.LSTM(3)),
    "no bridge, strides": pair(
        nn.RNN(4), nn.Attention(4), encoding=nn.CausalConv(4, 3, stride=2), bridge=False
    ),
}
LAYERS = {name: pair(kind(4)) for name, kind in nn.LAYERS.items()} | WITH_ATTENTION
SOME = {"lru": LAYERS["lru"], **WITH_ATTENTION}
EVERY_CARRY = {name: LAYERS[name] for name in ("lstm", "gru", "min_gru")} | SOME


def made(layer):
    """A model and parameters away from their initialisers' zeros."""
    model = models.from_layer(layer, nn.Tokens(OUT))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    draw = lambda a: jnp.asarray(random.normal(size=a.shape) / 2, a.dtype)  # noqa: E731
    return model, jax.tree.map(draw, shapes)


def outputs(model, params, words=WORDS, context=CONTEXT, **options):
    return run(model.apply, params, words, context=context, **options)


@pytest.mark.parametrize("layer", EVERY_CARRY.values(), ids=EVERY_CARRY)
def test_steps_from_the_carry_need_no_source(layer):
    model, params = made(layer)
    y = outputs(model, params)
    assert y.shape == (B, T, OUT)
    carry, first = outputs(model, params, WORDS[:, :1], return_carry=True)
    np.testing.assert_allclose(first[:, 0], y[:, 0], atol=1e-5)
    shapes, step = jax.tree.map(jnp.shape, carry), jax.jit(model.step)
    for t in range(1, T):
        carry, y_t = step(params, carry, WORDS[:, t])
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-5)
    assert jax.tree.map(jnp.shape, carry) == shapes
    assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {B}


@pytest.mark.parametrize("layer", SOME.values(), ids=SOME)
def test_padded_equals_alone_values_and_gradients(layer):
    """The loss of the last sequence, whose source and target are padded, beside another."""
    model, params = made(layer)

    def loss(params, words, lengths, source, source_lengths):
        context = {"source": source, "source_lengths": source_lengths}
        y = model.apply(params, words, seq_lengths=lengths, context=context)
        weights = losses.token_weights(lengths, words.shape[1])
        return jnp.sum((losses.cross_entropy(y, words) * weights)[-1])

    gradient = jax.jit(jax.value_and_grad(loss))
    (*_, n), (*_, s) = LENGTHS, SOURCE_LENGTHS
    beside = gradient(params, WORDS, LENGTHS, SOURCE, SOURCE_LENGTHS)
    alone = gradient(params, WORDS[1:, :n], n[None], SOURCE[1:, :s], s[None])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), beside, alone)


def test_it_is_data(tmp_path):
    for layer in LAYERS.values():
        assert layer_from_json(layer_to_json(layer)) == layer
    model, params = made(LAYERS["dot"])
    io.save_model(tmp_path / "model.safetensors", model, params)
    again, loaded = io.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(outputs(again, loaded), outputs(model, params))


def test_the_bridge_is_its_equation_and_the_source_may_be_features():
    layer = nn.EncoderDecoder(
        nn.LSTM(2), nn.Stack((nn.Embed(OUT, 3), nn.GRU(4))), source_features=5
    )
    model, params = made(layer)
    source = np.random.default_rng(2).normal(size=(B, S, 5)).astype(np.float32)
    y = outputs(model, params, context={"source": source, "source_lengths": SOURCE_LENGTHS})
    end, _ = run(
        nn.LSTM(2).apply,
        {"params": params["encoder"]},
        source,
        seq_lengths=SOURCE_LENGTHS,
        return_carry=True,
    )
    bridge = jax.tree.map(np.asarray, params["bridge_0"])
    h = np.tanh(np.concatenate(end, axis=-1) @ bridge["kernel"] + bridge["bias"])
    embedded = np.asarray(params["decoder"]["layers_0"]["embedding"])[WORDS]
    expected = run(nn.GRU(4).apply, {"params": params["decoder"]["layers_1"]}, embedded, h)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_parameters_are_the_same_made_either_way():
    layer = LAYERS["additive, lstm above"]
    model, params = made(layer)
    carry, _ = outputs(model, params, WORDS[:, :1], return_carry=True)
    init = jax.jit(lambda *a: layer.init(*a, method="step"))
    by_step = init(jax.random.key(0), carry, WORDS[:, 0])["params"]
    jax.tree.map(np.testing.assert_array_equal, by_step, model.init(jax.random.key(0)))


def test_what_does_not_fit_is_told():
    model, params = made(LAYERS["dot"])
    with pytest.raises(ValueError, match="begins with the source"):
        model.initial_carry(B)
    with pytest.raises(ValueError, match=r"must hold 'source', \[2, steps\]"):
        outputs(model, params, context=None)
    with pytest.raises(ValueError, match=r"must be \[2, steps\].*\(1, 6\)"):
        outputs(model, params, context={"source": SOURCE[:1]})
    with pytest.raises(ValueError, match=r"\['memory'\]; they read \['source', 'source_lengths'\]"):
        outputs(model, params, context=CONTEXT | {"memory": SOURCE})
    nothing = pair(nn.GRU(4), encoding=nn.Dense(3))
    with pytest.raises(ValueError, match="keeps nothing"):
        models.from_layer(nothing, nn.Tokens(OUT)).init(jax.random.key(0))
    with pytest.raises(ValueError, match="even widths"):
        models.seq2seq("gru", source_vocab_size=IN, target_vocab_size=OUT, features=(5,))
    with pytest.raises(ValueError, match="lru has no two directions"):
        models.seq2seq("lru", source_vocab_size=IN, target_vocab_size=OUT)


def test_what_encoder_and_decoder_read_besides_reaches_them():
    encoder = nn.Stack((nn.Embed(IN, 3), nn.Condition(2, "speaker"), nn.GRU(4)))
    decoder = nn.Stack((nn.Embed(OUT, 3), nn.Condition(1, "style"), nn.GRU(4), nn.Attention(4)))
    model, params = made(nn.EncoderDecoder(encoder, decoder))
    held = {"speaker": np.ones((B, 2), np.float32), "style": np.ones((B, 1), np.float32)}
    y = outputs(model, params, context=CONTEXT | held)
    for name, value in held.items():
        assert (outputs(model, params, context=CONTEXT | held | {name: 2 * value}) != y).any()
    carry, _ = outputs(model, params, WORDS[:, :1], CONTEXT | held, return_carry=True)
    step = jax.jit(model.step)
    _, y_t = step(params, carry, WORDS[:, 1], context={"style": held["style"]})
    np.testing.assert_allclose(y_t, y[:, 1], atol=1e-5)
