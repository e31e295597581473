"""The launcher: an experiment's Config becomes a command line, and its run a folder."""

import contextlib
import dataclasses
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NoReturn, TypeVar

import jax
import tyro
from rich.console import Console
from rich.table import Table

from seqjax import devices
from seqjax.config import RunError as RunError, check_same, read_config, settings_of
from seqjax.data import DataError
from seqjax.report import Row, print_table
from seqjax.storage.files import lock_folder, on_disk, write_json
from seqjax.storage.versions import versions
from seqjax.train import CheckpointError, TrainingStopped, listen_for_stop
from seqjax.train.processes import all_agree, is_primary, wait_for_all
from seqjax.train.stopping import STOPPED as STOPPED

RUNS = Path("runs")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
INTERRUPTED = 130  # the exit status that shells give an interrupted program


@dataclasses.dataclass(frozen=True)
class Config:
    """The options that all experiments share; an experiment's Config adds its own."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Start from the settings in another run's config.json; other options come on top."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder. By default the next of runs/NAME, runs/NAME-2, ...; with
    --resume the newest of them."""
    resume: bool = False
    """Go on with the run in the folder, from its last checkpoint; it knows its options."""
    seed: int = 0
    """The first seed."""
    seeds: int = 5
    """How many seeds to train: --seed, --seed + 1, ..."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Where to run; by default the best that JAX finds."""
    cluster: bool = False
    """This is one of several processes that srun, mpirun or a TPU pod started."""
    debug_nans: bool = False
    """At the first step that is not finite, find the operation at fault and end."""

    several_processes: ClassVar[bool] = False  # whether the experiment can run in them
    may_differ: ClassVar[tuple[str, ...]] = ()  # between a run and its resumption

    def preview(self) -> str | None:
        """What to print in place of a run, such as a list of choices; None to run."""
        return None

    def resolved(self) -> dict[str, Any]:
        """Settings that follow from the options, for config.json: enough to run again."""
        return {}


class Result(NamedTuple):
    """What an experiment's ``run`` returns.

    Attributes:
        rows: the table.
        unit: of its figures.
        files: the pictures and tables written, for the closing lines.
        table: the rows as the terminal shows them; by default sorted, best first.
    """

    rows: Sequence[Row]
    unit: str
    files: Sequence[Path]
    table: Table | None = None


AnyConfig = TypeVar("AnyConfig", bound=Config)


