import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.storage.trees import (
    Leaf,
    checksum,
    described,
    differences,
    leaves_from_json,
    leaves_to_json,
)


@pytest.mark.parametrize("dtype", ["bool", "bfloat16", "float8_e5m2", "int4", "float64"])
def test_a_checksum_is_of_the_bytes_in_c_order(dtype):
    array = np.arange(12).reshape(3, 4).astype(jnp.dtype(dtype))
    for view in (array, np.asfortranarray(array), array[::2, 1:], array[0, 0], array[:0]):
        assert checksum(view) == hashlib.sha256(view.tobytes()).hexdigest()


def test_leaves_return_from_json():
    named = {"a": jnp.ones((2, 3), jnp.bfloat16), "key": jax.random.key(0), "none": np.ones((0,))}
    leaves = leaves_from_json(json.loads(json.dumps(leaves_to_json(named))))
    assert {name: leaf._replace(sha256="") for name, leaf in leaves.items()} == described(named)
    assert leaves["a"] == Leaf("bfloat16", (2, 3), checksum(named["a"]))
    assert str(leaves["a"]) == "bfloat16[2, 3]"


@pytest.mark.parametrize(
    "leaf",
    [
        {"shape": [2.0]}, {"shape": [True]}, {"shape": ["2"]}, {"shape": None}, {"shape": "23"},
        {"dtype": 3}, {"sha256": None}, {"sha256": ["0"]},
    ],
)  # fmt: skip
def test_a_leaf_of_another_form_is_named(leaf):
    good = {"dtype": "float32", "shape": [2], "sha256": "0"}
    assert leaves_from_json({"a": good}) == {"a": Leaf("float32", (2,), "0")}
    for bad in (good | leaf, None, [good], 3, {}):
        with pytest.raises(ValueError, match=r"^'a' is .*no leaf's"):
            leaves_from_json({"a": bad})
        with pytest.raises(ValueError, match="no JSON object"):
            leaves_from_json([good])


def differ(found, expected, **options):
    return differences(found, expected, here="here", there="there", **options)


def test_checksums_are_no_difference():
    a = {"w": Leaf("int8", (3,))}
    assert differ(a, {"w": a["w"]._replace(sha256="0")}) is None


def test_every_leaf_that_differs_is_named_up_to_six():
    many = {f"w{k}": Leaf("int8", (k,)) for k in range(9)}
    words = differ(many, {"w0": Leaf("int8", ())})
    assert words.startswith("w0 is int8[0] here and int8[] there; w1 is int8[1] here and missing")
    assert words.count(" is ") == 6
    assert "; and 3 more. Likely cause: another number of layers." in words


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ({".opt[0].w": (2,)}, {".opt.w": (2,)}, "another optimizer"),
        ({".opt[0].w": (2,), "b": (1,)}, {".opt.w": (2,)}, "another architecture"),
        ({"layer_0": (2,)}, {"layer_0": (2,), "layer_1": (2,)}, "another number of layers"),
        ({"w": (2,)}, {"w": (2, 1)}, "another kind of layer"),
        ({"recurrent_kernel": (2,)}, {"recurrent_kernel": (3,)}, "another width"),
        ({"['recurrent_kernel']": (4, 16)}, {"['recurrent_kernel']": (4, 12)}, "another cell"),
        ({"['recurrent_kernel']": (4, 16)}, {"['recurrent_kernel']": (6, 24)}, "another width"),
    ],
)
def test_the_likely_cause(found, expected, words):
    found, expected = (
        {name: Leaf("float32", shape) for name, shape in shapes.items()}
        for shapes in (found, expected)
    )
    assert f"Likely cause: {words}" in differ(found, expected, causes={".opt": "another optimizer"})
