"""A contestant without JAX, in a module that a worker's process imports in no time."""

import itertools
import os
import sys

import numpy as np

from seqjax.bench import worker


def entry(scale=1.0, missing=False, fails=False, ends=False, ends_later=False):
    """Prepared, or what may go wrong before and after."""
    if missing:
        raise ModuleNotFoundError("No module named 'other'", name="other")
    if fails:
        raise ValueError("too wide")
    if ends:
        sys.exit(3)
    calls = itertools.count()

    def forward():
        if ends_later and next(calls):  # the first call is the preparation's
            os.write(2, b"out of memory\n")
            os._exit(9)

    return worker.Prepared(
        {"forward": forward}, lambda: {"y": scale * np.arange(3.0)}, {"said": scale}
    )
