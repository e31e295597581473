"""What a forecasting run reads: the series, and the files beside them."""

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import files, frames
from seqjax.forecast.options import Options, Predict
from seqjax.forecast.panel import Panel
from seqjax.forecast.times import ISO
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
        wide=options.wide,
    )
    columns = {name: getattr(table, name) for name in _COLUMNS}
    form = table.time_format if options.time_format == ISO else options.time_format
    options = dataclasses.replace(options, **columns, time_format=form)
    ids = table.frame.get(options.id_column)
    texts = ids is not None and pd.api.types.is_string_dtype(ids.dtype)
    for file, given, named, asked in (
        ("--futr-csv", options.futr_csv, "--futr-exog", options.futr_exog),
        ("--static-csv", options.static_csv, "--stat-exog", options.stat_exog),
    ):
        if given and not asked:
            raise DataError(f"{file} is given, but none of its columns: name them, {named}.")
    static, of_static = _read_static(options, texts)
    known, of_known = read_known(options, texts, several=ids is not None and ids.nunique() > 1)
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
            lines=False,
        )
    except DataError as error:
        said = str(error)  # of a row with the file's name already
        named = tuple(str(one) for one in (path, options.static_csv) if one is not None)
        raise DataError(said if said.startswith(named) else f"{path}: {said}") from None
    told = (*table.notes, *of_static, *of_known, *notes)
    return Inputs(options, table.frame, panel, static, known, told)


_COLUMNS = ("id_column", "time_column", "target_column")


_Beside = tuple[pd.DataFrame | None, tuple[str, ...]]


def _read_static(options: Options, texts: bool) -> _Beside:
    if options.static_csv is None or not options.stat_exog:
        return None, ()
    return files.read_beside(
        options.static_csv,
        id_column=options.id_column,
        time_column="",  # not looked at
        columns=options.stat_exog,
        needed=[options.id_column],
        texts=texts,
    )


def read_known(options: Options, texts: bool, several: bool) -> _Beside:
    """The covariates known ahead, where there are any, and what was found on the way.

    Args:
        options: the file, and the names of its columns.
        texts: ids of the series are texts.
        several: there are series to be told apart.

    Raises:
        DataError: for a file that cannot be read.
    """
    if options.futr_csv is None or not options.futr_exog:
        return None, ()
    return files.read_beside(
        options.futr_csv,
        id_column=options.id_column,
        time_column=options.time_column,
        columns=options.futr_exog,
        needed=[*([options.id_column] if several else []), options.time_column],
        time_format=options.time_format,
        texts=texts,
    )


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
    found = {name: getattr(options, name) for name in (*_COLUMNS, "time_format")}
    write_json(folder / RECORD, {"sha256": _sums(options), "columns": found})


def _sums(options: Options) -> dict[str, str]:
    paths = {name: getattr(options, name) for name in ("file", "futr_csv", "static_csv")}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if path is not None
    }


def check_beside(options: Predict, of_run: Options) -> None:
    """Refuse files of covariates that a forecast would not read.

    Args:
        options: of the forecast.
        of_run: those that its model was trained with.

    Raises:
        DataError: for a file of columns that the model does not know, or of no new series.
    """
    for name, given, columns in (
        ("--futr-csv", options.futr_csv, of_run.futr_exog),
        ("--static-csv", options.static_csv, of_run.stat_exog),
    ):
        if given is not None and not columns:
            raise DataError(f"{name}: the model of {options.run} knows no such columns; drop it.")
    if options.static_csv is not None and options.file is None:
        raise DataError("--static-csv is of new series: name their file, too.")


def with_columns_of(folder: Path, options: Options) -> Options:
    """The options of a run, with what it found in its file: columns' names, the form of dates.

    Raises:
        DataError: where the folder does not tell.
    """
    record = folder / RECORD
    try:
        columns = parse_object(record.read_bytes())["columns"]
        found = {name: str(columns[name]) for name in _COLUMNS}
        form = columns.get("time_format", options.time_format)  # younger than the others
        return dataclasses.replace(options, **found, time_format=form)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record}: cannot be read: {error}.") from None
