"""Linen modules: they declare parameters and call `seqjax.ops`."""

from seqjax.nn.combine import Bidirectional as Bidirectional, Dense as Dense, Stack as Stack
from seqjax.nn.conv import CausalConv as CausalConv
from seqjax.nn.layer import Layer as Layer
from seqjax.nn.linear import LRU as LRU, MinGRU as MinGRU, MinLSTM as MinLSTM
from seqjax.nn.normalise import BatchNorm as BatchNorm
from seqjax.nn.recurrent import GRU as GRU, LSTM as LSTM, RNN as RNN
from seqjax.nn.repeat import Repeat as Repeat
from seqjax.nn.residual import Residual as Residual
from seqjax.nn.seasonal import SeasonalResidual as SeasonalResidual
from seqjax.nn.wavenet import WaveNet as WaveNet
