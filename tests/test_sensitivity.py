import jax
import jax.numpy as jnp
import numpy as np

from seqjax import models, nn, sensitivity
from tests.compiled import run


def test_a_linear_rnns_gradient_falls_by_its_eigenvalue_at_every_lag():
    layer = nn.RNN(1, activation=lambda z: z)
    model = models.from_layer(layer, inputs=1)
    params = {
        "kernel": jnp.full((1, 1), 2.0),
        "recurrent_kernel": jnp.full((1, 1), 0.5),
        "bias": jnp.zeros(1),
    }
    norms = sensitivity.gradient_by_lag(model, params, jnp.ones((3, 6, 1)))
    np.testing.assert_allclose(norms, 2.0 * 0.5 ** np.arange(6), rtol=1e-6)


def test_the_norm_is_over_all_outputs_and_the_mean_over_the_batch():
    model = models.make("gru", inputs=2, features=(4,), outputs=3, last=True)
    params = model.init(jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(2, 5, 2)).astype(np.float32)
    norms = sensitivity.gradient_by_lag(model, params, jnp.asarray(x))
    expected = 0
    for b in range(2):
        own = run(jax.jacrev(lambda p, s: model.apply(p, s[None])[0], 1), params, x[b])  # [3, 5, 2]
        expected += np.sqrt((own**2).sum((0, 2)))[::-1] / 2
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
