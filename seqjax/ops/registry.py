"""The cells: one line each. Layers, models, files, benchmarks and tests ask `CELLS`."""

from seqjax.ops.cell import Cell
from seqjax.ops.gru import *
from seqjax.ops.lru import *
from seqjax.ops.lstm import *
from seqjax.ops.min_gru import *
from seqjax.ops.min_lstm import *
from seqjax.ops.peephole import *
from seqjax.ops.rnn import *
from seqjax.ops.ugrnn import *

CELLS: dict[str, type[Cell]] = {
    found.name: found
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, Cell) and "name" in vars(found)
}
"""Every cell by its name, which it says itself."""
