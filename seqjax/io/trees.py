"""Leaves by name: how a pytree becomes the flat names of a file, and where two differ."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from seqjax.io.errors import WeightsError

_RESERVED = "__metadata__"  # safetensors' own entry


class Spec(NamedTuple):
    """What a leaf looks like."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def named_leaves(tree: Any) -> tuple[dict[str, Any], Any]:
    """Leaves by their slash-joined path, and the tree's structure.

    Keys of dicts, fields of named tuples and places in lists are the parts of a path.
    """
    pairs, structure = jax.tree_util.tree_flatten_with_path(tree)
    named: dict[str, Any] = {}
    for path, leaf in pairs:
        parts = [jax.tree_util.keystr((entry,), simple=True) for entry in path]
        name = "/".join(parts)
        if not all(parts) or any("/" in part for part in parts) or name == _RESERVED:
            raise WeightsError(
                f"a leaf's path is {parts}: parts must not be empty or hold a slash, and no leaf"
                f" is named {_RESERVED!r}."
            )
        if name in named:
            raise WeightsError(f"two leaves have the name {name!r}, such as by the keys 0 and '0'.")
        named[name] = leaf
    return named, structure


def nested(named: Mapping[str, Any]) -> Any:
    """Nested dicts out of slash-joined names."""
    if set(named) == {""}:
        return named[""]
    tree: dict[str, Any] = {}
    for name, leaf in named.items():
        *parents, last = name.split("/")
        branch = tree
        for part in parents:
            branch = branch.setdefault(part, {})
        branch[last] = leaf
    return tree


def specs(named: Mapping[str, Any]) -> dict[str, Spec]:
    """What leaves with a shape and a dtype look like."""
    for name, leaf in named.items():
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            raise WeightsError(f"{name!r} is no array but a {type(leaf).__name__}: {leaf!r}.")
    return {name: Spec(str(leaf.dtype), tuple(leaf.shape)) for name, leaf in named.items()}


def differences(
    found: Mapping[str, Spec], expected: Mapping[str, Spec], *, here: str, there: str
) -> str | None:
    """Where two trees differ and what probably made them; None where they do not.

    Args:
        found: leaves of `here`.
        expected: leaves of `there`.
        here: such as "in the file".
        there: such as "in `like`".
    """
    sentences = []
    for name in sorted(found.keys() | expected.keys()):
        left, right = found.get(name), expected.get(name)
        if left != right:
            of_left = "missing" if left is None else str(left)
            of_right = "missing" if right is None else str(right)
            sentences.append(f"{name} is {of_left} {here} and {of_right} {there}")
    if not sentences:
        return None
    shown = sentences[:_SHOWN]
    if more := len(sentences) - len(shown):
        shown.append(f"and {more} more")
    return f"{'; '.join(shown)}. Likely cause: {_likely_cause(found, expected)}."


_SHOWN = 6  # differences; the rest is counted


def _likely_cause(found: Mapping[str, Spec], expected: Mapping[str, Spec]) -> str:
    if found.keys() != expected.keys():
        # Without numbers the names of any two stacks of one kind are the same.
        kinds = [{re.sub(r"\d+", "#", name) for name in names} for names in (found, expected)]
        if kinds[0] == kinds[1]:
            return "another number of layers"
        return "another cell or another kind of layer"
    differing = [(found[k].shape, expected[k].shape, k) for k in found if found[k] != expected[k]]
    if all(left == right for left, right, _ in differing):
        return "another dtype (param_dtype, or jax_enable_x64)"
    for left, right, name in differing:
        if len(left) != len(right):
            return "another kind of layer"
        if name.endswith("recurrent_kernel") and left[-1] * right[-2] != right[-1] * left[-2]:
            return "another cell (an LSTM has four gates, a GRU three, a simple RNN none)"
    return "another width, or another number of inputs or outputs"
