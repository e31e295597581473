"""What `fit` and `fit_seeds` take, and what is told of what they do not."""

import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, get_args, runtime_checkable

from seqjax.storage.same import same
from seqjax.storage.strict_json import nearest
from seqjax.train.batches import Batches
from seqjax.train.feeds import call_of
from seqjax.train.job import EarlyStopping, Job, Mode
from seqjax.train.losses import Loss
from seqjax.train.running import update_of
from seqjax.train.seeds import given
from seqjax.train.steps import Program
from seqjax.train.stopping import stop_requested
from seqjax.train.streams import Stream, row_of_stream

Track = Literal["gradient_norm", "learning_rate"]


@runtime_checkable
class Callback(Protocol):
    """Something that hears of every epoch, such as a tracker of experiments."""

    def epoch(self, seed: int, line: Mapping[str, Any]) -> None:
        """Called when a seed's epoch is over, in the process that writes files.

        Args:
            seed: the seed.
            line: as in `Fit.history`.
        """
        ...


class Options(TypedDict, total=False):
    """What `fit` and `fit_seeds` take alike, by name. Left out or None is the default."""

    validation: Batches | Stream | None
    """Examples for a validation loss, and the loss's metrics, after every epoch."""
    early_stopping: EarlyStopping | None
    """End with the best parameters; needs `validation`."""
    steps_per_call: int | None
    """Steps in one jitted call; by default an epoch (of a stream at most 16). Saves,
    progress and stops fall between the calls."""
    carry: Any
    """A pytree of arrays that the loss takes as its fourth argument and returns in
    `Losses`: what travels from each batch to the next, such as the state of a recurrent
    network over a text in pieces (truncated back-propagation). Batches begin each epoch with
    this one; a stream begins with it once. Where a document ends within, the loss resets it.
    Every validation begins with it."""
    track: Track | Collection[Track]
    """More for every line: "gradient_norm", the mean over the epoch's steps before the
    optimizer, without running statistics; "learning_rate", of an
    `optax.inject_hyperparams`."""
    track_metrics: str | Collection[str]
    """Of the loss's metrics (`Losses`) those whose means over an epoch's training examples stand
    in every line, too, under their own names. "backward_fallbacks" counts, of a loss that takes a
    `counter` (see `Loss`), how often the backward pass of "newton" was left to the loop."""
    callbacks: Callback | Sequence[Callback]
    """Hear of every epoch; see `Callback`."""
    progress: str | bool | None
    """A label for a progress bar (plain lines where stderr is no terminal), True for
    "training", or None for silence."""
    max_skips: int
    """So many skipped steps in a row (10) end a seed."""
    debug_nans: bool
    """Let the first step that is not finite end the run, and do it again operation by
    operation to find the one at fault."""
    profile: tuple[Path, int] | None
    """A folder for a trace of so many jitted calls (`jax.profiler`), from the second on."""
    stop: Callable[[], bool]
    """Asked after every call; where true, the run saves and ends. By default
    `stop_requested`."""
    compiler_options: Mapping[str, Any] | None
    """Of XLA, for the training's program; see `jax.jit`."""


