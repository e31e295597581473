"""seqjax: sequence models in JAX and Flax.

    from seqjax import ops, nn, models     # pure functions, Linen layers, whole models
    from seqjax import data, train         # series and windows, the training loop

Importing seqjax imports JAX and Flax and nothing heavy besides; all other parts, such as
`data`, `train`, `losses` and `forecast` (pandas, Orbax), are loaded when they are first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from seqjax import models as models, nn as nn, ops as ops

__version__ = "0.1.0"  # pyproject.toml reads it here: a bare checkout knows its version, too

_LAZY = (
    *("bench", "config", "data", "devices", "forecast", "io", "launch", "local", "losses", "ngram"),
    *("report", "runs", "sensitivity", "storage", "study", "train"),
)

if TYPE_CHECKING:
    from seqjax import (
        bench as bench,
        config as config,
        data as data,
        devices as devices,
        forecast as forecast,
        io as io,
        launch as launch,
        local as local,
        losses as losses,
        ngram as ngram,
        report as report,
        runs as runs,
        sensitivity as sensitivity,
        storage as storage,
        study as study,
        train as train,
    )
else:  # a checker would take any name for one

    def __getattr__(name: str) -> ModuleType:
        if name in _LAZY:
            return importlib.import_module(f"seqjax.{name}")
        raise AttributeError(f"module 'seqjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
