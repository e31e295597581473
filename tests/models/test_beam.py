import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models, nn
from tests.compiled import run

V, STEPS, END = 3, 3, 2
START = jnp.array([[0, 1], [1, 1]])
IMAGE = jax.random.normal(jax.random.key(1), (2, 4))
SOURCE = {"source": jnp.array([[3, 1, 4], [2, 0, 0]]), "source_lengths": jnp.array([3, 1])}
MODELS = {
    "language model": (models.language_model("gru", vocab_size=V, features=(5,)), None),
    "captioner": (
        models.captioner("lstm", vocab_size=V, condition=4, features=(5,)),
        {"condition": IMAGE},
    ),
    "seq2seq": (
        models.seq2seq("gru", source_vocab_size=5, target_vocab_size=V, features=(6,)),
        SOURCE,
    ),
}
every_model = pytest.mark.parametrize(("model", "context"), MODELS.values(), ids=MODELS)


def drawn(model):
    """Parameters large enough for tokens to differ in probability."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), a.dtype), shapes)


def search(model, params, start, steps, context=None, **options):
    """`models.beam_search` as one program."""

    def found(params, start, **told):
        return models.beam_search(model, params, start, steps, **told, **options)

    return run(found, params, start, **({} if context is None else {"context": context}))


def all_continuations():
    """Every sequence that ends, or is cut, within the steps; `END` after its end."""
    found = set()
    for tokens in itertools.product(range(V), repeat=STEPS):
        n = tokens.index(END) if END in tokens else STEPS
        found.add(tokens[:n] + (END,) * (STEPS - n))
    return sorted(found)


@every_model
@pytest.mark.parametrize("penalty", [0.0, 0.6])
def test_as_many_beams_as_sequences_find_them_all_in_their_order(model, context, penalty):
    params, sequences = drawn(model), np.array(all_continuations())
    options = {"beams": len(sequences), "length_penalty": penalty, "context": context}
    beam = search(model, params, START, STEPS, end=END, **options)
    told = {} if context is None else {"context": context}
    apply = jax.jit(lambda words: jax.nn.log_softmax(model.apply(params, words, **told)[:, 1:]))
    expected = np.zeros((len(START), len(sequences)))
    counts = np.minimum((sequences != END).sum(axis=1) + 1, STEPS)
    for k, (tokens, count) in enumerate(zip(sequences, counts, strict=True)):
        row = jnp.broadcast_to(jnp.asarray(tokens), (len(START), STEPS))
        steps = apply(jnp.concatenate([START, row[:, :-1]], axis=1))
        sums = np.take_along_axis(np.asarray(steps), np.asarray(row)[..., None], axis=2)
        expected[:, k] = sums[:, :count].sum(axis=(1, 2)) / ((5 + count) / 6) ** penalty
    order = np.argsort(-expected, axis=1)
    np.testing.assert_array_equal(beam.tokens, sequences[order])
    np.testing.assert_allclose(beam.scores, np.take_along_axis(expected, order, axis=1), atol=1e-5)
    np.testing.assert_array_equal(beam.lengths, (sequences != END).sum(axis=1)[order])
    if not penalty:  # together they are certain
        np.testing.assert_allclose(np.exp(beam.scores).sum(axis=1), 1, atol=1e-5)


@every_model
def test_one_beam_is_greedy(model, context):
    params, told = drawn(model), {} if context is None else {"context": context}
    apply = jax.jit(lambda words: model.apply(params, words, **told))
    words = np.pad(START, ((0, 0), (0, 5)))
    for t in range(2, 7):
        best = apply(words)[:, t - 1].argmax(-1)
        words[:, t] = np.where((words[:, 2:t] == END).any(axis=1), END, best)
    found = search(model, params, START, 5, end=END, beams=1, context=context)
    np.testing.assert_array_equal(found.tokens[:, 0], words[:, 2:])


@every_model
def test_generation_of_the_most_likely_is_greedy_to_its_end(model, context):
    params = drawn(model)
    how = {"context": context, "seq_lengths": np.array([2, 1])}
    greedy = models.sampler(0.0)
    found = run(lambda p: models.generate(model, p, START, 5, sample=greedy, **how), params)
    beam = search(model, params, START, 5, end=END, beams=1, **how)
    for b, n in enumerate(beam.lengths[:, 0]):
        np.testing.assert_array_equal(found[b, : n + 1], beam.tokens[b, 0, : n + 1])


def test_each_of_a_batch_is_found_as_alone():
    model, context = MODELS["seq2seq"]
    params = drawn(model)
    how = {"context": context, "seq_lengths": np.array([2, 1])}
    both = search(model, params, START, 4, end=END, beams=3, **how)
    own = {"source": context["source"][1:, :1]}
    alone = search(model, params, START[1:, :1], 4, end=END, beams=3, context=own)
    np.testing.assert_array_equal(both.tokens[1:], alone.tokens)
    np.testing.assert_allclose(both.scores[1:], alone.scores, atol=1e-5)


def test_a_translator_is_exported_with_its_search(tmp_path):
    """One program, for any number of sources, that needs JAX alone."""
    model, _ = MODELS["seq2seq"]

    def translate(params, source):
        start = jnp.zeros((source.shape[0], 1), jnp.int32)
        context = {"source": source, "source_lengths": (source > 0).sum(axis=1)}
        return models.beam_search(model, params, start, 4, end=END, beams=3, context=context).tokens

    params = drawn(model)
    io.export_model(tmp_path / "t.jax", translate, params, steps=3, inputs=nn.Tokens(5))
    program = jax.export.deserialize((tmp_path / "t.jax").read_bytes())
    np.testing.assert_array_equal(
        program.call(SOURCE["source"]), translate(params, SOURCE["source"])
    )


def test_more_beams_than_sequences_say_so():
    model, _ = MODELS["language model"]
    found = search(model, drawn(model), START, 1, end=END, beams=5)
    np.testing.assert_array_equal(np.isfinite(found.scores), [[True] * V + [False] * 2] * 2)


def test_what_does_not_fit_is_told():
    model, _ = MODELS["captioner"]
    params = drawn(model)
    with pytest.raises(ValueError, match="beams \\(0\\) must be at least 1"):
        search(model, params, START, 3, end=END, beams=0)
    moving = {"condition": jnp.ones((2, 5, 4))}
    with pytest.raises(ValueError, match="condition must hold at every step"):
        search(model, params, START, 3, end=END, context=moving)