def job_of(
    name: str, loss: Loss, optimizer: Any, batches: Any, epochs: Any, said: Options, saves: bool
) -> Job:
    """What the seeds share, of arguments that may be anything.

    Raises:
        TypeError: for an argument that is something else.
        ValueError: for arguments that do not fit each other.
    """
    check_batches(name, "batches", batches)
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise told(
            name, "optimizer", "an Optax transformation, such as optax.adam(1e-3)", optimizer
        )
    options: dict[str, Any] = _DEFAULTS | {
        key: value for key, value in said.items() if value is not None
    }
    if unknown := options.keys() - _DEFAULTS.keys():
        one = sorted(unknown)[0]
        raise TypeError(f"{name}: there is no option {one!r}.{nearest(one, _DEFAULTS)}")
    _plain(name, options)
    limits: tuple[tuple[str, int | None], ...] = (
        ("epochs", epochs),
        ("steps_per_call", options["steps_per_call"]),
        ("max_skips", options["max_skips"]),
        ("early_stopping.patience", getattr(options["early_stopping"], "patience", None)),
    )
    for what, number in limits:
        if number is not None and not (_whole(number) and number >= 1):
            raise ValueError(f"{name}: {what} must be at least 1, a whole number, not {number!r}.")
    stopping: EarlyStopping | None = options["early_stopping"]
    if stopping is not None and stopping.mode not in get_args(Mode):
        raise ValueError(f"{name}: early_stopping.mode is 'min' or 'max', not {stopping.mode!r}.")
    if unknown := set(options["track"]) - set(get_args(Track)):
        known = " and ".join(get_args(Track))
        raise ValueError(f"{name}: track knows {known}, not {', '.join(sorted(unknown))}.")
    reserved = {"step", "epoch", "loss", "skipped", "seed", "row", *get_args(Track)}
    if taken := {
        one for one in options["track_metrics"] if one in reserved or one.startswith("validation")
    }:
        raise ValueError(
            f"{name}: a line already has {', '.join(sorted(taken))}; give the metric another name."
        )
    validation = options["validation"]
    if validation is None and options["early_stopping"] is not None:
        raise ValueError(f"{name}: early stopping needs validation batches.")
    optimizer = same(optimizer)
    program = program_of(loss, update_of(optimizer), batches)
    validating = None if validation is None else program_of(loss, None, validation)
    # Once for all seeds: checksums read all the data.
    call = call_of(batches, options["steps_per_call"])
    checked = given(batches, validation, call, optimizer) if saves else {}
    return Job(name, optimizer, program, batches, epochs, options, validating, checked)


_DEFAULTS: dict[str, Any] = dict.fromkeys(Options.__annotations__) | {
    "track": (),
    "track_metrics": (),
    "callbacks": (),
    "max_skips": 10,
    "debug_nans": False,
    "stop": stop_requested,
}


def program_of(loss: Loss, update: Any, batches: Batches | Stream) -> Program:
    """What is compiled, with the functions of earlier calls where they do the same."""
    if isinstance(batches, Stream):
        return Program(same(loss), update, None, row_of_stream)
    return Program(same(loss), update, batches.plan, batches.batch)


def check_batches(name: str, what: str, given: Any) -> None:
    """TypeError for what is neither `Batches` nor a `Stream`."""
    if not isinstance(given, Batches | Stream):
        ways = "those of train.array_batches(arrays, batch_size), or a train.stream"
        raise told(name, what, ways, given)


def told(name: str, what: str, wanted: str, given: Any) -> TypeError:
    """The error for an argument of another type."""
    return TypeError(f"{name}: {what} must be {wanted}, not {type(given).__name__}.")


def _plain(name: str, options: dict[str, Any]) -> None:
    """Brings options to one form; TypeError for those that have none."""
    if options["validation"] is not None:
        check_batches(name, "validation", options["validation"])
    stopping = options["early_stopping"]
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise told(name, "early_stopping", "train.EarlyStopping(patience=...)", stopping)
    for key in ("track", "track_metrics"):
        if isinstance(options[key], str):
            options[key] = (options[key],)
    if isinstance(options["callbacks"], Callback):
        options["callbacks"] = (options["callbacks"],)
    if isinstance(options["callbacks"], Iterable):
        options["callbacks"] = tuple(options["callbacks"])  # a generator is read once
    listed = isinstance(options["callbacks"], tuple)
    for one in options["callbacks"] if listed else [options["callbacks"]]:
        if not isinstance(one, Callback):
            wanted = "objects with a method epoch(seed, line) (train.Callback)"
            raise told(name, "callbacks", wanted, one)
    if isinstance(options["progress"], bool):
        options["progress"] = "training" if options["progress"] else None
    if not isinstance(options["progress"], str | None):
        raise told(name, "progress", "a label or True", options["progress"])


def _whole(number: Any) -> bool:
    try:
        return operator.index(number) == number
    except TypeError:
        return False
