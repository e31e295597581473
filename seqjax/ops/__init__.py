"""Pure functions of arrays: recurrences and causal convolutions. Needs JAX and jaxtyping.

`lstm(params, x)` enters `lstm.py`, goes to `sequence.run`, to one of the `backends`, and out.
"""

from seqjax.ops.activations import Activation as Activation
from seqjax.ops.backends import Implementation as Implementation
from seqjax.ops.both_directions import bidirectional as bidirectional
from seqjax.ops.cell import (
    Cell as Cell,
    Declare as Declare,
    Derivative as Derivative,
    Elementwise as Elementwise,
    Linear as Linear,
    Peer as Peer,
    Steps as Steps,
    Weights as Weights,
    init as init,
)
from seqjax.ops.checks import check_input as check_input
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
from seqjax.ops.layout import carry_dtype as carry_dtype
from seqjax.ops.lengths import as_lengths as as_lengths, length_mask as length_mask
from seqjax.ops.linear_parallel import (
    sequence_parallel_linear_recurrence as sequence_parallel_linear_recurrence,
)
from seqjax.ops.linear_recurrence import linear_recurrence as linear_recurrence
from seqjax.ops.newton_parallel import sequence_parallel as sequence_parallel
from seqjax.ops.options import Options as Options, Settings as Settings
from seqjax.ops.registry import *
from seqjax.ops.sequence import run as run, step as step
from seqjax.ops.solution import Solution as Solution
from seqjax.ops.wavefront import wavefront as wavefront
