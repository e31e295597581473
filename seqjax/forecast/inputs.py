"""What a forecasting run reads: the series, and the files beside them."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import files, frames
from seqjax.forecast.options import Options
from seqjax.forecast.panel import Panel
from seqjax.forecast.texts import MISSING
from seqjax.forecast.times import read_times
from seqjax.storage.files import write_json
from seqjax.storage.strict_json import parse_object

RECORD = "inputs.json"


class Inputs(NamedTuple):
    """What a run reads.

    Attributes:
        options: those given, with the names of columns that were found.
        frame: the series.
        panel: the same.
        static: a row for each series, or None.
        known: covariates known ahead, at the times to forecast, or None.
        notes: what was found on the way, a sentence each.
    """

    options: Options
    frame: pd.DataFrame
    panel: Panel
    static: pd.DataFrame | None
    known: pd.DataFrame | None
    notes: tuple[str, ...]


def read_inputs(options: Options, path: Path) -> Inputs:
    """Read a file of series, and the files of covariates.

    Args:
        options: their names, and those of the columns.
        path: of the series.

    Returns:
        All that they hold.

    Raises:
        DataError: for what cannot be used; the message names the file.
    """
    table = files.read_frame(
        path,
        **{name: getattr(options, name) for name in _COLUMNS},
        time_format=options.time_format,
        covariates=(*options.hist_exog, *options.futr_exog),
    )
    columns = {name: getattr(table, name) for name in _COLUMNS}
    options = dataclasses.replace(options, **columns)
    name = options.id_column
    ids = table.frame[name].dtype if name in table.frame else str
    for file, said in (
        ("--futr-csv", bool(options.futr_csv) and not options.futr_exog),
        ("--static-csv", bool(options.static_csv) and not options.stat_exog),
    ):
        if said:
            named = "--futr-exog" if file == "--futr-csv" else "--stat-exog"
            raise DataError(f"{file} is given, but none of its columns: name them, {named}.")
    static = read_beside(options.static_csv, options, ids) if options.stat_exog else None
    known = read_beside(options.futr_csv, options, ids) if options.futr_exog else None
    try:
        panel, notes = frames.panel_from_frame(
            table.frame,
            **columns,
            freq=options.freq,
            past=options.hist_exog,
            known=options.futr_exog,
            static_frame=static,
            static=options.stat_exog,
            missing=options.missing,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Inputs(options, table.frame, panel, static, known, (*table.notes, *notes))


_COLUMNS = ("id_column", "time_column", "target_column")


def read_beside(path: Path | None, options: Options, ids: Any = str) -> pd.DataFrame | None:
    """A file of covariates.

    Args:
        path: a CSV, or Parquet by its end.
        options: the names of its columns of ids and, where it has one, of times.
        ids: the type of the ids; of a CSV texts, so that 007 is not 7.

    Returns:
        Its columns; without a path None.

    Raises:
        DataError: for a file that cannot be read.
    """
    if path is None:
        return None
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        found = _csv(path, options.id_column, ids)
        if (name := options.time_column) in found:
            codes, times = read_times(found, name, options.time_format)
            found[name] = times.take(codes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install pyarrow.") from None
    except ValueError as error:  # pandas' own for files that are no CSV
        raise DataError(f"{path}: cannot be read as a CSV: {str(error).strip()}.") from None
    return found


def _csv(path: Path, id_column: str, ids: Any) -> pd.DataFrame:
    """Its columns; an id may be NA, which is Namibia too."""
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    delimiter = max(",;\t|", key=first.count)
    columns = [name.strip().strip('"') for name in first.rstrip("\r\n").split(delimiter)]
    missing: Any = {name: sorted(MISSING) for name in columns if name != id_column}
    found = pd.read_csv(
        path,
        sep=delimiter,
        skipinitialspace=True,
        dtype={id_column: ids},
        keep_default_na=False,
        na_values=missing,
    )
    if id_column in found and pd.api.types.is_string_dtype(found[id_column].dtype):
        found[id_column] = found[id_column].str.strip()
    return found


def check_unchanged(folder: Path, options: Options) -> None:
    """Refuse to go on with other data than a run began with.

    Args:
        folder: the run's.
        options: which files.

    Raises:
        DataError: where a file has changed since.
    """
    record = folder / RECORD
    if not record.is_file():
        return
    sums = _sums(options)
    for name, found in parse_object(record.read_bytes())["sha256"].items():
        if sums.get(name) != found:
            raise DataError(
                f"{getattr(options, name, name)}: its content is not what the run in {folder}"
                " began with; choose another --out."
            )


def write_record(folder: Path, options: Options) -> None:
    """Write down what a run began with."""
    columns = {name: getattr(options, name) for name in _COLUMNS}
    write_json(folder / RECORD, {"sha256": _sums(options), "columns": columns})


def _sums(options: Options) -> dict[str, str]:
    paths = {name: getattr(options, name) for name in ("file", "futr_csv", "static_csv")}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if path is not None
    }


def with_columns_of(folder: Path, options: Options) -> Options:
    """The options of a run, with the names of columns that it found in its file.

    Raises:
        DataError: where the folder does not tell.
    """
    record = folder / RECORD
    try:
        columns = parse_object(record.read_bytes())["columns"]
        return dataclasses.replace(options, **{name: str(columns[name]) for name in _COLUMNS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record}: cannot be read: {error}.") from None
