import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.train import array_batches, cosine_adamw, fit

BATCHES = array_batches(jnp.arange(6.0), 2)


def loss(params, batch, key):
    return 1e3 * (batch - params["w"]) ** 2 + params["v"] ** 2


@pytest.mark.parametrize(("warm_up", "clip"), [(0, None), (2, 1.0)])
def test_a_cosine_is_optax_s_own(warm_up, clip):
    start = {"w": 3.0, "v": 1.0}
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.1, warm_up, 6)
    plain = optax.adamw(rate if warm_up else optax.cosine_decay_schedule(0.1, 6), weight_decay=0.3)
    plain = plain if clip is None else optax.chain(optax.clip_by_global_norm(clip), plain)
    how = {"warm_up": warm_up, "clip": clip, "weight_decay": 0.3}
    optimizer = cosine_adamw(0.1, 6, **how)
    ours = fit(loss, start, optimizer, BATCHES, epochs=2, track=["learning_rate"])
    theirs = fit(loss, start, plain, BATCHES, epochs=2)
    for name in start:
        np.testing.assert_allclose(ours.params[name], theirs.params[name], rtol=1e-5)
    if warm_up:  # of the last step of each epoch
        rates = [line["learning_rate"] for line in ours.history]
        np.testing.assert_allclose(rates, [rate(2), rate(5)], rtol=1e-5)
    again = cosine_adamw(0.2, 6, **how | {"weight_decay": 0.1})
    assert again.update is cosine_adamw(0.1, 6, **how).update  # which is what compiles
