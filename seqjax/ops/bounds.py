"""What a number among the options may be: written once, in its type."""

from typing import Annotated, NamedTuple


class Bounds(NamedTuple):
    """A range that a number lies in.

    Files are held to it (`seqjax.nn.spec`), so that none asks for more than a machine has.

    Attributes:
        ge: the least.
        le: the greatest, or None.
        lt: what it stays below, or None.
    """

    ge: float
    le: float | None = None
    lt: float | None = None

    def __repr__(self) -> str:  # in signatures
        return f"{self.ge} to {self.le}" if self.lt is None else f"{self.ge} to below {self.lt}"


Count = Annotated[int, Bounds(1, 2**24)]  # so many features, steps or taps
Size = Annotated[int, Bounds(0, 2**24)]  # likewise, or none
Repeats = Annotated[int, Bounds(1, 4096)]  # of what is traced again for each
Rate = Annotated[float, Bounds(0, lt=1)]  # of dropout
Fraction = Annotated[float, Bounds(0, 1)]
