"""What a training is given, in words and as checksums: what a resumed run must agree with."""

import contextlib
import functools
import hashlib
import types
from typing import Any

import jax
import numpy as np

from seqjax.storage.trees import checksum


def settings_of(value: Any) -> str:
    """The numbers and names that a function or a tuple of them closes over, ``name=value``.

    Example:
        >>> import optax
        >>> settings_of(optax.constant_schedule(0.5))
        'value=0.5'
    """
    found: dict[str, None] = {}
    _collect(value, "", found, [])
    return " ".join(found)


def _collect(value: Any, name: str, found: dict[str, None], seen: list[Any]) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        found[f"{name}={float(value)!r}"] = None  # schedules make 60.0 of 60 when they run
    elif isinstance(value, bool | str):
        found[f"{name}={value!r}"] = None
    elif isinstance(value, jax.Array | np.ndarray):
        found[f"{name}={checksum(value)[:8]}"] = None
    elif isinstance(value, functools.partial):
        _collect((value.func, value.args, value.keywords), name, found, seen)
    elif isinstance(value, types.FunctionType) and not any(value is one for one in seen):
        seen.append(value)  # itself, not its id, which would soon be another's
        for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # empty yet
                _collect(cell.cell_contents, free, found, seen)
    elif isinstance(value, tuple | list):
        for one in value:
            _collect(one, name, found, seen)
    elif isinstance(value, dict):
        for key, one in value.items():
            _collect(one, str(key), found, seen)


def digest(tree: Any) -> str:
    """A checksum of every leaf of a tree, with its place."""
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        found.update(f"{jax.tree_util.keystr(path)} {checksum(leaf)}".encode())
    return found.hexdigest()[:16]
