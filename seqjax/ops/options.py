"""The options of every recurrent op. `Options` is the only list of them."""

from typing import TYPE_CHECKING, TypedDict

from jax.sharding import AbstractMesh, Mesh
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from seqjax.ops.backends import Implementation
from seqjax.ops.bounds import Count


class Settings(TypedDict, total=False):
    """The options that a layer keeps as its fields: how to run, whatever the inputs.

    Left out, False or None is the default.
    """

    reverse: bool
    """Run from each sequence's last step to its first."""
    keep_order: bool
    """With `reverse`, outputs in the order of the inputs, not in that of computation."""
    unroll: Count | None
    """Steps per loop iteration, as in `jax.lax.scan`; by default 1, or what was measured
    to be best on this kind of device (`seqjax.ops.layout.Choices`)."""
    chunk_size: Count | None
    """Recompute the backward pass in chunks of so many steps: memory grows as about
    ``time / chunk_size + chunk_size``."""
    truncation: Count | None
    """Let the gradient pass only within groups of so many steps, counted from each
    sequence's first in the loop: truncated back-propagation through time."""
    implementation: Implementation | None
    """None (the best for this platform), "scan" (a loop; where the cell has no products in
    its step, with a hand-written backward pass), "autodiff" (the loop differentiated by JAX:
    forward mode works, but an infinite derivative of a cell in the padding reaches its
    gradients), "associative" (in parallel over time, of a recurrence that is linear in
    its state), "newton" (in parallel over time, of any cell without products in its step: by
    iteration, to a tolerance; first derivatives only; see `seqjax.ops.newton`), "cudnn"
    (NVIDIA's library: a float32 LSTM on a GPU; see `seqjax.ops.cudnn`), or "pallas" (one kernel
    for all steps, bfloat16 on a Hopper GPU; see docs/gpu-kernels.md). "cudnn" and "pallas" are
    experimental: they have run on no GPU yet. Kernels of "pallas" were interpreted on a CPU, and
    for "cudnn" a stand-in was called."""


class Options(Settings, total=False):
    """Everything that `run`, `rnn`, `lstm`, `gru`, `min_gru`, ... take by name.

    Left out, False or None is the default.
    """

    seq_lengths: Integer[ArrayLike, " batch"] | None
    """Number of valid steps of each right-padded sequence; more than there are count as
    all. Outputs after the end are zero, whatever the padding holds; the carry is the one
    at the sequence's own end."""
    return_carry: bool
    """Return ``(carry, y)`` in place of ``y``, with a carry of float32 or wider."""
    time_major: bool
    """x and y are [time, batch, ...]."""
    recurrent_mask: Float[ArrayLike, "batch features"] | None
    """Multiplied with ``h`` in the product with the recurrent kernel, the same at every
    step: recurrent dropout (Gal and Ghahramani, arXiv 1512.05287). It gets no gradient."""
    mesh: Mesh | AbstractMesh | None
    """The mesh over whose axis "data" the batch is split; by default the one of
    `jax.set_mesh`."""
    guess: Float[ArrayLike, "batch time features"] | None
    """Of "newton": where it starts, outputs of an earlier call with these options (such as of
    other parameters); zeros by default. It gets no gradient."""
    return_solution: bool
    """Of "newton": return last `seqjax.ops.Solution`, how many iterations it took and how
    often it fell back to the loop."""
    counter: Float[ArrayLike, " batch"] | None
    """Of "newton": any floats. The output does not depend on them, but their gradient is how many
    solutions of the backward pass fell back to the loop."""


if TYPE_CHECKING:

    class Values(Settings, total=False):
        """`Options` but for those that say what is returned, for overloads."""

        seq_lengths: Integer[ArrayLike, " batch"] | None
        time_major: bool
        recurrent_mask: Float[ArrayLike, "batch features"] | None
        mesh: Mesh | AbstractMesh | None
        guess: Float[ArrayLike, "batch time features"] | None
        counter: Float[ArrayLike, " batch"] | None
