"""A run's folder: where its parts stand, and finished runs for prediction."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from seqjax import io, models
from seqjax.config import RunError
from seqjax.io.model import model_from_json, model_to_json
from seqjax.storage.files import write_json
from seqjax.train import CheckpointError
from seqjax.train.reading import read_checkpoint


class Run(NamedTuple):
    """A trained model out of a run's folder.

    Attributes:
        model: the model.
        params: its parameters; with early stopping the best.
        extra: what a prediction needs besides, such as a scaler; JSON.
        history: a dict for each epoch.
        step: of the checkpoint.
    """

    model: models.Model
    params: Any
    extra: dict[str, Any]
    history: list[dict[str, Any]]
    step: int


def load(
    folder: str | Path, row: str = "", seed: int | None = None, model: models.Model | None = None
) -> Run:
    """A trained model of a run that is finished, or still under way.

    It only reads: a run that is writing there is not disturbed.

    Args:
        folder: the run's, such as ``runs/milk``.
        row: which one of a study of several.
        seed: which one; by default the first that is there.
        model: for one that could not be written down, since it holds a function of its own.

    Returns:
        The model and its parameters.

    Raises:
        RunError: where there is no such run, row or seed; the message names those there are.
        CheckpointError: where its newest checkpoint is damaged.

    Example: see docs/milk.md.
    """
    folder = Path(folder)
    path = _row(folder, row) / "model.json"
    if not path.is_file():
        known = sorted(str(p.parent.relative_to(folder / "rows")) for p in _models(folder))
        rows = f"; its rows are {', '.join(known)}" if known else ""
        raise RunError(f"{folder}: there is no trained model {row!r} (no {path}){rows}.")
    saved = json.loads(path.read_text())
    if "error" in saved and model is None:
        raise RunError(
            f"{path}: this model was not written down ({saved['error']}); give it: load(model=...)."
        )
    checkpoints = folder / "checkpoints" / row
    seeds = sorted(int(p.name.removeprefix("seed-")) for p in checkpoints.glob("seed-*[0-9]"))
    if seed is None and seeds:
        seed = seeds[0]
    if seed not in seeds:
        there = f"there are {', '.join(map(str, seeds))}" if seeds else "none is saved yet"
        raise RunError(f"{checkpoints}: there is no seed {seed}; {there}.")
    try:
        model = model_from_json(saved["model"]) if model is None else model
    except io.WeightsError as error:
        raise RunError(f"{path}: {error}") from None
    found = read_checkpoint(checkpoint_folder(folder, row, seed))
    state = found.state
    params = state["params"] if state.get("best") is None else state["best"]["params"]
    expected = jax.eval_shape(model.init, jax.random.key(0))
    if jax.tree.structure(params) != jax.tree.structure(expected):
        raise CheckpointError(f"{checkpoints}: the parameters are not those of {path}.")
    params = jax.tree.map(jax.numpy.asarray, params)
    return Run(model, params, saved["extra"], found.history or [], found.step)


def write_model(folder: Path, row: str, model: models.Model, extra: Any) -> None:
    """Write down a row's model for `load`."""
    path = _row(folder, row) / "model.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        saved: dict[str, Any] = {"model": model_to_json(model)}
    except io.WeightsError as error:  # one with a function of the user's own, say
        saved = {"error": str(error)}
    write_json(path, saved | {"extra": dict(extra)})


def checkpoint_folder(folder: Path, row: str, seed: int) -> Path:
    """Where a seed's states are saved."""
    return folder / "checkpoints" / row / f"seed-{seed}"


def outcome_path(folder: Path, row: str, seed: int) -> Path:
    """The file whose presence says that a seed of a row is done."""
    return _row(folder, row) / f"seed-{seed}.json"


def seeds_of(folder: Path, row: str) -> list[int]:
    """The seeds of a row that are done, in order."""
    return sorted(int(p.stem.removeprefix("seed-")) for p in _row(folder, row).glob("seed-*.json"))


def _row(folder: Path, row: str) -> Path:
    return folder / "rows" / row


def _models(folder: Path) -> list[Path]:
    return list((folder / "rows").rglob("model.json"))
