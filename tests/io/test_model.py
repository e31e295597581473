"""Any tree of layers goes into a file with its weights, and comes back."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models, nn
from seqjax.nn.spec import LAYER_TYPES, layer_from_json, layer_to_json
from tests.compiled import run

LAYERS = {
    **{name: kind(3) for name, kind in nn.LAYERS.items()},
    "rnn, relu by name": nn.RNN(3, activation="relu", layer_norm=True, reverse=True),
    "lru of the whole disc": nn.LRU(3, 5, r_max=1.0),
    "low precision": nn.LSTM(3, dtype=jnp.bfloat16, param_dtype=jnp.float16, chunk_size=2),
    "conv": nn.CausalConv(4, 2, dilation=2, activation=jax.nn.relu, weight_norm=True),
    "wavenet with conditions": nn.WaveNet(
        2, dilations=(1, 2, 4), skip_features=5, global_features=3, local_features=2
    ),
    "seasonal": nn.SeasonalResidual(nn.LSTM(3), period=2, cycles=2),
    "both ways": nn.Bidirectional(nn.GRU(3), nn.LSTM(2)),
    "deep": nn.Stack(
        (
            nn.Dense(4, activation="tanh"),
            nn.BatchNorm(epsilon=1e-5),
            nn.Repeat(nn.Residual(nn.LRU(4), 4, dropout=0.1), depth=2),
            nn.Stack((nn.MinGRU(3),)),
        ),
        dropout=0.2,
        remat=True,
    ),
    "tokens": nn.Stack((nn.Embed(7, 3), nn.LSTM(3, dropout=0.1), nn.Dense(7))),
    "n-grams, pooled": nn.Stack(
        (nn.NGramEmbed(7, 3, buckets=8), nn.Parallel((nn.LSTM(3), nn.MinGRU(2))), nn.Pool("max"))
    ),
}


def inputs_of(name):
    return nn.Tokens(7) if name in ("tokens", "n-grams, pooled") else 1


def drawn(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), a.dtype), shapes)


def program(model, params):
    x = models.example(model.inputs, 6)
    shapes = {"global_condition": (1, 3), "local_condition": (1, 6, 2)}
    context = {name: jnp.zeros(shapes[name]) for name in model.layer.context_names()}
    traced = jax.make_jaxpr(model.apply)(params, x, context=context)
    return re.sub("0x[0-9a-f]+", "", str(traced))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_returns_with_its_weights(name, path):
    model = models.from_layer(LAYERS[name], inputs_of(name), last=name == "deep")
    params = drawn(model)
    io.save_model(path, model, params)
    again, loaded = io.load_model(path)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert program(again, loaded) == program(model, params)
    assert (again.inputs, again.last) == (model.inputs, model.last)
    assert layer_to_json(again.layer) == layer_to_json(model.layer)
    if "activation=jax" not in name and name != "conv":  # a function comes back as its name
        assert again.layer == model.layer
    assert layer_from_json(json.loads(json.dumps(layer_to_json(model.layer)))) == again.layer


def test_every_layer_has_json():
    assert {type(layer) for layer in LAYERS.values()} >= {*nn.LAYERS.values()}
    public = {name for name in dir(nn) if isinstance(getattr(nn, name), type)}
    layers = {name for name in public if issubclass(getattr(nn, name), nn.Layer)}
    assert layers - {"Layer", "Recurrent"} == LAYER_TYPES.keys()
    # Which in JSON is the layer's own name.
    assert not [name for name, one in LAYER_TYPES.items() if "kind" in one.__dataclass_fields__]


def test_a_layer_alone_needs_its_inputs(path):
    layer = nn.GRU(3)
    params = drawn(models.from_layer(layer, 2))
    with pytest.raises(io.WeightsError, match=r"say inputs=\.\.\."):
        io.save_model(path, layer, params)
    io.save_model(path, layer, params, inputs=2, last=True)
    model, _ = io.load_model(path)
    assert run(model.apply, params, np.ones((2, 5, 2), np.float32)).shape == (2, 3)


OLD = {"architecture": "lstm", "inputs": 1, "features": [3], "outputs": 2}


GOLDEN = pathlib.Path(__file__).parent / "golden" / "0.1"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.safetensors")), ids=lambda file: file.stem)
def test_golden_files_of_seqjax_0_1_still_load(file):
    """Written by that version (commit ccb5983), with the outputs it gave.

    A change of either is a promise broken; only their loader may change.
    """
    model, params = io.load_model(file)
    x = np.linspace(-1, 1, 12 * model.inputs, dtype=np.float32).reshape(2, 6, model.inputs)
    expected = np.asarray(json.loads((GOLDEN / "outputs.json").read_text())[file.stem])
    low = any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(params))
    y = run(model.apply, params, x).astype(np.float32)
    np.testing.assert_allclose(y, expected, atol=1e-2 if low else 1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        OLD | {"last": True, "dropout": 0.1, "chunk_size": None, "dtype": "bfloat16"},
        OLD | {"architecture": "rnn", "activation": "relu", "layer_norm": True, "unroll": 1},
        OLD | {"architecture": "gru", "reset_after": False, "features": [3, 2]},
        OLD | {"architecture": "conv", "kernel_size": 3, "activation": "tanh"},
        OLD | {"architecture": "conv", "features": [2, 3]},
        OLD | {"architecture": "rnn", "features": [1] * 30},
    ],
)
def test_files_of_seqjax_0_1_still_load(arguments, path):
    """Their configuration is the arguments of `models.make`."""
    model = models.make(**arguments)
    params = drawn(model)
    io.save_weights(path, params, arguments)
    again, loaded = io.load_model(path)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert program(again, loaded) == program(model, params)
    assert again.last == arguments.get("last", False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "transformer"}, "one of .*'rnn'.*not 'transformer'"),
        ({"feature": 3}, r"LSTM has no 'feature'. Did you mean 'features'"),
        ({"kernel_size": 3}, "LSTM has no 'kernel_size'"),
        ({"outputs": 0}, r"layers\[1\].features is 0; it must be a whole number, at least 1"),
        ({"inputs": True}, "inputs is True; it must be a whole number"),
        ({"inputs": 2**63}, "inputs is 9223372036854775808; it must be a whole number.*at most"),
        ({"features": []}, "features is .*one or more whole numbers"),
        ({"features": [3, 0]}, r"layers\[1\].features is 0"),
        ({"architecture": "conv", "features": [1] * 3000}, r"layers\[25\].dilation is .*at most"),
        ({"architecture": ["gru"]}, r"one of .*not \['gru'\]"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be a number, at least 0, below 1"),
        ({"last": "yes"}, "last is 'yes'; it must be true or false"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be a whole number, at least 1.* or null"),
        (
            {"implementation": "x"},
            "one of 'scan', 'autodiff', 'associative', 'newton', 'cudnn', 'pallas' or null",
        ),
        ({"dtype": "int32"}, "dtype is 'int32'; it must be one of 'float16', 'bfloat16'"),
        ({"architecture": "rnn", "activation": "sin"}, "it must be one of 'tanh', 'relu'"),
    ],
)
def test_a_file_of_something_else_makes_no_model(change, words, path):
    io.save_weights(path, {}, OLD | change)
    with pytest.raises(io.WeightsError, match=words):
        io.load_model(path)


def nested(depth):
    layer = {"kind": "LSTM", "features": 2}
    for _ in range(depth):
        layer = {"kind": "Stack", "layers": [layer]}
    return layer


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"kind": "LSTN"}, "no kind 'LSTN'. Did you mean 'LSTM'"),
        ({"kind": ["LSTM"]}, "no kind"),
        ({}, "no kind None"),
        ([], r"layer is \[\]; it must be a JSON object"),
        ({"kind": "LSTM"}, "LSTM lacks features"),
        ({"kind": "LSTM", "features": 2**40}, "at most"),
        ({"kind": "LSTM", "features": 2.0}, "whole number"),
        ({"kind": "LSTM", "features": 2, "kernel_init": "x"}, "no 'kernel_init'"),
        ({"kind": "LSTM", "features": 2, "parent": None}, "no 'parent'"),
        ({"kind": "LSTM", "features": 2, "reverse": 1}, "true or false"),
        ({"kind": "Stack", "layers": {}}, "must be a list of layers"),
        ({"kind": "Stack", "layers": [3]}, r"layers\[0\] is 3"),
        ({"kind": "Residual", "layer": None, "features": 2}, "layer.layer is None"),
        ({"kind": "WaveNet", "outputs": 1, "cycles": 10**6}, "at most 4096"),
        ({"kind": "WaveNet", "outputs": 1, "dilations": [1, 0]}, "dilations"),
        ({"kind": "LRU", "features": 1, "r_max": 1.5}, "at most 1"),
        ({"kind": "BatchNorm", "epsilon": "x"}, "a number"),
        ({"kind": "CausalConv", "features": 2, "kernel_size": 1, "groups": 3}, "equal groups"),
        ({"kind": "WaveNet", "outputs": 1, "cycles": 4096, "dilations": [1] * 99}, "at most 1024"),
        (nested(40), "more than"),
        ({"kind": "Stack", "layers": [{"kind": "BatchNorm"}] * 5000}, "more than"),
    ],
)
def test_hostile_layers_are_refused_by_name(layer, words, path):
    io.save_weights(path, {}, {"layer": layer, "inputs": 1, "last": False})
    with pytest.raises(io.WeightsError, match=words):
        io.load_model(path)


def test_what_has_no_json_is_not_written(path):
    class Own(nn.LSTM):
        """A layer of a user's own."""

    for layer, words in (
        (nn.Dense(2, activation=lambda x: x), r"Dense.activation is <function"),
        (Own(2), "Own has no JSON; there are"),
        (nn.Dense(0), "features is 0"),
    ):
        with pytest.raises(io.WeightsError, match=words):
            io.save_model(path, layer, {}, inputs=1)
    assert not path.exists()
    io.save_weights(path, {"a": jnp.ones(1)})
    with pytest.raises(io.WeightsError, match=r"lacks inputs, layer.*load_weights"):
        io.load_model(path)


def test_layers_that_share_parameters_are_not_written(path):
    shared = nn.GRU(3)
    model = models.from_layer(nn.Stack((shared, shared)), 3)
    with pytest.raises(
        io.WeightsError, match=r"layers_1.*layers that share parameters have no JSON"
    ):
        io.save_model(path, model, model.init(jax.random.key(0)))


def test_parameters_must_be_those_of_the_model(path):
    params = drawn(models.from_layer(nn.LSTM(4), 1))
    layer = nn.LSTM(3)
    with pytest.raises(io.WeightsError, match=r"not written: .*\[1, 16\].*\[1, 12\].*width"):
        io.save_model(path, layer, params, inputs=1)
    assert not path.exists()
    io.save_weights(path, params, {"layer": layer_to_json(layer), "inputs": 1})
    with pytest.raises(io.WeightsError, match=r"does not fit.*another width"):
        io.load_model(path)
