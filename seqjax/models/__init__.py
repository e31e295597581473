"""Whole models as tuples of pure functions, for those who want no Flax modules."""

from seqjax.models.architectures import (
    classifier as classifier,
    language_model as language_model,
    layers as layers,
    make as make,
)
from seqjax.models.beam import Beam as Beam, beam_search as beam_search
from seqjax.models.generate import generate as generate
from seqjax.models.logistics import (
    logistic_mixture_log_probability as logistic_mixture_log_probability,
    logistic_sampler as logistic_sampler,
)
from seqjax.models.model import (
    Model as Model,
    Params as Params,
    example as example,
    from_layer as from_layer,
)
from seqjax.models.sampling import sampler as sampler, stream as stream
from seqjax.models.seq2seq import (
    attention_weights as attention_weights,
    captioner as captioner,
    seq2seq as seq2seq,
)
from seqjax.models.variants import in_dtype as in_dtype, in_implementation as in_implementation
