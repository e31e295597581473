"""Classifiers and language models by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

TOKENS = np.random.default_rng(0).integers(0, 11, (2, 6), np.int32)


@pytest.mark.parametrize("architecture", ["gru", "lru", "wavenet"])
def test_a_language_model_step_by_step(architecture):
    options = {"dilations": (1, 2)} if architecture == "wavenet" else {}
    model = models.language_model(
        architecture, vocab_size=11, features=(6, 6), embedding=5, dropout=0.5, **options
    )
    params = drawn(model.init)
    y = run(model.apply, params, TOKENS)
    carry, outputs, step = model.initial_carry(2), [], jax.jit(model.step)
    for t in range(6):
        carry, y_t = step(params, carry, TOKENS[:, t])
        outputs.append(y_t)
    np.testing.assert_allclose(np.stack(outputs, axis=1), y, atol=1e-5)
    assert y.shape == (2, 6, 11)
    assert (run(model.apply, params, TOKENS, key=jax.random.key(2)) != y).any()


LSTM = {"vocab_size": 11, "features": (5, 5), "embedding": 4}
CLASSES = {"inputs": nn.Tokens(11), "classes": 3, "embedding": 4}
MODELS = {
    "language model": models.language_model("lstm", **LSTM),
    "wavenet": models.language_model("wavenet", **LSTM, dilations=(1, 2)),
    "both ways": models.classifier("gru", **CLASSES, features=(4,), bidirectional=True),
    "pooled": models.classifier("lru", **CLASSES, features=(4, 4), pool="both"),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_padded_equals_alone_values_and_gradients(model):
    """Outputs and gradient of the last sequence, which is padded, beside another."""
    params, n = drawn(model.init), np.array([3])
    cotangent = np.random.default_rng(2).normal(size=(6, 11)).astype(np.float32)

    def loss(params, tokens, lengths):
        y = model.apply(params, tokens, seq_lengths=lengths)
        own = y[-1] if model.last else y[-1, :3]
        return jnp.sum(own * (cotangent[0, :3] if model.last else cotangent[:3])), own

    of = jax.jit(jax.value_and_grad(loss, has_aux=True))
    beside, alone = of(params, TOKENS, np.append(6, n)), of(params, TOKENS[1:, :3], n)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), beside, alone)


def test_a_classifier_reads_tokens_and_features():
    model = models.classifier("rnn", inputs=nn.Tokens(11), classes=3, features=(4, 4), pool="max")
    assert run(model.apply, drawn(model.init), TOKENS).shape == (2, 3)
    model = models.classifier("min_gru", inputs=2, classes=3, features=(4, 6))
    x = np.ones((2, 5, 2), np.float32)
    assert run(model.apply, drawn(model.init), x).shape == (2, 3)


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="Did you mean 'lstm'"):
        models.layers("lstn", (3,))
    with pytest.raises(ValueError, match=r"gru has no option 'reset_aftr'.*reset_after"):
        models.layers("gru", (3,), reset_aftr=True)
    with pytest.raises(ValueError, match="at least one layer"):
        models.layers("gru", ())
    with pytest.raises(ValueError, match="recall need ngrams of 2 or more"):
        models.language_model("gru", vocab_size=5, recall=(3,))
    with pytest.raises(ValueError, match="no two directions"):
        models.classifier("lru", inputs=2, classes=2, bidirectional=True)
