import hashlib
import json
import os
import sys

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from seqjax import io, ops

PARAMS = {
    "layers_0": {"kernel": np.arange(8, dtype=np.float32).reshape(2, 4), "bias": np.ones(4)},
    "step": np.int32(3),
}
PARAMS["layers_0"]["bias"] = PARAMS["layers_0"]["bias"].astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def edited(path, edit):
    """Change the JSON of ours in the file's header."""
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="np") as file:
        text = edit(file.metadata()["seqjax"])
    safetensors.numpy.save_file(arrays, path, metadata={"seqjax": text})


def without_object(text):
    """A configuration that is a list, with the checksum of one."""
    about = json.loads(text) | {"config": [1]}
    about["config_sha256"] = hashlib.sha256(b"[1]").hexdigest()
    return json.dumps(about)


DTYPES = [
    *("bool", "int8", "uint16", "int32", "int64", "uint64", "float16", "bfloat16", "float32"),
    *("float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "int4"),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_of_every_dtype_returns(dtype, path, x64):
    """All bit patterns, of NaNs too; scalars, empty arrays, any layout in memory."""
    dtype = jnp.dtype(dtype)
    random = np.random.default_rng(0).integers(0, 256, 96 * dtype.itemsize, np.uint8).tobytes()
    square = np.frombuffer(random, dtype).reshape(8, 12)
    if dtype in (jnp.int4, bool):  # not every byte is one of theirs
        square = (np.frombuffer(random, np.uint8)[:96].reshape(8, 12) % 2).astype(dtype)
    params = {
        "jax": jnp.asarray(square),
        "column by column": np.asfortranarray(square),
        "every second": square[::2, ::3],
        "scalar": square[0, 0],
        "none": square[:0],
    }
    io.save_weights(path, params)
    loaded, _ = io.load_weights(path)
    for name, leaf in params.items():
        assert isinstance(loaded[name], jax.Array)
        assert (loaded[name].shape, loaded[name].dtype) == (leaf.shape, dtype)
        assert np.asarray(loaded[name]).tobytes() == np.asarray(leaf).tobytes(), name


def test_the_other_order_of_bytes_is_the_same_number(path):
    io.save_weights(path, {"a": np.array([1.5, -2.0], ">f4")})
    assert io.load_weights(path)[0]["a"].tolist() == [1.5, -2.0]


def test_structures_return_with_like(path):
    lstm = ops.LSTMParams(jnp.ones((1, 8)), jnp.ones((2, 8)))
    params = {"layers": [lstm, None, (jnp.zeros(3), {})], "lags": {7: jnp.ones(())}, "empty": []}
    io.save_weights(path, params, {"a": (1, 2)})
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    for like in (params, shapes):
        loaded, config = io.load_weights(path, like)
        assert jax.tree.structure(loaded) == jax.tree.structure(params)
        assert config == {"a": [1, 2]}
    loaded, _ = io.load_weights(path)
    assert sorted(loaded) == ["lags", "layers"]
    assert sorted(loaded["layers"]) == ["0", "2"]
    assert sorted(loaded["layers"]["0"]) == ["kernel", "recurrent_kernel"]
    io.save_weights(path, jnp.ones(2))
    assert io.load_weights(path)[0].tolist() == [1, 1]
    io.save_weights(path, flax.core.freeze(PARAMS))
    assert sorted(io.load_weights(path)[0]) == ["layers_0", "step"]


def test_the_file_is_readable_by_others_and_always_the_same(path):
    io.save_weights(path, PARAMS, {"lags": [1, 12]})
    once = path.read_bytes()
    io.save_weights(str(path), PARAMS, {"lags": [1, 12]})
    assert path.read_bytes() == once
    assert list(path.parent.iterdir()) == [path]
    theirs = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(theirs["layers_0/kernel"], PARAMS["layers_0"]["kernel"])
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_no_changed_bit_and_no_lost_byte_goes_unnoticed(path):
    params, config = {"a": np.array([1.0, 2.0], np.float32)}, {"lag": 12}
    io.save_weights(path, params, config)
    data = path.read_bytes()
    noticed = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            loaded, found = io.load_weights(path)
        except io.WeightsError as error:
            noticed += str(path) in str(error)
        else:  # the name of our version, or a space
            assert (loaded["a"].tolist(), found) == ([1.0, 2.0], config)
    assert noticed > len(data) - 20
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(io.WeightsError, match="cut off or damaged"):
            io.load_weights(path)


def test_damage_names_the_leaf(path):
    io.save_weights(path, PARAMS)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(io.WeightsError, match=r"weights\.safetensors: layers_0/.* is damaged"):
        io.load_weights(path)


def test_what_stands_in_the_file_is_known_or_refused(path):
    io.save_weights(path, PARAMS, {"lag": 12})
    data = path.read_bytes()
    for edit, words in [
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2.*newer seqjax"),
        (lambda text: text.replace('"lag": 12', '"lag": 13'), "checksum"),
        (lambda text: text.replace('"lag": 12', '"lag": 1, "lag": 12'), "twice"),
        (lambda text: text.replace('"format": 1', '"format": 1, "colour": 1'), "unknown.*colour"),
        (lambda text: text.replace('"step"', '"steps"'), "one of its two lists"),
        (lambda text: text.replace("int32", "int64"), "header is damaged"),
        (lambda text: text.replace("[2, 4]", "[4, 2]"), r"\[4, 2\], but stored as \[2, 4\]"),
        (lambda text: "{}", "header is damaged"),
        (lambda text: "no JSON", "header is damaged"),
        (lambda text: "[" * 100_000, "header is damaged"),
        (lambda text: text.replace("int32", "U4"), "no dtype of numbers"),
        (lambda text: text.replace("int32", "(2,3"), "no dtype of numbers"),
        (lambda text: text.replace("[2, 4]", "[2.0, 4.0]"), r"damaged: .*\[2\.0, 4\.0\]"),
        (lambda text: text.replace("[2, 4]", "[true, 4]"), "header is damaged"),
        (lambda text: text.replace('"lag": 12', '"lag": NaN'), "not a finite number"),
        (lambda text: text.replace('"step"', '"layers_0"'), "lies within another leaf"),
        (without_object, "configuration is no JSON object"),
    ]:
        path.write_bytes(data)
        edited(path, edit)
        with jax.enable_x64(True), pytest.raises(io.WeightsError, match=words):
            io.load_weights(path)
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    with pytest.raises(io.WeightsError, match="another program"):
        io.load_weights(path)
    for missing, words in [("nowhere", "no such file"), ("", "is a folder")]:
        with pytest.raises(io.WeightsError, match=words):
            io.load_config(path.parent / missing)


def cell(gates, width=4, layers=2, dtype=jnp.float32):
    return {
        f"layers_{k}": {
            "kernel": jax.ShapeDtypeStruct((1, gates * width), dtype),
            "recurrent_kernel": jax.ShapeDtypeStruct((width, gates * width), dtype),
        }
        for k in range(layers)
    }


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (
            cell(4, width=6),
            r"kernel is float32\[1, 16\] in the file and float32\[1, 24\] in",
        ),
        (cell(4, width=6), "cause: another width"),
        (cell(4, layers=3), "layers_2/kernel is missing in the file.*another number of layers"),
        (cell(4, layers=1), r"and missing in `like`.*another number of layers"),
        (cell(3), "another cell"),
        (cell(4, dtype=jnp.bfloat16), "another dtype"),
        ({"layers_0": cell(4)["layers_0"] | {"recurrent_bias": jnp.ones(3)}}, "kind of layer"),
        (cell(4, layers=9), "and 8 more"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_read(like, words, path, monkeypatch):
    io.save_weights(path, jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), cell(4)))
    monkeypatch.setattr("seqjax.io.weights._read", None)
    with pytest.raises(io.WeightsError, match=words) as caught:
        io.load_weights(path, like)
    assert str(path) in str(caught.value)


def test_wide_leaves_need_x64(path):
    io.save_weights(path, {"a": np.ones(2)})
    with pytest.raises(io.WeightsError, match=r"a is float64\[2\].*jax_enable_x64"):
        io.load_weights(path)


@pytest.mark.parametrize(
    ("params", "config", "words"),
    [
        ({"a": 1.0}, None, "'a' is no array but a float"),
        ({"a": jax.random.key(0)}, None, "a is a random key"),
        ({"a": np.array(["text"])}, None, "no numbers"),
        ({"a/b": np.ones(1)}, None, "slash"),
        ({"": np.ones(1)}, None, "empty"),
        ({"__metadata__": np.ones(1)}, None, "__metadata__"),
        ({}, {"rate": float("nan")}, "no JSON"),
        ({}, {"function": max}, "no JSON"),
        ({}, {"lags": {1: 2}}, "keys must be strings"),
    ],
)
def test_what_could_not_return_is_not_written(params, config, words, path):
    with pytest.raises(io.WeightsError, match=words):
        io.save_weights(path, params, config)
    assert not path.exists()


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    io.save_weights(path, PARAMS)
    once = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        io.save_weights(path, {"a": np.ones(3)})
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == once
    with pytest.raises(FileNotFoundError, match="folder"):
        io.save_weights(path.parent / "nowhere" / "a", PARAMS)


def test_without_safetensors_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install .seqjax\[weights\]"):
        io.save_weights(path, PARAMS)
    with pytest.raises(ImportError, match=r"pip install .seqjax\[weights\]"):
        io.load_config(path)


def test_the_header_is_what_the_docstring_says(path):
    io.save_weights(path, PARAMS, {"lag": 12})
    with safetensors.safe_open(path, framework="np") as file:
        about = json.loads(file.metadata()["seqjax"])
    assert sorted(about) == ["config", "config_sha256", "format", "leaves", "version"]
    assert sorted(about["leaves"]["step"]) == ["dtype", "sha256", "shape"]
