"""A study: rows x seeds. What is missing is trained, what is done is kept."""

import dataclasses
import itertools
import json
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import tyro

from seqjax import launch, models, ops, train
from seqjax.config import OF_THE_CALL
from seqjax.report import Kind, Row
from seqjax.runs import checkpoint_folder, outcome_path, seeds_of, write_model
from seqjax.storage.files import write_json
from seqjax.storage.strict_json import nearest
from seqjax.storage.typed import convert
from seqjax.train.processes import is_primary, wait_for_all


class Trial(NamedTuple):
    """A row of a study: what is trained, and what is told of it.

    Attributes:
        title: its name in words.
        settings: JSON; a seed that is done with others is not mixed with new ones.
        model: the model.
        fit: ``(seeds, **how)``, `seqjax.train.fit_seeds` of all else; `how` is what the
            study gives it: metrics, checkpoints, progress, debug_nans.
        measure: ``params -> figures``, JSON.
        every: steps between checkpoints.
        extra: JSON that a prediction needs besides the model, such as a scaler.
    """

    title: str
    settings: Mapping[str, Any]
    model: models.Model
    fit: Callable[..., Iterator[tuple[int, train.Fit]]]
    measure: Callable[[Any], Mapping[str, Any]]
    every: int
    extra: Mapping[str, Any] = {}


class Outcome(NamedTuple):
    """What one seed of one row gave; kept in the run's folder as JSON.

    Attributes:
        figures: from `Trial.measure`.
        parameters: their number (a batch norm's running moments included).
        seconds: of training, compilation included; of seeds trained together, their share;
            since the last resume.
        settings: of the trial.
        history: a dict for each epoch.
    """

    figures: dict[str, Any]
    parameters: int
    seconds: float
    settings: dict[str, Any]
    history: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    """Options of a study of one row; an experiment adds its own."""

    sweep: Annotated[tuple[str, ...], tyro.conf.arg(metavar="OPTION=VALUE,VALUE,...")] = ()
    """Train for each of these values of another option; of several, for each combination."""
    quick: bool = False
    """One seed and 2 epochs: for a look."""
    dtype: Literal["bfloat16"] | None = None
    """Of the computation; parameters, carries and sums stay in float32."""
    implementation: ops.Implementation | None = None
    """How recurrent layers run, such as "newton" (docs/newton.md); by default as is best here."""
    profile: int = 0
    """Write a trace of so many jitted calls of training to the folder's profile/ (for
    TensorBoard or Perfetto)."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard, too, to the folder's tensorboard/."""
    split_batches: bool = False
    """Train one seed after another, each batch split over all devices (several processes always
    do), in place of one or more seeds on each device."""

    may_differ: ClassVar[tuple[str, ...]] = ("seeds", "sweep")
    titles: ClassVar[Mapping[str, str]] = {"": ""}  # of the rows, in their order
    not_swept: ClassVar[tuple[str, ...]] = ()  # options of the data, which all rows share

    def rows(self) -> tuple[str, ...]:
        """The names of the rows to train."""
        return tuple(self.titles)

    def all_seeds(self) -> tuple[int, ...]:
        """The seeds to train."""
        return tuple(range(self.seed, self.seed + (1 if self.quick else self.seeds)))

    def cast(self, model: models.Model) -> models.Model:
        """`model`, computing in ``--dtype`` and by ``--implementation``.

        Raises:
            RunError: for an implementation that cannot run one of its layers.
        """
        model = model if self.dtype is None else models.in_dtype(model, self.dtype)
        if self.implementation is None:
            return model
        model = models.in_implementation(model, self.implementation)
        try:
            jax.eval_shape(model.init, jax.random.key(0))
        except ValueError as error:
            raise launch.RunError(f"--implementation {self.implementation}: {error}") from None
        return model

    def epochs_of(self, epochs: int) -> int:
        """Those of ``--epochs``, few for a look, or a row's own."""
        asked = getattr(self, "epochs", None)
        if asked is not None and asked < 1:
            raise launch.RunError(f"--epochs must be at least 1, not {asked}.")
        return asked or (2 if self.quick else epochs)

    def check_numbers(self, *, above_zero: Sequence[str] = (), rates: Sequence[str] = ()) -> None:
        """Refuse numbers that cannot be; None passes.

        Args:
            above_zero: names of options that are above 0, and finite.
            rates: names of options in [0, 1), such as a dropout.

        Raises:
            RunError: for one that is not.
        """
        for name in above_zero:
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise launch.RunError(f"--{name.replace('_', '-')} must be above 0, not {value}.")
        for name in rates:
            if (value := getattr(self, name)) is not None and not 0 <= value < 1:
                raise launch.RunError(f"--{name.replace('_', '-')} must be in [0, 1), not {value}.")

    def swept(self) -> dict[str, Any]:
        """This Config for every combination of swept values, by the end of a row's name.

        Raises:
            RunError: for an option that is not there, or a value that is none of its own.
        """
        hints = typing.get_type_hints(type(self))
        names = [field.name for field in dataclasses.fields(self)]
        axes = []
        for text in self.sweep:
            name, _, values = text.partition("=")
            name = name.strip("-").replace("-", "_")
            if name not in names or name in (*OF_THE_CALL, *_OF_THE_STUDY, *self.not_swept):
                hint = nearest(name, names)
                raise launch.RunError(f"--sweep {text}: there is no option {name} to sweep.{hint}")
            axes.append([(name, _value(text, part, hints[name])) for part in values.split(",")])
        found = {}
        for pairs in itertools.product(*axes):
            end = " ".join(f"{name}={value}" for name, value in pairs)
            found[end] = dataclasses.replace(self, sweep=(), **dict(pairs))
        return found


