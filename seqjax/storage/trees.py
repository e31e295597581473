"""Leaves of a pytree by name: what they look like, what their bytes are, where two trees differ."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.storage.strict_json import show


class Leaf(NamedTuple):
    """What a file says of a leaf.

    Attributes:
        dtype: the name.
        shape: the sizes.
        sha256: of its bytes, in C order; "" where they have not been looked at.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def described(named: Mapping[str, Any]) -> dict[str, Leaf]:
    """What leaves look like: anything with a shape and a dtype, by name."""
    return {name: Leaf(leaf.dtype.name, tuple(leaf.shape)) for name, leaf in named.items()}


def checksum(leaf: Any) -> str:
    """SHA-256 of an array's bytes; of a random key's data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    flat = np.ascontiguousarray(leaf).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()


def leaves_to_json(named: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its arrays: ``{name: {"dtype", "shape", "sha256"}}``."""
    return {
        name: leaf._replace(sha256=checksum(named[name]))._asdict()
        for name, leaf in described(named).items()
    }


def leaves_from_json(value: Any) -> dict[str, Leaf]:
    """The leaves of `leaves_to_json`, read back; ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"the leaves are {show(value)}, no JSON object")
    return {name: _leaf(name, leaf) for name, leaf in value.items()}


def _leaf(name: str, value: Any) -> Leaf:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "sha256": str(sha256)} if all(
            type(size) is int for size in shape
        ):
            return Leaf(dtype, tuple(shape), sha256)
    raise ValueError(f"{show(name)} is {show(value)}, no leaf's dtype, shape and sha256")


def differences(
    found: Mapping[str, Leaf],
    expected: Mapping[str, Leaf],
    *,
    here: str,
    there: str,
    causes: Mapping[str, str] | None = None,
) -> str | None:
    """Where two trees differ in names, dtypes or shapes, and what probably made them.

    Args:
        found: leaves of `here`.
        expected: leaves of `there`.
        here: such as "in the file".
        there: such as "in `like`".
        causes: what it means where all leaves that one tree lacks begin with a name.

    Returns:
        A few sentences that name the leaves, or None for trees that agree.

    Example:
        >>> file, like = {"kernel": Leaf("float32", (1, 8))}, {"kernel": Leaf("float32", (1, 4))}
        >>> differences(file, like, here="in the file", there="here")[:59]
        'kernel is float32[1, 8] in the file and float32[1, 4] here.'
    """
    sentences = []
    for name in sorted(found.keys() | expected.keys()):
        left, right = (str(leaves.get(name, "missing")) for leaves in (found, expected))
        if left != right:
            sentences.append(f"{name} is {left} {here} and {right} {there}")
    if not sentences:
        return None
    shown = sentences[:_SHOWN]
    if more := len(sentences) - len(shown):
        shown.append(f"and {more} more")
    return f"{'; '.join(shown)}. Likely cause: {_likely_cause(found, expected, causes or {})}."


_SHOWN = 6  # differences; the rest is counted


def _likely_cause(
    found: Mapping[str, Leaf], expected: Mapping[str, Leaf], causes: Mapping[str, str]
) -> str:
    if lacking := found.keys() ^ expected.keys():
        for start, cause in causes.items():
            if all(name.startswith(start) for name in lacking):
                return cause
        # Without numbers the names of any two stacks of one kind are the same.
        kinds = [{re.sub(r"\d+", "#", name) for name in names} for names in (found, expected)]
        if kinds[0] == kinds[1]:
            return "another number of layers"
        return "another architecture: another cell or another kind of layer"
    shapes = [(found[name].shape, expected[name].shape, name) for name in found]
    differing = [(left, right, name) for left, right, name in shapes if left != right]
    if not differing:
        return "another dtype (param_dtype, or jax_enable_x64)"
    for left, right, name in differing:
        if len(left) != len(right):
            return "another kind of layer"
        matrices = "recurrent_kernel" in name and min(len(left), len(right)) >= 2
        if matrices and left[-1] * right[-2] != right[-1] * left[-2]:
            return "another cell (an LSTM has four gates, a GRU three, a simple RNN none)"
    return "another width (features), or another number of inputs or outputs"
