"""What a checkpoint says of itself: format, run, and every leaf's shape, dtype and checksum."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.train.processes import local

FORMAT = 1
Record = dict[str, Any]


class DamagedError(Exception):
    """A record or a leaf that is not what was saved."""


def make_record(state: Any, run: dict[str, Any]) -> Record:
    """The record of a state; `run` is JSON."""
    record = {
        "format": FORMAT,
        "seqjax": _version(),
        "run": run,
        "leaves": {
            name: {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "sha256": _checksum(leaf)}
            for name, leaf in _leaves(state).items()
        },
    }
    return record | {"sha256": _checksum_of_json(record)}


def check_record(record: Any) -> Record:
    """`record`, read back.

    Raises:
        DamagedError: where it is not what was written.
        ValueError: where another version wrote it in another format.
    """
    if not isinstance(record, dict):
        raise DamagedError("its record is no JSON object")
    rest = {key: value for key, value in record.items() if key != "sha256"}
    stated = record.get("sha256")
    if stated is not None and stated != _checksum_of_json(rest):
        raise DamagedError("its record does not match its checksum")
    if record.get("format") != FORMAT:
        writer = record.get("seqjax")
        wrote = f"by seqjax {writer} in format {record['format']}" if writer else "without a format"
        raise ValueError(
            f"it was written {wrote}; this is seqjax {_version()}, which reads format {FORMAT}."
            " Go on with the version that wrote it."
        )
    if stated is None or not isinstance(record.get("run"), dict) or not _are_leaves(record):
        raise DamagedError("its record is incomplete")
    return record


def _are_leaves(record: Record) -> bool:
    leaves = record.get("leaves")
    return isinstance(leaves, dict) and all(
        isinstance(leaf, dict)
        and isinstance(leaf.get("shape"), list)
        and all(type(size) is int for size in leaf["shape"])
        and isinstance(leaf.get("dtype"), str)
        and isinstance(leaf.get("sha256"), str)
        for leaf in leaves.values()
    )


def differences(saved: Any, current: Any, name: str = "") -> list[str]:
    """One sentence for each field in which two JSON values differ."""
    if isinstance(saved, dict) and isinstance(current, dict):
        return [
            sentence
            for key in sorted(saved.keys() | current.keys())
            for sentence in differences(
                saved.get(key), current.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if saved == current else [f"{name} was {saved!r} and is now {current!r}"]


class Mismatch(NamedTuple):
    """A leaf in which checkpoint and run differ: what kind of difference, and a sentence."""

    kind: Literal["structure", "dtype", "shape"]
    name: str
    sentence: str


def mismatches(record: Record, like: Any) -> list[Mismatch]:
    """Every leaf that differs in name, shape or dtype."""
    saved, wanted = record["leaves"], _leaves(like)
    found = []
    for name in sorted(saved.keys() | wanted.keys()):
        if name not in wanted:
            shape, dtype = tuple(saved[name]["shape"]), saved[name]["dtype"]
            sentence = f"{name} {shape} {dtype} is not in this run's state"
            found.append(Mismatch("structure", name, sentence))
            continue
        leaf = wanted[name]
        here, here_dtype = tuple(leaf.shape), str(leaf.dtype)
        if name not in saved:
            sentence = f"{name} {here} {here_dtype} is not in the checkpoint"
            found.append(Mismatch("structure", name, sentence))
        elif (there := tuple(saved[name]["shape"])) != here:
            sentence = f"{name} is {there} in the checkpoint and {here} here"
            found.append(Mismatch("shape", name, sentence))
        elif (there := saved[name]["dtype"]) != here_dtype:
            sentence = f"{name} is {there} in the checkpoint and {here_dtype} here"
            found.append(Mismatch("dtype", name, sentence))
    return found


def likely_cause(found: list[Mismatch]) -> str:
    """What usually makes checkpoint and run differ so."""
    kinds = {mismatch.kind for mismatch in found}
    if "structure" in kinds:
        changed = [mismatch.name for mismatch in found if mismatch.kind == "structure"]
        if all(name.startswith(".opt_state") for name in changed):
            return "another optimizer?"
        if all(name.startswith(".best") for name in changed):
            return "with and without early stopping?"
        return "another architecture, or another number of layers?"
    if "shape" in kinds:
        return "another width (features), or other inputs and outputs?"
    return "another dtype (param_dtype, jax_enable_x64)?"


def check_leaves(record: Record, state: Any) -> None:
    """Raise DamagedError where a leaf is not what was saved."""
    for name, leaf in _leaves(state).items():
        if _checksum(leaf) != record["leaves"][name]["sha256"]:
            raise DamagedError(f"{name} does not match its checksum")


def _leaves(state: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def _checksum(leaf: Any) -> str:
    leaf = local(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    flat = np.ascontiguousarray(leaf).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8).data).hexdigest()


def _checksum_of_json(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _version() -> str:
    try:
        return version("seqjax")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"
