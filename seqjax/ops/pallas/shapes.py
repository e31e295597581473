"""How a recurrence is laid over a GPU's multiprocessors, and what does not fit.

A tile of some sequences is one block's, or a cluster's of several blocks. Its features are cut
into parts of equal width: each part belongs to one group of warps (128 threads), which keeps
the carry of its features in registers. A block keeps the columns of the recurrent kernel that
its parts need in shared memory, and all of ``h``.

The tensor core multiplies ROWS rows at a time. They are sequences, [ROWS, part]; or, where there
are few of these (`seqjax.ops.layout.Choices.small_batch`), features, [part, FEW]: everything is
transposed, and nothing computed in vain.

This file imports neither Pallas nor Mosaic: it answers for calls that they cannot run, too.
"""

from typing import Any, NamedTuple

import jax

from seqjax.ops.cell import Elementwise
from seqjax.ops.layout import choices

ROWS = 64  # of a tile: M of the tensor core's product
FEW = 16  # sequences of a transposed tile, which has 32 bytes in a row: the least swizzle
SHARED_MEMORY = 227 * 1024  # bytes of a Hopper multiprocessor that a block can have
RESERVED = 1024  # of them for barriers, and for Mosaic
CLUSTERS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)  # blocks; 16 are the most there can be
MOST_GROUPS = 4  # of warps in a block: each thread then has 128 registers
WIDEST_NORM = 64  # features of a part whose tiles still fit one group's registers
WIDEST_PRODUCT = 256  # columns: N of the tensor core's product
_BF16 = 2  # bytes


