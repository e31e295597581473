"""Leaves by name: how a pytree becomes the flat names of a file, and back."""

from collections.abc import Mapping
from typing import Any

import jax

from seqjax.io.errors import WeightsError

_RESERVED = "__metadata__"  # safetensors' own entry


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
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            raise WeightsError(f"{name!r} is no array but a {type(leaf).__name__}: {leaf!r}.")
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
