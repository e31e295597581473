"""Linen modules: they declare parameters and call `seqjax.ops`.

Besides what is named here there is a layer for every cell of `seqjax.ops.CELLS`: `RNN`,
`LSTM`, `GRU`, `MinGRU`, `MinLSTM`, `LRU`, ...
"""

from typing import TYPE_CHECKING

from seqjax.nn.attention import Attention as Attention
from seqjax.nn.combine import Bidirectional as Bidirectional, Stack as Stack
from seqjax.nn.condition import Condition as Condition
from seqjax.nn.conv import CausalConv as CausalConv
from seqjax.nn.dense import Dense as Dense, Embed as Embed
from seqjax.nn.encoder_decoder import EncoderDecoder as EncoderDecoder
from seqjax.nn.layer import (
    Call as Call,
    Context as Context,
    Inputs as Inputs,
    Layer as Layer,
    Tokens as Tokens,
    at_last as at_last,
    without_padding as without_padding,
)
from seqjax.nn.ngrams import NGramEmbed as NGramEmbed
from seqjax.nn.normalise import BatchNorm as BatchNorm, LayerNorm as LayerNorm
from seqjax.nn.parallel import Parallel as Parallel
from seqjax.nn.pool import Pool as Pool
from seqjax.nn.recurrent import LAYERS as LAYERS, Recurrent as Recurrent
from seqjax.nn.repeat import Repeat as Repeat
from seqjax.nn.residual import Residual as Residual
from seqjax.nn.seasonal import SeasonalResidual as SeasonalResidual
from seqjax.nn.wavenet import WaveNet as WaveNet

if TYPE_CHECKING:
    from seqjax.nn.declared import (
        GRU as GRU,
        LRU as LRU,
        LSTM as LSTM,
        RNN as RNN,
        UGRNN as UGRNN,
        MinGRU as MinGRU,
        MinLSTM as MinLSTM,
        PeepholeLSTM as PeepholeLSTM,
    )
else:
    globals().update({layer.__name__: layer for layer in LAYERS.values()})
