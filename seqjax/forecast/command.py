"""What ``seqjax forecast`` and ``seqjax predict`` do: from a file to a folder, and again."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from seqjax.data import DataError
from seqjax.forecast import evaluate, frames, naive, naive_intervals, pages, results, seasons
from seqjax.forecast.forecaster import Forecaster
from seqjax.forecast.found import describe, step_of
from seqjax.forecast.inputs import (
    check_beside,
    check_unchanged,
    read_inputs,
    read_known,
    with_columns_of,
    write_record,
)
from seqjax.forecast.options import Options, Predict
from seqjax.forecast.panel import Panel, hold_back, only
from seqjax.forecast.rolling import windows_of
from seqjax.forecast.settings import NAMES, Settings, resolved
from seqjax.forecast.trained import places_before
from seqjax.forecast.training import calibration_windows
from seqjax.report import Row
from seqjax.storage.files import write_atomically, write_json
from seqjax.storage.versions import versions
from seqjax.train import TrainingStopped, stop_requested

MODEL = "model"  # the folder of a run that `Forecaster.load` reads
QUICK = 50  # steps of a quick look's training, at most
_MEASURED = "measured.json"  # sentences on how


class Found(NamedTuple):
    """What a run gives its launcher.

    Attributes:
        rows: the table, as result.json has it.
        table: as the terminal shows it.
        files: written.
    """

    rows: list[Row]
    table: Table
    files: list[Path]


def run(options: Options, folder: Path, *, seed: int, seeds: int) -> Found:
    """Read, measure, train, forecast, and write a folder.

    What stands there already, of an earlier call with the same options, is kept.

    Args:
        options: what to forecast, and how.
        folder: of the run.
        seed: of the first network.
        seeds: how many.

    Returns:
        The table and the files.

    Raises:
        DataError: for a file or an option that cannot be used.
        TrainingStopped: when asked to stop.
    """
    asked = options.forecaster(seed, seeds)  # refuses what does not fit before a file is read
    assert options.file is not None
    source, inputs = options.file.name, read_inputs(options, options.file)
    options, panel, frame = inputs.options, inputs.panel, inputs.frame
    if options.futr_exog and inputs.known is None:
        raise DataError("--futr-exog needs --futr-csv: those columns at the times to forecast.")
    check_unchanged(folder, options)
    horizon = asked.settings.horizon
    columns: Any = {"id_column": options.id_column, "time_column": options.time_column}
    if inputs.known is not None:  # told now, not after the training
        frames.known_future(panel, inputs.known, horizon, **columns)
    windows = options.windows or windows_of(panel, horizon)
    before = hold_back(panel, windows * horizon)
    periods, periods_before = _periods(options, panel), _periods(options, before)
    of_network = resolved(dataclasses.replace(asked.settings, seasons=periods), panel)
    season = of_network.seasons  # the baselines', too
    found, notes = describe(panel, periods), [*inputs.notes]
    if options.quick:
        options = dataclasses.replace(options, steps=min(QUICK, of_network.steps))
        notes.append(f"A quick look, by {options.steps} steps: without --quick it does better.")
    for line in (*(f"{name}: {text}" for name, text in found.items()), *notes):
        print(f"  {line}", file=sys.stderr)
    measured = dataclasses.replace(options, season=periods_before or (1,))
    forecaster = measured.forecaster(seed, seeds, "measuring")
    levels = _measurable(options.level, forecaster.settings, before)
    if untold := [f"{one:g} %" for one in options.level if one not in levels]:
        notes.append(
            f"Before the held-out windows there are too few values to calibrate intervals of"
            f" {' and '.join(untold)}: these are not measured."
        )

    def measure() -> pd.DataFrame:
        how: dict[str, Any] = {"n_windows": windows, "refit": options.refit, "level": levels}
        made = forecaster.cross_validation(frame, static_df=inputs.static, **how)
        made = evaluate.with_baselines(made, panel, season, **columns)
        write_record(folder, options)  # nothing before that: a run that cannot be leaves nothing
        write_json(folder / _MEASURED, _of_measuring(forecaster))
        return made

    crossed = _kept(folder / "cross_validation.csv", frame, options, measure)
    if stop_requested():
        raise TrainingStopped(f"{folder}: stopped; the cross-validation is kept.")
    if (folder / MODEL).is_dir():
        forecaster = Forecaster.load(folder / MODEL)
    else:
        # Of "auto": what was measured is what is trained.
        model = next(key for key, name in NAMES.items() if name in crossed)
        trained = dataclasses.replace(options, model=model, season=periods or (1,))
        forecaster = trained.forecaster(seed, seeds, "training")
        kept = None if options.quick else folder / "checkpoints"  # of seconds: written longer
        forecaster.fit(frame, inputs.static, folder=kept)
        forecaster.save(folder / MODEL)
    notes += [note for note in forecaster.notes if note not in notes]
    if (folder / _MEASURED).is_file():
        notes += json.loads((folder / _MEASURED).read_text())
    future, levels = _forecast(forecaster, options.level, futr_df=inputs.known)
    notes += _untold(options.level, levels)
    held_out = crossed.rename(columns=options.usual)
    scores = evaluate.scores(held_out, panel, season)
    baselines = naive_intervals.forecasts(panel, panel, horizon, season, levels)
    told = results.Results(
        source=source,
        step=step_of(panel.grid),
        name=forecaster.name,
        levels=levels,
        history=_named(frame, options, panel),
        cross_validation=held_out,
        future=future.rename(columns=options.usual),
        scores=scores,
        found=found,
        notes=[*notes, *scores.notes],
        settings=_in_words(forecaster),
        versions=versions(),
        again=_AGAIN.format(folder=folder),
    )
    tables = results.tables(told, future, baselines, options.id_column)
    for name, one in tables.items():
        write_atomically(folder / name, one.to_csv(index=False).encode())
    written = pages.write(folder, told)
    rows = [row for row in evaluate.rows(scores) if np.isfinite(row.mean)]
    files = [folder / name for name in (*tables, "cross_validation.csv", MODEL)]
    shown = scores.pooled[~scores.pooled["metric"].str.match("CRPS|MSIS|sMAPE")]  # report has all
    table = evaluate.table(scores._replace(pooled=shown))
    table.caption = "\n".join([str(table.caption), "", *map(escape, results.verdict(told))])
    return Found(rows, table, [*written, *files])


_AGAIN = """seqjax predict {folder} new.csv --out next.csv

