"""What a checkpoint says of itself: format, run, and every leaf's shape, dtype and checksum."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
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
    if "sha256" in record and record["sha256"] != _checksum_of_json(rest):
        raise DamagedError("its record does not match its checksum")
    if record.get("format") != FORMAT:
        writer = record.get("seqjax")
        wrote = f"by seqjax {writer} in format {record['format']}" if writer else "without a format"
        raise ValueError(
            f"it was written {wrote}; this is seqjax {_version()}, which reads format {FORMAT}."
            " Go on with the version that wrote it."
        )
    return record


def mismatches(record: Record, like: Any) -> list[str]:
    """One sentence for each leaf that differs in name, shape or dtype."""
    saved, wanted = record["leaves"], _leaves(like)
    sentences = []
    for name in sorted(saved.keys() | wanted.keys()):
        if name not in wanted:
            sentences.append(f"{name} {_shape(saved[name])} is not in this run's state")
        elif name not in saved:
            leaf = wanted[name]
            sentences.append(f"{name} {tuple(leaf.shape)} {leaf.dtype} is not in the checkpoint")
        else:
            leaf = wanted[name]
            shape = tuple(saved[name]["shape"])
            if shape != leaf.shape:
                sentences.append(f"{name} is {shape} in the checkpoint and {leaf.shape} here")
            elif saved[name]["dtype"] != str(leaf.dtype):
                sentences.append(
                    f"{name} is {saved[name]['dtype']} in the checkpoint and {leaf.dtype} here"
                )
    return sentences


def likely_cause(sentences: list[str]) -> str:
    """What usually makes checkpoint and run differ so."""
    text = " ".join(sentences)
    if "is not in" in text:
        if all(".opt_state" in sentence for sentence in sentences):
            return "another optimizer?"
        if all(".best" in sentence for sentence in sentences):
            return "with and without early stopping?"
        return "another architecture, or another number of layers?"
    if "float" in text or "int" in text:
        return "another dtype (param_dtype, jax_enable_x64)?"
    return "another width (features), or other inputs and outputs?"


def check_leaves(record: Record, state: Any) -> None:
    """Raise DamagedError where a leaf is not what was saved."""
    for name, leaf in _leaves(state).items():
        if _checksum(leaf) != record["leaves"][name]["sha256"]:
            raise DamagedError(f"{name} does not match its checksum")


def _leaves(state: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def _shape(saved: dict[str, Any]) -> str:
    return f"{tuple(saved['shape'])} {saved['dtype']}"


def _checksum(leaf: Any) -> str:
    flat = np.ascontiguousarray(local(leaf)).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8)).hexdigest()


def _checksum_of_json(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _version() -> str:
    try:
        return version("seqjax")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"