_OF_THE_STUDY = ("seed", "seeds", "sweep", "only", "quick", "list_rows", "split_batches")


@dataclasses.dataclass(frozen=True)
class TableConfig(Config):
    """Options of a study of several rows."""

    only: Annotated[str | None, tyro.conf.arg(metavar="ROW,ROW,...")] = None
    """Train these rows only; "all" after a run of some."""
    list_rows: Annotated[bool, tyro.conf.arg(name="list")] = False
    """List the rows and end."""

    look: ClassVar[tuple[str, ...]] = ()
    """Rows of ``--quick``; none for all."""
    may_differ: ClassVar[tuple[str, ...]] = ("only", "seeds", "list_rows", "sweep")

    def preview(self) -> str | None:
        """The list of rows; RunError for a row asked for that is not there."""
        if not self.list_rows:
            self.rows()
            return None
        return "\n".join(f"{name:<14} {title}" for name, title in self.titles.items())

    def rows(self) -> tuple[str, ...]:
        """The names of the rows to train: those asked for, or of a look its own.

        Raises:
            RunError: for one that is not there.
        """
        if self.only is None and self.quick and self.look:
            return self.look
        if self.only in (None, "all"):
            return tuple(self.titles)
        names = str(self.only).replace(" ", "").split(",")
        if unknown := [name for name in names if name not in self.titles]:
            raise launch.RunError(
                f"--only: there is no row {', '.join(unknown)}; see --list for the rows."
                f"{nearest(unknown[0], self.titles)}"
            )
        return tuple(name for name in self.titles if name in names)


def _value(option: str, text: str, hint: Any) -> Any:
    for read in (json.loads, str):
        try:
            return convert(read(text), hint)
        except ValueError as error:
            fault = error
    raise launch.RunError(f"--sweep {option}: {text!r} is no value: {fault}.") from None


