"""What a checkpoint says of itself: format, run, and every leaf's shape, dtype and checksum."""

import hashlib
import json
import re
from typing import Any

import jax

from seqjax.storage.trees import checksum, described, differences, leaves_from_json, leaves_to_json
from seqjax.storage.versions import version
from seqjax.train.processes import local

FORMAT = 1
Record = dict[str, Any]

# Of a training state that lacks leaves, or has others.
_CAUSES = {
    ".opt_state": "another optimizer",
    ".best": "with and without early stopping",
    ".norm_sum": "with and without track=['gradient_norm']",
    ".metric_sums": "other track_metrics",
    ".carry": "another carry",
}


class DamagedError(Exception):
    """A record or a leaf that is not what was saved."""


def make_record(state: Any, run: dict[str, Any], **more: Any) -> Record:
    """The record of a state; `run` and `more` (left out where None) are JSON."""
    leaves = leaves_to_json(_named(local(state)))
    record = {"format": FORMAT, "seqjax": version(), "run": run, "leaves": leaves}
    record |= {name: value for name, value in more.items() if value is not None}
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
            f"it was written {wrote}; this is seqjax {version()}, which reads format {FORMAT}."
            " Go on with the version that wrote it."
        )
    if stated is None or not isinstance(record.get("run"), dict):
        raise DamagedError("its record is incomplete")
    try:
        leaves_from_json(record.get("leaves"))
    except ValueError as error:
        raise DamagedError(f"its record is damaged: {error}") from None
    return record


def changes(saved: Any, current: Any, name: str = "") -> list[str]:
    """One sentence for each field in which two JSON values differ."""
    if isinstance(saved, dict) and isinstance(current, dict):
        return [
            sentence
            for key in sorted(saved.keys() | current.keys())
            for sentence in changes(
                saved.get(key), current.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if saved == current else [f"{name} was {saved!r} and is now {current!r}"]


def comparable(
    saved: dict[str, Any], current: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both runs, but of what `fit` was given only what both tell: another version tells less."""
    both = saved.get("fit", {}).keys() & current.get("fit", {}).keys()

    def cut(run: dict[str, Any]) -> dict[str, Any]:
        return run | {"fit": {key: run["fit"][key] for key in both}} if "fit" in run else run

    return cut(saved), cut(current)


def mismatches(record: Record, like: Any) -> str | None:
    """Every leaf that differs in name, shape or dtype, and the likely cause."""
    return differences(
        leaves_from_json(record["leaves"]),
        described(_named(like)),
        here="in the checkpoint",
        there="in this run",
        causes=_CAUSES,
    )


def check_leaves(record: Record, state: Any) -> None:
    """Raise DamagedError where a leaf is not what was saved."""
    for name, leaf in _named(local(state)).items():
        if checksum(leaf) != record["leaves"][name]["sha256"]:
            raise DamagedError(f"{name} does not match its checksum")


def check_values(record: Record, nested: Any) -> None:
    """`check_leaves` of a state that was read without its own type, as nested dicts."""
    stated = {_path(name): leaf["sha256"] for name, leaf in record["leaves"].items()}
    for path, leaf in jax.tree.leaves_with_path(nested):
        name = _path(jax.tree_util.keystr(path))
        if checksum(leaf) != stated.pop(name, None):
            raise DamagedError(f"{name} does not match its checksum")
    if stated:
        raise DamagedError(f"{', '.join(stated)} is missing")


def _path(name: str) -> str:
    """``.params['layer'][0]`` as ``params layer 0``, whatever kind of node stood there."""
    return " ".join(re.findall(r"[^\W]+", name))


def _named(state: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def _checksum_of_json(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
