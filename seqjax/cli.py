"""The command ``seqjax``: forecast a file, predict again, run an experiment, compare libraries."""

import dataclasses
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path
from typing import Annotated, ClassVar, NoReturn

import tyro

from seqjax import devices, launch
from seqjax.config import read_config
from seqjax.data import DataError
from seqjax.forecast import command
from seqjax.forecast.options import Options, Predict
from seqjax.forecast.settings import Settings
from seqjax.storage.files import write_atomically

_FORECAST = """Forecast every series of a CSV or Parquet file, beside simple baselines.

    seqjax forecast sales.csv --horizon 14

reads columns unique_id, ds and y (or those that you name), tells what it found, measures a
network on the last windows beside baselines, fits it on everything, and writes forecasts.csv,
report.html and the model to a folder. docs/forecast.md is the guide."""

_USAGE = """usage: seqjax COMMAND ...

  forecast FILE --horizon N   forecast every series of a CSV or Parquet file
  predict RUN [FILE]          forecast again with a run's model, from new data
  run NAME ...                run an experiment of a checkout (alone: list them)
  bench NAME ...              compare seqjax with other libraries on this machine

seqjax COMMAND --help tells the options."""


@dataclasses.dataclass(frozen=True)
class Forecast(launch.Config, Options):
    """Options of ``seqjax forecast``."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; by default named after the file: runs/sales, runs/sales-2, ..."""
    resume: bool = False
    """Go on in the folder: what is finished there is kept; it knows its options."""
    seeds: int = Settings.seeds
    """How many networks to train; their median is the forecast."""

    # Of experiments; nothing here would heed them.
    cluster: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = False
    debug_nans: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = False

    may_differ: ClassVar[tuple[str, ...]] = ("file",)  # it may have moved: its content may not


def run(args: Sequence[str]) -> int:
    """Carry out a command line.

    Args:
        args: what stands behind ``seqjax``.

    Returns:
        The exit status, as of `seqjax.launch.launch`.
    """
    name, *rest = args or [""]
    known: dict[str, Callable[[list[str]], int]] = {
        "forecast": _forecast,
        "predict": _predict,
        "run": _run_experiment,
        "bench": lambda rest: _become("seqjax.bench", rest),
    }
    if name in known:
        return known[name](rest)
    asked = name in ("-h", "--help", "")
    if not asked:
        print(f"error: there is no command {name!r}.", file=sys.stderr)
    print(_USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def main() -> NoReturn:
    """The process: `run`, and the end with its exit status."""
    if sys.argv[1:2] == ["forecast"]:
        devices.restart_with_huge_pages()
    status = run(sys.argv[1:])
    if status == launch.INTERRUPTED:  # a compilation may be under way: see `launch.main`
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _forecast(args: list[str]) -> int:
    if not any(re.match(r"--(out|help)\b|-h$", arg) for arg in args):
        prog = "python -m seqjax forecast"  # as `launch` says it
        config = tyro.cli(Forecast, args=args, prog=prog, description=_FORECAST)
        args = [*args, "--out", str(_folder(config.file, config.resume))]
    return launch.launch("seqjax forecast", Forecast, _run_forecast, _FORECAST, args)


def _run_forecast(config: Forecast, folder: Path) -> launch.Result:
    found = command.run(config, folder, seed=config.seed, seeds=config.seeds)
    return launch.Result(found.rows, "", found.files, found.table)


def _folder(file: Path | None, resume: bool) -> Path:
    """Named after the file: the next of runs/sales, runs/sales-2, ...; to resume the last."""
    name = re.sub(r"[^\w.-]+", "_", file.stem if file else "").lstrip("-.") or "forecast"
    last, following, number = launch.RUNS / name, launch.RUNS / name, 1
    while following.exists():
        number += 1
        last, following = following, launch.RUNS / f"{name}-{number}"
    return last if resume else following


def _predict(args: list[str]) -> int:
    about = "Forecast with the model of a run, from new data or from the end of its own."
    options = tyro.cli(Predict, args=args, prog="seqjax predict", description=about)
    try:
        devices.set_up(None)
        of_run = read_config(Forecast, options.run / "config.json")
        text = command.predict(options, of_run).to_csv(index=False)
        if options.out is None:
            sys.stdout.write(text)
        else:
            write_atomically(options.out, text.encode())
            print(options.out)
        sys.stdout.flush()
    except (DataError, launch.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `seqjax predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; choose another --out.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return launch.INTERRUPTED
    return 0


def _run_experiment(args: list[str]) -> int:
    spec = util.find_spec("experiments")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    sources = {
        one.name: Path(place, f"{one.name}.py")
        for place in places
        for one in pkgutil.iter_modules([place])
    }
    known = {name: path for name, path in sources.items() if "__main__" in path.read_text("utf-8")}
    if not known:
        print(
            "error: the experiments are part of the repository, not of the installed package; "
            "call this in a checkout, installed with pip install -e .",
            file=sys.stderr,
        )
        return 2
    if args and args[0] in known:
        return _become(f"experiments.{args[0]}", args[1:])
    wrong = bool(args) and args[0] not in ("-h", "--help")
    out = sys.stderr if wrong else sys.stdout
    if wrong:
        print(f"error: there is no experiment {args[0]!r}.", file=out)
    print("seqjax run NAME [OPTIONS]   (--help for the options); the experiments:", file=out)
    for name, path in sorted(known.items()):
        first = path.read_text("utf-8").partition("\n")[0].strip('"')
        print(f"  {name}: {first}", file=out)
    return 2 if wrong else 0


def _become(module: str, args: list[str]) -> NoReturn:
    """Another program in this process' place: its signals and its exit status are ours."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *args])
