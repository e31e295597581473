import jax
import jax.numpy as jnp
import numpy as np

from seqjax.ops import Elementwise, Weights, engine


def test_a_cell_with_parameters_of_its_own_gets_their_gradients(x64):
    """Layer norm before the activation: what someone who adds a cell relies on."""

    def step(params, h, gates):
        (z,) = gates
        centred = z - jnp.mean(z, axis=-1, keepdims=True)
        normal = centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-3)
        return jnp.tanh(normal * params["scale"][None, :] + params["shift"][None, :])

    cell = Elementwise(step=step, summed=1)
    rng = np.random.default_rng(0)
    params = {"scale": jnp.asarray(rng.normal(size=4)), "shift": jnp.asarray(rng.normal(size=4))}
    weights = Weights(
        jnp.asarray(rng.normal(size=(2, 4))),
        jnp.asarray(rng.normal(size=(4, 4))),
        jnp.asarray(rng.normal(size=4)),
    )
    x, h = jnp.asarray(rng.normal(size=(6, 3, 2))), jnp.asarray(rng.normal(size=(3, 4)))
    mask = jnp.arange(6)[:, None, None] < jnp.array([6, 2, 0])[None, :, None]

    def loss(params, weights, x, h, run):
        end, outputs = run(cell, params, weights, x, h, mask, reverse=True)
        return jnp.sum(jnp.sin(end)) + jnp.sum(jnp.cos(outputs))

    by_hand, by_jax = (
        jax.grad(loss, (0, 1, 2, 3))(params, weights, x, h, run)
        for run in (engine.scan, engine.autodiff)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), by_hand, by_jax
    )
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(by_hand))
