"""seqjax: sequence models in JAX and Flax.

    from seqjax import ops, nn, models     # pure functions, Linen layers, whole models
    from seqjax import data, train         # series and windows, the training loop

Importing seqjax imports JAX and Flax and nothing heavy besides; `data`, `train`
and `forecast` (pandas, Orbax) are loaded when they are first used.
"""

import importlib
from types import ModuleType

from seqjax import models as models, nn as nn, ops as ops

__version__ = "0.1.0"  # pyproject.toml reads it here: a bare checkout knows its version, too

_LAZY = ("data", "forecast", "io", "launch", "report", "train")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"seqjax.{name}")
    raise AttributeError(f"module 'seqjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