def launch(
    name: str,
    config_type: type[AnyConfig],
    run: Callable[[AnyConfig, Path], Result],
    description: str,
    args: Sequence[str] | None = None,
) -> int:
    """Run an experiment from the command line.

    Args:
        name: of the experiment; of its folder, too.
        config_type: its frozen Config.
        run: ``(config, folder) -> Result``.
        description: for ``--help``.
        args: the command line; that of the process by default.

    Returns:
        The exit status: 0; 2 for bad input, a full disk or training that is not finite
        (told in one line, without a traceback); 75 when asked to stop, saved; 130 when
        interrupted.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file has no edge that lines would have to fit
    try:
        config = _read_command_line(name, config_type, description, args)
        preview = config.preview()
    except (DataError, CheckpointError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if preview is not None:
        console.print(preview, highlight=False, markup=False, soft_wrap=True)
        return 0
    folder = None
    locks = contextlib.ExitStack()
    try:
        if config.seeds < 1:
            raise RunError(f"--seeds must be at least 1, not {config.seeds}.")
        if config.seed < 0 or config.seed + config.seeds > 2**32:
            raise RunError(
                f"--seed and those after it are from 0 to {2**32 - 1}, not {config.seed}."
            )
        device = devices.set_up(config.platform, cluster=config.cluster)
        if jax.process_count() > 1 and not config_type.several_processes:
            raise RunError(f"{name} runs in one process; start it without the others.")
        folder = _open_together(name.rpartition(".")[2], config, locks)
        with _compile_seconds() as seconds, listen_for_stop():
            begun = time.perf_counter()
            result = run(config, folder)
            seconds["total"] = time.perf_counter() - begun
        report = {
            "experiment": name,
            "rows": [row.as_json() for row in result.rows],
            "seconds": {key: round(value, 3) for key, value in seconds.items()},
            "versions": versions(),
            "device": device,
            "settings": devices.settings(),
        }
        if is_primary():
            write_json(folder / "result.json", report)
    except (DataError, CheckpointError, RunError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)  # whichever process it is
        if folder is not None and is_primary() and _nothing_ran(folder):
            shutil.rmtree(folder)  # leave nothing in the next attempt's way
        return 2
    except OSError as error:
        advice = (
            "; make room or choose another --out, then go on with the same command and --resume"
            if error.errno in _NO_ROOM
            else ""
        )
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}{advice}.", file=sys.stderr)
        return 2
    except TrainingStopped as stopped:
        _tell(f"{stopped} Go on with the same command and --resume.")
        return STOPPED
    except KeyboardInterrupt:
        _tell("interrupted; go on with the same command and --resume")
        return INTERRUPTED
    finally:
        locks.close()
    if not is_primary():
        return 0
    if result.table is None:
        seeds = max((len(row.seeds) for row in result.rows), default=0)
        title = f"{name}: {seeds} seed(s), {device}, {seconds['total']:.1f} s"
        print_table(result.rows, title=title, unit=result.unit, console=console)
    else:
        result.table.title = f"{name}: {device}, {seconds['total']:.1f} s"
        console.print(result.table)
    for path in (folder / "result.json", *result.files):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    settings = ", ".join(f"{key}={value}" for key, value in report["settings"].items())
    console.print(f"  ran with: {settings}", highlight=False, soft_wrap=True)
    return 0


def _tell(message: str) -> None:
    if is_primary():
        print(message, file=sys.stderr)


def _nothing_ran(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["config.json"]


def main(
    name: str,
    config_type: type[AnyConfig],
    run: Callable[[AnyConfig, Path], Result],
    description: str,
) -> NoReturn:
    """`launch`, and the end of the process with its exit status."""
    devices.restart_with_huge_pages()
    status = launch(name, config_type, run, description)
    if status == INTERRUPTED or (status not in (0, STOPPED) and jax.distributed.is_initialized()):
        # A compilation that is still under way in XLA's threads would crash the interpreter's
        # own tear-down; and one of several processes would wait there for the others.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _read_command_line(
    name: str, config_type: type[AnyConfig], description: str, args: Sequence[str] | None
) -> AnyConfig:
    prog = f"python -m {name}"
    config = tyro.cli(config_type, args=args, description=description, prog=prog)
    path = config.config
    if path is None and config.resume:  # the folder says what was asked for
        path = (config.out or _default_folder(name.rpartition(".")[2], RUNS, True)) / "config.json"
        if not path.is_file():
            raise RunError(f"{path.parent}: there is no run to resume (no config.json).")
    if path is None:
        return config
    # Its settings are the defaults now; what is said besides comes on top.
    start = read_config(config_type, path)
    return tyro.cli(config_type, args=args, description=description, prog=prog, default=start)


def open_folder(
    name: str, config: Config, root: Path = RUNS, locks: contextlib.ExitStack | None = None
) -> Path:
    """The folder for a run, its config.json written (or, on a resume, compared).

    Args:
        name: of the experiment.
        config: `out` and `resume` say which folder.
        root: where folders without a name of their own stand.
        locks: takes the lock of the folder, before anything is read or written there.

    Returns:
        The folder.

    Raises:
        RunError: where the folder is taken, is missing on a resume, cannot be
            written, is an address, or belongs to a run with another configuration.
    """
    try:
        folder = on_disk(config.out or _default_folder(name, root, config.resume))
    except ValueError as error:
        raise RunError(f"--out {error}") from None
    path = folder / "config.json"
    current = settings_of(config)
    if config.resume:
        if not path.is_file():
            raise RunError(f"{folder}: there is no run to resume (no config.json).")
        if locks is not None:
            _lock(folder, locks)
        options = {field.name for field in dataclasses.fields(config)}
        usual = settings_of(type(config)())
        defaults = {name: value for name, value in usual.items() if name in options}
        check_same(path, current, config.may_differ, defaults)
        write_json(path, current)
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: already there and not empty; go on with --resume, or choose another --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if locks is not None:
            _lock(folder, locks)
        write_json(path, current)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}.") from None
    return folder


def _open_together(name: str, config: Config, locks: contextlib.ExitStack) -> Path:
    """`open_folder` in the one process that writes; the others get the same folder."""
    if jax.process_count() == 1:
        return open_folder(name, config, locks=locks)
    folder, failure = Path(), None
    if is_primary():
        try:
            folder = open_folder(name, config, locks=locks)
        except RunError as error:
            failure = error
    if not all_agree(failure is None):
        raise failure or RunError("process 0 cannot use the run's folder.")
    if not is_primary():
        folder = config.out or _default_folder(name, RUNS, resume=True)
    wait_for_all("folder")
    return folder


def _default_folder(name: str, root: Path, resume: bool) -> Path:
    taken = [0]
    for path in root.glob(f"{name}*"):
        suffix = path.name.removeprefix(name)
        if suffix == "":
            taken.append(1)
        elif suffix.startswith("-") and suffix[1:].isdecimal():
            taken.append(int(suffix[1:]))
    number = max(max(taken) + (0 if resume else 1), 1)
    return root / (name if number == 1 else f"{name}-{number}")


def _lock(folder: Path, locks: contextlib.ExitStack) -> None:
    """Keep other processes out of a run's folder."""
    try:
        lock = lock_folder(folder)
    except BlockingIOError:
        raise RunError(
            f"{folder}: another process is running in this folder; wait for its end, or choose"
            " another --out."
        ) from None
    if lock is not None:
        locks.callback(os.close, lock)


@contextlib.contextmanager
def _compile_seconds() -> Iterator[dict[str, float]]:
    """Sums the seconds that JAX spends tracing, lowering and compiling."""
    sums = {"compile": 0.0}

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            sums["compile"] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield sums
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
