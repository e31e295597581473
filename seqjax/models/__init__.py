"""Whole models as tuples of pure functions, for those who want no Flax modules."""

from seqjax.models.generate import generate as generate
from seqjax.models.model import (
    Model as Model,
    Params as Params,
    example as example,
    from_layer as from_layer,
    in_dtype as in_dtype,
    make as make,
)
