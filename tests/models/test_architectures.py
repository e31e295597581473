"""Classifiers and language models by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn

TOKENS = jax.random.randint(jax.random.key(0), (2, 6), 0, 11)


@pytest.mark.parametrize("architecture", ["gru", "lru", "wavenet"])
def test_a_language_model_step_by_step(architecture):
    options = {"dilations": (1, 2)} if architecture == "wavenet" else {}
    model = models.language_model(
        architecture, vocab_size=11, features=(6, 6), embedding=5, dropout=0.5, **options
    )
    params = model.init(jax.random.key(1))
    y = model.apply(params, TOKENS)
    carry, outputs = model.initial_carry(2), []
    for t in range(6):
        carry, y_t = model.step(params, carry, TOKENS[:, t])
        outputs.append(y_t)
    np.testing.assert_allclose(jnp.stack(outputs, axis=1), y, atol=1e-5)
    assert y.shape == (2, 6, 11)
    assert (model.apply(params, TOKENS, key=jax.random.key(2)) != y).any()


def test_a_classifier_reads_tokens_and_features():
    model = models.classifier("rnn", inputs=nn.Tokens(11), classes=3, features=(4, 4), pool="max")
    assert model.apply(model.init(jax.random.key(0)), TOKENS).shape == (2, 3)
    model = models.classifier("min_gru", inputs=2, classes=3, features=(4, 6))
    assert model.apply(model.init(jax.random.key(0)), jnp.ones((2, 5, 2))).shape == (2, 3)


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="Did you mean 'lstm'"):
        models.layers("lstn", (3,))
    with pytest.raises(ValueError, match=r"gru has no option 'reset_aftr'.*reset_after"):
        models.layers("gru", (3,), reset_aftr=True)
    with pytest.raises(ValueError, match="at least one layer"):
        models.layers("gru", ())
    with pytest.raises(ValueError, match="no two directions"):
        models.classifier("lru", inputs=2, classes=2, bidirectional=True)
