"""A function of arrays as one compiled program: its operations one by one would be a hundred."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def run(function, *args, **options):
    """What the function gives, in arrays of NumPy, whose slices and sums cost no compilation.

    Options that hold arrays are arguments of the program, the others stand in it. Arguments are
    narrowed as JAX does (int64 to int32), and results are weakly typed no more.
    """
    traced = {name: value for name, value in options.items() if _holds_arrays(value)}
    fixed = {name: value for name, value in options.items() if name not in traced}
    return jax.device_get(jax.jit(functools.partial(function, **fixed))(*args, **traced))


def drawn(init, *inputs, scale=0.5):
    """Parameters in the shapes of those that `init` draws for a key and inputs, drawn by NumPy.

    Two initialisers take as long to compile as a layer does.
    """
    draw = np.random.default_rng(0).normal

    def values(path, leaf):
        found = scale * draw(size=leaf.shape)
        positive = getattr(path[-1], "key", None) in ("scale", "running_variance")
        return jnp.asarray(np.exp(found) if positive else found, leaf.dtype)

    shapes = jax.eval_shape(lambda seed, *x: init(jax.random.key(seed), *x), 0, *inputs)
    return jax.tree.map_with_path(values, shapes)


def _holds_arrays(value):
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
