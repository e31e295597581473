"""What type checkers are told of the layers is what they are."""

import ast
import dataclasses
from pathlib import Path

import pytest

from seqjax import nn
from seqjax.nn import declared, recurrent


def fields(layer):
    found = [one for one in dataclasses.fields(layer) if one.name not in ("name", "parent")]
    return [(one.name, one.default, one.kw_only) for one in found]


@pytest.mark.parametrize("layer", nn.LAYERS.values(), ids=nn.LAYERS)
def test_a_declared_layer_has_the_fields_of_the_layer(layer):
    """A new cell, or a new option, belongs into seqjax/nn/declared.py."""
    told = getattr(declared, layer.__name__)
    assert sorted(fields(told), key=str) == sorted(fields(layer), key=str)
    in_order = [name for name, _, by_name in fields(layer) if not by_name]
    assert [name for name, _, by_name in fields(told) if not by_name] == in_order


def test_settings_and_names_are_declared():
    assert fields(declared.WithSettings) == fields(recurrent._WithSettings)
    body = next(
        one for one in ast.parse(Path(nn.__file__).read_text()).body if isinstance(one, ast.If)
    )
    told = {alias.name for alias in body.body[0].names}
    assert told == {layer.__name__ for layer in nn.LAYERS.values()}