from seqjax.forecast import Forecaster
model = Forecaster.load("{folder}/model")
future = model.predict(frame, horizon=30, level=[80])
"""


def predict(options: Predict, of_run: Options) -> pd.DataFrame:
    """Forecasts by the model of a run.

    Args:
        options: which run, from what data.
        of_run: the options that the run had.

    Returns:
        As `Forecaster.predict` gives them.

    Raises:
        DataError: for a folder without a model, and data that cannot be used.
    """
    if not (options.run / MODEL).is_dir():
        raise DataError(f"{options.run}: its model is not trained yet; go on with --resume.")
    forecaster = Forecaster.load(options.run / MODEL)
    check_beside(options, of_run)
    now = dataclasses.replace(
        with_columns_of(options.run, of_run),
        futr_csv=options.futr_csv or of_run.futr_csv,
        static_csv=options.static_csv or of_run.static_csv,
    )
    how: dict[str, Any] = {"horizon": options.horizon}
    if options.file is not None:
        _, how["frame"], _, how["static_df"], how["futr_df"], notes = read_inputs(now, options.file)
    else:
        texts = forecaster.ids.dtype.kind not in "iu"
        how["futr_df"], notes = read_known(now, texts, several=len(forecaster.ids) > 1)
    for line in notes:
        print(f"  {line}", file=sys.stderr)
    try:
        if options.level is not None:
            return forecaster.predict(level=options.level, **how)
        found, levels = _forecast(forecaster, of_run.level, **how)
        for line in _untold(of_run.level, levels):
            print(f"  {line}", file=sys.stderr)
        return found
    except DataError:
        raise
    except ValueError as error:  # a horizon or a level that cannot be
        raise DataError(str(error)) from None


def _forecast(
    forecaster: Forecaster, level: Sequence[float], **how: Any
) -> tuple[pd.DataFrame, tuple[float, ...]]:
    """Forecasts with those of the levels that calibration had enough windows for."""
    levels = sorted(set(level))
    while True:
        try:
            return forecaster.predict(level=levels, **how), tuple(levels)
        except DataError:
            if not levels:
                raise
            levels.pop()


def _untold(asked: Sequence[float], levels: Sequence[float]) -> list[str]:
    """A sentence on levels that there are no intervals of."""
    if not (missing := [f"{one:g} %" for one in asked if one not in levels]):
        return []
    return [
        f"There are no intervals of {' and '.join(missing)}: too few values to calibrate them."
        " A shorter horizon or a lower --level needs fewer."
    ]


def _measurable(level: Sequence[float], settings: Settings, before: Panel) -> tuple[float, ...]:
    """The levels that can be calibrated on what stands before the held-out windows."""
    if before.lengths.max() < 2:
        return ()
    settings = resolved(settings, before)
    plan = calibration_windows(settings, before)
    _, last = places_before(settings, only(before, plan.series), plan.windows, plan.step)
    known = np.isfinite(before.values)  # each step ahead is calibrated by itself
    count = min(int(known[last + ahead].sum()) for ahead in range(1, settings.horizon + 1))
    # A quantile of n scores of rank (n + 1) level / 100 must be one of the n.
    return tuple(one for one in sorted(set(level)) if (count + 1) * one / 100 <= count)


def _of_measuring(forecaster: Forecaster) -> list[str]:
    """What cross-validation says besides what the data do."""
    notes = [note for note in forecaster.notes if "cross-validation" in note]
    if tried := forecaster.tried:
        each = ", ".join(f"{one['model']} {one['error']:.3g}" for one in tried)
        told = f"Tried on the {tried[0]['windows']} window(s) before those held out"
        notes.append(f"{told}, with their errors: {each}.")
    return notes


def _kept(
    path: Path, frame: pd.DataFrame, options: Options, make: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """A table that is there already, or is made and written."""
    if not path.is_file():
        found = make()
        write_atomically(path, found.to_csv(index=False).encode())
        return found
    ids: Any = {name: frame[name].dtype for name in (options.id_column,) if name in frame}
    columns = pd.read_csv(path, nrows=0).columns
    empty: Any = {name: [""] for name in columns if name != options.id_column}
    found = pd.read_csv(path, dtype=ids, keep_default_na=False, na_values=empty)
    times = frame[options.time_column].dtype
    for name in (options.time_column, "cutoff"):
        if isinstance(times, pd.DatetimeTZDtype):  # a summer's offset from UTC is not a winter's
            found[name] = pd.to_datetime(found[name], utc=True).dt.tz_convert(times.tz)
        found[name] = found[name].astype(times)
    return found


def _periods(options: Options, seen: Panel) -> tuple[int, ...]:
    """The seasons that were asked for, or those of what may be seen."""
    return naive.periods(options.season) if options.season else seasons.find(seen)


def _named(frame: pd.DataFrame, options: Options, panel: Panel) -> pd.DataFrame:
    """The series under the usual names, in the order of time."""
    found = frame.rename(columns=options.usual)
    if "unique_id" not in found:
        found = found.assign(unique_id=panel.ids[0])
    found = found.reindex(columns=["unique_id", "ds", "y"])
    return found.sort_values(by=["unique_id", "ds"], ignore_index=True)


def _in_words(forecaster: Forecaster) -> dict[str, Any]:
    """The settings, for a reader."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(forecaster.settings).items()
    }
