"""What a number among the options may be: written once, in its type."""

from typing import Annotated, NamedTuple


class Bounds(NamedTuple):
    """A range that a number lies in.

    Files are held to it (`seqjax.nn.spec`), so that none asks for more than a machine has.

    Attributes:
        least: the smallest.
        most: the greatest.
        open: `most` itself is left out.
    """

    least: float
    most: float
    open: bool = False

    def __repr__(self) -> str:  # in signatures
        return f"{self.least} to {'below ' if self.open else ''}{self.most}"


Count = Annotated[int, Bounds(1, 2**24)]  # so many features, steps or taps
Size = Annotated[int, Bounds(0, 2**24)]  # likewise, or none
Repeats = Annotated[int, Bounds(1, 4096)]  # of what is traced again for each
Rate = Annotated[float, Bounds(0, 1, open=True)]  # of dropout
Share = Annotated[float, Bounds(0, 1)]
