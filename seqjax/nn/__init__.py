"""Linen modules: they declare parameters and call `seqjax.ops`."""

from seqjax.nn.combine import Bidirectional as Bidirectional, Dense as Dense, Stack as Stack
from seqjax.nn.conv import CausalConv as CausalConv
from seqjax.nn.layer import Layer as Layer
from seqjax.nn.recurrent import GRU as GRU, LSTM as LSTM, RNN as RNN
from seqjax.nn.seasonal import SeasonalResidual as SeasonalResidual
