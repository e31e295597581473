"""Weights in and out: files, other libraries' layers, exported programs."""

from seqjax.io.convert import (
    from_keras as from_keras,
    from_torch as from_torch,
    layer_params as layer_params,
    stack_params as stack_params,
)
from seqjax.io.errors import WeightsError as WeightsError
from seqjax.io.export import export_model as export_model
from seqjax.io.model import load_model as load_model, save_model as save_model
from seqjax.io.weights import (
    load_config as load_config,
    load_weights as load_weights,
    save_weights as save_weights,
)