def run(
    name: str, config: Any, folder: Path, trial_of: Callable[[Any, str], Trial], **how: Any
) -> dict[str, list[Outcome]]:
    """Train what is missing of a study.

    Args:
        name: of the experiment.
        config: says which rows and seeds.
        folder: the run's; what is done stands there, row by row and seed by seed.
        trial_of: ``(config, row) -> Trial``; of a swept option, with each of its values.
        **how: more for `Trial.fit`.

    Returns:
        The outcomes of every row of which a seed is done, earlier calls' included.

    Raises:
        RunError: for a seed that was trained with other settings.
    """
    chosen = [
        (" ".join(filter(None, (row, end))), row, one)
        for row in config.rows()
        for end, one in config.swept().items()
    ]
    if config.split_batches or jax.process_count() > 1:
        how["mesh"] = train.data_mesh()
    begun, trained = time.perf_counter(), 0
    for place, (title, row, one) in enumerate(chosen, 1):
        label = title or name.rpartition(".")[2]
        if len(chosen) > 1:
            label += f", row {place} of {len(chosen)}"
        if trained:
            left = (time.perf_counter() - begun) / trained * (len(chosen) - place + 1)
            label += f", about {_duration(left)} left"
        trained += _train(name, one, folder, title, trial_of(one, row), label, how)
    found = {}
    for row in config.titles:
        for end, one in config.swept().items():
            title = " ".join(filter(None, (row, end)))
            if seeds := seeds_of(folder, title):
                settings = trial_of(one, row).settings
                found[title] = [_read(folder, title, seed, settings) for seed in seeds]
    return found


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _train(
    name: str, config: Any, folder: Path, row: str, trial: Trial, label: str, how: Mapping[str, Any]
) -> bool:
    """Train the seeds of a row that are not done yet; whether there were any."""
    done = seeds_of(folder, row)
    for seed in done:  # before hours of training beside them
        _read(folder, row, seed, trial.settings)
    missing = [seed for seed in config.all_seeds() if seed not in done]
    if not missing:
        return False
    common = {"row": row} if row else {}
    metadata = {"experiment": name, **common, "settings": dict(trial.settings), **trial.extra}

    def checkpoints(seed: int) -> train.Checkpoints:
        saves = checkpoint_folder(folder, row, seed)
        return train.Checkpoints(saves, metadata | {"seed": seed}, every=trial.every)

    if is_primary():
        model = trial.model
        if config.implementation is not None and model.layer is not None:
            model = models.in_implementation(model, None)  # it may be read on another machine
        write_model(folder, row, model, trial.extra)
    callbacks = [train.TensorBoard(folder / "tensorboard" / row)] if config.tensorboard else []
    profile = (folder / "profile" / row, config.profile) if config.profile else None
    runs = trial.fit(
        missing,
        metrics=lambda seed: train.MetricsLog(folder / "metrics.jsonl", **common, seed=seed),
        checkpoints=checkpoints,
        progress=label,
        debug_nans=config.debug_nans,
        callbacks=callbacks,
        profile=profile,
        **how,
    )
    for seed, done in runs:
        outcome = Outcome(
            figures=dict(trial.measure(done.params)),
            parameters=sum(leaf.size for leaf in jax.tree.leaves(done.params)),
            seconds=done.seconds,
            settings=dict(trial.settings),
            history=done.history,
        )
        if is_primary():
            write_json(outcome_path(folder, row, seed), outcome._asdict())
        wait_for_all("outcome")
    return True


def _read(folder: Path, row: str, seed: int, settings: Mapping[str, Any]) -> Outcome:
    """A finished seed; RunError where it was trained with other settings."""
    path = outcome_path(folder, row, seed)
    try:
        outcome = Outcome(**json.loads(path.read_text()))
    except (TypeError, ValueError):
        raise launch.RunError(
            f"{path}: this is no outcome of this version; move {path.parent} away to train the row"
            " anew, or choose another --out."
        ) from None
    for key, value in json.loads(json.dumps(settings)).items():
        if (then := outcome.settings.get(key)) != value:
            raise launch.RunError(
                f"{path}: this seed was trained with {key} = {then!r}, not {value!r}; move"
                f" {path.parent} away to train the row anew, or choose another --out."
            )
    return outcome


def row_of(
    model: str,
    outcomes: Sequence[Outcome],
    figure: Callable[[Outcome], float],
    *,
    split: str,
    metric: str,
    horizon: int | None = None,
    kind: Kind = "model",
) -> Row:
    """A row of the table out of a row's outcomes."""
    seconds = sum(one.seconds for one in outcomes) / len(outcomes)
    seeds = tuple(float(figure(one)) for one in outcomes)
    return Row(model, kind, split, metric, seeds, horizon, outcomes[0].parameters, seconds)
