import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models

X = jnp.ones((2, 6, 1))
LSTM = {"architecture": "lstm", "inputs": 1, "features": (3,), "outputs": 2}


def drawn(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), a.dtype), shapes)


def program(model, params):
    return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(model.apply)(params, X)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    "arguments",
    [
        LSTM | {"last": True, "dropout": 0.1, "chunk_size": None, "dtype": jnp.bfloat16},
        LSTM | {"architecture": "rnn", "activation": "relu", "layer_norm": True},
        LSTM | {"architecture": "gru", "reset_after": False, "features": [3, 2]},
        LSTM | {"architecture": "conv", "kernel_size": 3, "activation": "tanh"},
    ],
)
def test_a_model_returns_with_its_weights(arguments, path):
    model = models.make(**arguments)
    params = drawn(model)
    io.save_model(path, params, **arguments)
    again, loaded = io.load_model(path)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert program(again, loaded) == program(model, params)
    assert io.load_config(path)["features"] == list(arguments["features"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "transformer"}, "one of .*'rnn'.*not 'transformer'"),
        ({"feature": 3}, "has no feature; a file holds architecture, inputs, features"),
        ({"kernel_size": 3}, r"make\('lstm'\) has no kernel_size"),
        ({"kernel_init": jnp.ones}, "has no kernel_init"),
        ({"outputs": 0}, "outputs must be a positive integer, not 0"),
        ({"inputs": True}, "inputs must be a positive integer, not True"),
        ({"features": ()}, "features must be one or more, each a positive integer"),
        ({"features": (3, 0)}, "features must be"),
        ({"dropout": 1.0}, r"dropout must be a rate in \[0, 1\)"),
        ({"last": "yes"}, "last must be True or False"),
        ({"chunk_size": 0}, "chunk_size must be a positive integer or None"),
        ({"implementation": "cudnn"}, 'implementation must be "scan" or "autodiff" or None'),
        ({"dtype": "int32"}, "dtype must be a dtype such as"),
        ({"architecture": "rnn", "activation": jnp.tanh}, '"tanh" or "relu" by name: a function'),
    ],
)
def test_arguments_are_checked_and_the_known_ones_named(change, words, path):
    with pytest.raises(io.WeightsError, match=words):
        io.save_model(path, {}, **(LSTM | change))
    assert not path.exists()
    # Nor does a file with them make a model.
    if not callable(change.get("activation") or change.get("kernel_init")):
        io.save_weights(path, {}, LSTM | change)
        with pytest.raises(io.WeightsError, match=words):
            io.load_model(path)


def test_missing_arguments_are_named(path):
    with pytest.raises(io.WeightsError, match="lacks features, outputs"):
        io.save_model(path, {}, architecture="gru", inputs=1)
    io.save_weights(path, {"a": jnp.ones(1)})
    with pytest.raises(io.WeightsError, match=r"names its architecture.*save_weights"):
        io.load_model(path)


def test_parameters_must_be_those_of_the_arguments(path):
    params = drawn(models.make("lstm", inputs=1, features=(4,), outputs=2))
    with pytest.raises(io.WeightsError, match=r"not written: .*\[1, 16\].*\[1, 12\].*width"):
        io.save_model(path, params, **LSTM)
    assert not path.exists()
    io.save_weights(path, params, LSTM)
    with pytest.raises(io.WeightsError, match=r"does not fit.*another width"):
        io.load_model(path)
