"""How far back a model's output depends on its input: vanishing and exploding gradients."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.models import Model, Params


def gradient_by_lag(
    model: Model, params: Params, x: Float[Array, "batch time inputs"]
) -> Float[Array, " time"]:
    """The norm of the gradient of the last output with respect to each input.

    ``g_k = mean over the batch of || d y_T / d x_{T-k} ||``, the Frobenius norm of the
    Jacobian of all outputs at the last step

    Args:
        model: the model.
        params: its parameters.
        x: sequences.

    Returns:
        ``g``: lag 0, the newest input, first.

    Example:
        >>> from seqjax import models
        >>> model = models.make("conv", inputs=1, features=(4, 4), outputs=1)
        >>> params = model.init(jax.random.key(0))
        >>> gradient_by_lag(model, params, jnp.ones((1, 6, 1)))[4:].tolist()  # beyond the field
        [0.0, 0.0]

    Source: Bengio, Simard and Frasconi, IEEE Transactions on Neural Networks 5, 1994.
    """

    def last_output(sequence: Array) -> Array:
        y = model.apply(params, sequence[None])
        return y[0] if y.ndim == 2 else y[0, -1]

    jacobians = jax.vmap(jax.jacrev(last_output))(x)  # [batch, outputs, time, inputs]
    norms = jnp.sqrt(jnp.sum(jnp.square(jacobians), axis=(1, 3)))
    return jnp.flip(jnp.mean(norms, axis=0))
