"""The cells' layers as type checkers see them: declarations, which nothing imports at run time.

`seqjax.nn.recurrent` makes the layers out of the cells; a test holds these fields to theirs.
"""

import math
from dataclasses import KW_ONLY
from typing import Literal

from seqjax.nn.layer import Layer
from seqjax.nn.recurrent import Recurrent
from seqjax.ops import Activation, Implementation
from seqjax.ops.bounds import Count, Fraction


class WithSettings(Layer, kw_only=True):
    """`seqjax.ops.Settings` as fields."""

    reverse: bool = False
    keep_order: bool = False
    unroll: Count | None = None
    chunk_size: Count | None = None
    truncation: Count | None = None
    implementation: Implementation | None = None


class RNN(Recurrent):
    """See `seqjax.ops.RNNCell`."""

    features: Count
    _: KW_ONLY
    recurrent: Literal["full", "diagonal"] = "full"
    activation: Activation = "tanh"
    layer_norm: bool = False


class LSTM(Recurrent):
    """See `seqjax.ops.LSTMCell`."""

    features: Count
    _: KW_ONLY
    recurrent: Literal["full", "diagonal"] = "full"


class PeepholeLSTM(Recurrent):
    """See `seqjax.ops.PeepholeLSTMCell`."""

    features: Count
    _: KW_ONLY
    recurrent: Literal["full", "diagonal"] = "full"


class GRU(Recurrent):
    """See `seqjax.ops.GRUCell`."""

    features: Count
    _: KW_ONLY
    recurrent: Literal["full", "diagonal"] = "full"
    reset_after: bool = True


class UGRNN(Recurrent):
    """See `seqjax.ops.UGRNNCell`."""

    features: Count
    _: KW_ONLY
    recurrent: Literal["full", "diagonal"] = "full"


class MinGRU(Recurrent):
    """See `seqjax.ops.MinGRUCell`."""

    features: Count


class MinLSTM(Recurrent):
    """See `seqjax.ops.MinLSTMCell`."""

    features: Count


class LRU(Recurrent):
    """See `seqjax.ops.LRUCell`."""

    features: Count
    state: Count | None = None
    _: KW_ONLY
    r_min: Fraction = 0.0
    r_max: Fraction = 1.0
    max_phase: float = 2 * math.pi
