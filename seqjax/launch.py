"""The launcher: an experiment's Config becomes a command line, and its run a folder."""

import contextlib
import dataclasses
import os
import platform as host
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

from seqjax.config import RunError as RunError, check_same, read_config, settings_of
from seqjax.data import DataError
from seqjax.report import Row, print_table, versions, write_json
from seqjax.train import CheckpointError
from seqjax.train.mesh import cpu_cores

RUNS = Path("runs")
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
    """Go on with the run in the folder, from its last checkpoint."""
    seed: int = 0
    """The first seed."""
    seeds: int = 5
    """How many seeds to train: --seed, --seed + 1, ..."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Where to run; by default the best that JAX finds."""

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
        The exit status: 0; 2 for bad input or a full disk (told in one line, without
        a traceback); 130 when interrupted.
    """
    try:
        config = _read_command_line(name, config_type, description, args)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file has no edge that lines would have to fit
    if (preview := config.preview()) is not None:
        console.print(preview, highlight=False, markup=False, soft_wrap=True)
        return 0
    folder = None
    try:
        if config.seeds < 1:
            raise RunError(f"--seeds must be at least 1, not {config.seeds}.")
        device = _set_platform(config.platform)
        folder = open_folder(name.rpartition(".")[2], config)
        with _compile_seconds() as seconds:
            begun = time.perf_counter()
            result = run(config, folder)
            seconds["total"] = time.perf_counter() - begun
    except (DataError, CheckpointError, RunError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        if folder is not None and [path.name for path in folder.iterdir()] == ["config.json"]:
            shutil.rmtree(folder)  # nothing was run: leave nothing in the next attempt's way
        return 2
    except OSError as error:
        where = error.filename or folder
        print(
            f"error: {where}: {error.strerror}; make room or choose another --out, then go on"
            " with the same command and --resume.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted; go on with the same command and --resume", file=sys.stderr)
        return INTERRUPTED
    report = {
        "experiment": name,
        "rows": [row.as_json() for row in result.rows],
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "versions": versions(),
        "device": device,
        "settings": _settings(),
    }
    write_json(folder / "result.json", report)
    title = f"{name}: {config.seeds} seed(s), {device}, {seconds['total']:.1f} s"
    if result.table is None:
        print_table(result.rows, title=title, unit=result.unit, console=console)
    else:
        result.table.title = f"{name}: {device}, {seconds['total']:.1f} s"
        console.print(result.table)
    for path in (folder / "result.json", *result.files):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    settings = ", ".join(f"{key}={value}" for key, value in report["settings"].items())
    console.print(f"  ran with: {settings}", highlight=False, soft_wrap=True)
    return 0


def main(
    name: str,
    config_type: type[AnyConfig],
    run: Callable[[AnyConfig, Path], Result],
    description: str,
) -> NoReturn:
    """`launch`, and the end of the process with its exit status."""
    status = launch(name, config_type, run, description)
    if status == INTERRUPTED:
        # A compilation that is still under way in XLA's threads would crash the
        # interpreter's own tear-down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _read_command_line(
    name: str, config_type: type[AnyConfig], description: str, args: Sequence[str] | None
) -> AnyConfig:
    prog = f"python -m {name}"
    config = tyro.cli(config_type, args=args, description=description, prog=prog)
    if config.config is None:
        return config
    start = read_config(config_type, config.config)  # its settings are the defaults now
    return tyro.cli(config_type, args=args, description=description, prog=prog, default=start)


def open_folder(name: str, config: Config, root: Path = RUNS) -> Path:
    """The folder for a run, its config.json written (or, on a resume, compared).

    Args:
        name: of the experiment.
        config: `out` and `resume` say which folder.
        root: where folders without a name of their own stand.

    Returns:
        The folder.

    Raises:
        RunError: where the folder is taken, is missing on a resume, cannot be
            written, or belongs to a run with another configuration.
    """
    folder = config.out or _default_folder(name, root, config.resume)
    path = folder / "config.json"
    current = settings_of(config)
    if config.resume:
        if not path.is_file():
            raise RunError(f"{folder}: there is no run to resume (no config.json).")
        check_same(path, current, config.may_differ)
        write_json(path, current)
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: already there and not empty; go on with --resume, or choose another --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, current)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}.") from None
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


def _set_platform(name: str | None) -> str:
    """Choose the platform; return the device in words."""
    if name is not None:
        jax.config.update("jax_platforms", name)
    # A CPU's cores are the devices of a mesh, as several GPUs are; what is not spread over
    # a mesh runs on the first, with all cores.
    with contextlib.suppress(RuntimeError):  # JAX runs already: leave it as it is
        jax.config.update("jax_num_cpu_devices", cpu_cores())
    try:
        devices = jax.devices()
    except RuntimeError as error:
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(name or "", "cuda")
        raise RunError(
            f"--platform {name}: JAX finds no such device. Install its support with"
            f" pip install -e '.[{extra}]', or use --platform cpu. ({error})"
        ) from None
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        return f"{host.machine()} CPU, {cpu_cores()} cores"
    return f"{len(devices)} x {kind}" if len(devices) > 1 else kind


def _settings() -> dict[str, Any]:
    """What the launcher sets for speed unless the user does, for result.json."""
    return {
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ""),
        "devices": str(jax.device_count()),
    }


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
