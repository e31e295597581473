"""Pure functions of arrays: recurrences and causal convolutions. Imports JAX alone."""

from seqjax.ops.cell import Cell as Cell, Derivative as Derivative
from seqjax.ops.conv import (
    ConvCarry as ConvCarry,
    ConvParams as ConvParams,
    causal_conv1d as causal_conv1d,
    causal_conv1d_step as causal_conv1d_step,
    conv_carry as conv_carry,
    conv_output_length as conv_output_length,
    receptive_field as receptive_field,
)
from seqjax.ops.convolve import ConvImplementation as ConvImplementation
from seqjax.ops.engine import (
    Implementation as Implementation,
    Weights as Weights,
    recurrence as recurrence,
)
from seqjax.ops.gru import GRUParams as GRUParams, gru as gru, gru_cell as gru_cell
from seqjax.ops.linear import (
    LinearImplementation as LinearImplementation,
    linear_loop as linear_loop,
    linear_recurrence as linear_recurrence,
)
from seqjax.ops.lru import LRUParams as LRUParams, lru as lru, lru_cell as lru_cell
from seqjax.ops.lstm import (
    LSTMCarry as LSTMCarry,
    LSTMParams as LSTMParams,
    lstm as lstm,
    lstm_cell as lstm_cell,
)
from seqjax.ops.minimal import (
    MinGRUParams as MinGRUParams,
    MinLSTMParams as MinLSTMParams,
    min_gru as min_gru,
    min_gru_cell as min_gru_cell,
    min_lstm as min_lstm,
    min_lstm_cell as min_lstm_cell,
)
from seqjax.ops.rnn import (
    Activation as Activation,
    LayerNormParams as LayerNormParams,
    RNNParams as RNNParams,
    rnn as rnn,
    rnn_cell as rnn_cell,
)
from seqjax.ops.wavefront import wavefront as wavefront