class Plan(NamedTuple):
    """How a recurrence is cut.

    Attributes:
        summed: gates that see the sum of both parts.
        split: gates that see them apart.
        features: H.
        part: features of a group of warps.
        groups: of warps, in a block.
        blocks: in a cluster.
        masked: whether there is a recurrent mask.
        sequences: of a tile: ROWS, or fewer where it is transposed.
    """

    summed: int
    split: int
    features: int
    part: int
    groups: int
    blocks: int
    masked: bool = False
    sequences: int = ROWS

    @property
    def transposed(self) -> bool:
        """Whether the rows of a tile are features."""
        return self.sequences < ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Of a tile, ROWS first."""
        return (self.part, self.sequences) if self.transposed else (self.sequences, self.part)

    @property
    def gates(self) -> int:
        """K."""
        return self.summed + self.split

    @property
    def arguments(self) -> int:
        """What the step is given beside the carry, the two parts of a split gate counted."""
        return self.gates + self.split

    @property
    def parts(self) -> int:
        """Of all features."""
        return self.blocks * self.groups

    @property
    def padded(self) -> int:
        """H, padded to the parts."""
        return self.parts * self.part

    @property
    def tile(self) -> int:
        """Bytes of a tile of bfloat16."""
        return self.sequences * self.part * _BF16

    @property
    def forward_tiles(self) -> int:
        """Of a group, for one step: the gates' inputs, later what the backward pass wants."""
        return self.arguments + self.masked

    @property
    def backward_tiles(self) -> int:
        """Of a group, for one step: what was saved, a carry, ``dy``; later the gradients."""
        return self.arguments + 2

    @property
    def weights_bytes(self) -> int:
        """Of a block's part of the recurrent kernel, in shared memory."""
        return self.padded * self.gates * self.groups * self.part * _BF16

    @property
    def forward_bytes(self) -> int:
        """Shared memory of the forward kernel: weights, ``h`` and a step's tiles twice."""
        tiles = 2 * self.parts + 2 * self.groups * self.forward_tiles
        return self.weights_bytes + tiles * self.tile + RESERVED

    @property
    def backward_bytes(self) -> int:
        """Shared memory of the backward kernel: weights, a step's tiles twice, partial sums."""
        sums = self.parts if self.blocks > 1 else 0
        tiles = 2 * self.groups * self.backward_tiles + sums
        return self.weights_bytes + tiles * self.tile + RESERVED

    @property
    def columns(self) -> int:
        """Of the backward kernel's product at a time: at most 128, in 64 registers of a thread.

        Where tiles are transposed, features: a part's, which are rows.
        """
        if self.transposed:
            return self.part
        width = self.blocks * self.part
        return max(n for n in range(self.part, 129, self.part) if width % n == 0)

    @property
    def chunks(self) -> int:
        """Of the backward kernel's product: one, but in a cluster."""
        return self.blocks * self.part // self.columns

    @property
    def registers(self) -> int:
        """That a thread can have; docs/gpu-kernels.md says how many the compiler wants."""
        return min(65536 // (128 * self.groups), 255)

    @property
    def fits(self) -> bool:
        """Whether a block's shared memory holds it."""
        return max(self.forward_bytes, self.backward_bytes) <= SHARED_MEMORY


def plan(
    form: Elementwise, features: int, batch: int = ROWS, *, masked: bool = False
) -> Plan | str:
    """How a recurrence of some width is cut: with least padding, into as few blocks as hold it.

    Args:
        form: the recurrence.
        features: its width H.
        batch: sequences: of few, tiles are transposed where that fits.
        masked: whether there is a recurrent mask.

    Returns:
        The plan, or the reason why there is none.

    Example:
        >>> from seqjax import ops
        >>> for batch in (64, 16):
        ...     found = plan(ops.LSTMCell().form, 250, batch)
        ...     found.shape, found.groups, found.blocks
        ((64, 32), 1, 8)
        ((64, 16), 1, 4)
        >>> plan(ops.LSTMCell().form, 500).partition(":")[0]
        'a width of 500 is too much for the shared memory of 16 multiprocessors'
    """
    uncut = Plan(form.summed, form.split, features, part=0, groups=0, blocks=0, masked=masked)

    def cut(options: list[tuple[int, int]], sequences: int) -> list[Plan]:
        rows = uncut._replace(sequences=sequences)
        return [
            rows._replace(part=part, groups=-(-features // (part * blocks)), blocks=blocks)
            for blocks, part in options
        ]

    def best(plans: list[Plan]) -> Plan | None:
        fitting = [each for each in plans if each.groups <= MOST_GROUPS and each.fits]
        return min(fitting, key=lambda each: (each.padded, each.blocks), default=None)

    # A layer norm's mean is over features, which warps have apart where they are rows; up to 16
    # of them leave three quarters of the rows empty.
    few = batch <= choices().small_batch and features > 16 and not form.across_features
    if few and form.gates * ROWS <= WIDEST_PRODUCT:
        found = best(cut([(blocks, ROWS) for blocks in CLUSTERS], FEW))
        if found is not None:
            return found
    part = 16 if features <= 16 else 32
    options = [(blocks, part) for blocks in CLUSTERS]
    if form.across_features:
        if features % 16 or features > WIDEST_NORM:
            return (
                "its step looks across the features, which one group of warps must then hold: a"
                f" multiple of 16 up to {WIDEST_NORM}, not {features}"
            )
        options = [(1, features)]
    if form.gates * options[0][1] > WIDEST_PRODUCT:
        return f"its {form.gates} gates are too many for one product of a part's columns"
    plans = cut(options, ROWS)
    if (found := best(plans)) is not None:
        return found
    needed = min(max(each.forward_bytes, each.backward_bytes) for each in plans)
    return (
        f"a width of {features} is too much for the shared memory of {plans[-1].blocks}"
        f" multiprocessors: {needed} bytes of {SHARED_MEMORY} in each"
    )


def refuses(call: Any) -> str | None:
    """Why the kernels cannot run a `seqjax.ops.backends.Call`; None where they can."""
    if jax.__version_info__ < (0, 11):
        return f"it needs jax 0.11 or newer (Python 3.12), and this is {jax.__version__}"
    if call.platform != "gpu" and not INTERPRET:
        return f"its kernels are for GPUs, and this runs on a {call.platform.upper()}"
    if call.platform == "gpu":
        capability = getattr(jax.devices()[0], "compute_capability", "unknown")
        if not str(capability).startswith("9."):
            return f"its kernels are for Hopper (compute capability 9.0), not {capability}"
    if str(call.dtype) != "bfloat16":
        return f"it computes in bfloat16 (dtype=jnp.bfloat16), not {call.dtype}"
    if call.form.diagonal:
        return 'its kernels are built around a product with h, and recurrent="diagonal" has none'
    if not all(isinstance(size, int) for size in call.shape):
        return f"its grid needs a known batch and time, and x is {call.shape}"
    masked = call.options.get("recurrent_mask") is not None
    batch = call.shape[1 if call.options.get("time_major") else 0]
    found = plan(call.form, call.features, batch, masked=masked)
    return found if isinstance(found, str) else None


INTERPRET = False
"""Run the kernels in Pallas's interpreter on a CPU: for tests, thousands of times slower."""
