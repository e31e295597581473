"""Which columns of a table are the series' names, the times and the values."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import short
from seqjax.forecast.counts import are_digits, counted
from seqjax.forecast.dateparts import are_years
from seqjax.forecast.marks import are_filled
from seqjax.forecast.tables import Names, is_nameless, joined, parts_of, unread
from seqjax.forecast.texts import are_dates, are_numbers, ids_of
from seqjax.storage.strict_json import nearest

USUAL = Names("unique_id", "ds", "y")
LOOKED_AT = 200
"""Rows, for which columns are dates and which numbers."""
_FEW = 8  # columns that are looked at for the series' names
_VALUES = ("value", "values", "obs_value")  # of databases and statistics offices


class Choice(NamedTuple):
    """Columns of a table.

    Attributes:
        names: of the long table.
        taken: the columns to read.
        others: among them those that may name the series, texts first.
        notes: what was guessed, a sentence each.
    """

    names: Names
    taken: list[str]
    others: list[str]
    notes: list[str]


def choose(
    where: str, header: list[str], head: pd.DataFrame, names: Names, covariates: Sequence[str]
) -> Choice:
    """Find the columns of a long table; the one that fits where a usual name is missing.

    Args:
        where: for a message.
        header: names of all columns.
        head: the first rows, columns by their number.
        names: as asked for; the usual ones may be missing.
        covariates: further columns.

    Raises:
        DataError: for a column that is missing or there twice, and where none or several fit.
    """
    ids = parts_of(names.id, header)
    asked = [
        name
        for name, usual in zip(names, USUAL, strict=True)
        if name in header or (name != usual and (name != names.id or len(ids) == 1))
    ]
    for name in (*asked, *covariates, *(ids if len(ids) > 1 else [])):
        once(where, header, name)
    nameless = [name for name in header if is_nameless(name)]
    known = (*asked, *covariates, *nameless, *ids)
    spare = {k: head.iloc[:, k] for k, name in enumerate(header) if name not in known}
    notes: list[str] = []
    dates = [k for k, cells in spare.items() if are_dates(cells) or _digits(header[k], cells)]
    dates = dates or [
        k
        for k, cells in spare.items()
        if are_years(header[k], cells) or (names.time not in asked and _counts(header[k], cells))
    ]
    values = [k for k, cells in spare.items() if k not in dates and are_numbers(cells)]
    rivals = [  # numbers, but for a cell, or for those that are still to come
        k
        for k, cells in spare.items()
        if k in values
        or (k not in dates and _mostly(are_numbers, cells))
        or (len(head) >= LOOKED_AT and not are_filled(cells).any())
    ]
    if names.time not in asked:
        fitting = dates or [k for k, cells in spare.items() if _mostly(are_dates, cells)]
        if len(fitting) > 1:  # of a query its start and stop, which are always the same
            fitting = [k for k in fitting if spare[k].nunique() > 1]
        if len(fitting) == 2 and _from_to(*(spare[k].tolist() for k in fitting)):
            fitting = fitting[:1]
        if len(fitting) != 1:
            way = "; whole numbers can be times, too" if not fitting and values else ""
            raise DataError(_none(where, header, "time", "dates", len(fitting), way))
        names = names._replace(time=header[fitting[0]])
        if are_dates(pd.Series([names.time])):
            raise DataError(
                f"{where}: there is no header, but data ({short(names.time)}); put a line with the"
                " names of the columns above, such as ds,y or unique_id,ds,y."
            )
        notes.append(f"column {short(names.time)} is taken for the time (--time-column)")
        values, rivals = ([k for k in some if k != fitting[0]] for some in (values, rivals))
    if names.target not in asked:
        fitting = rivals
        if len(fitting) > 1:
            fitting = _only([k for k in fitting if _is_value(header[k])]) or fitting
        if len(fitting) != 1:
            wide = len(fitting) > 1 and not set(asked) & {names.id} and len(ids) == 1
            way = "; or, where each of them is a series, say --wide (wide=True)" if wide else ""
            raise DataError(_none(where, header, "target", "numbers", len(fitting), way))
        names = names._replace(target=header[fitting[0]])
        notes.append(f"column {short(names.target)} is taken for the target (--target-column)")
    used = {names.time, names.target}
    others = [header[k] for k in spare if k not in (*dates, *values) and header[k] not in used]
    others += [header[k] for k in values if header[k] not in used]
    named = names.id in asked or len(ids) > 1
    keys, others = (ids, []) if named else ([], others[:_FEW])
    taken = [*dict.fromkeys((*keys, names.time, names.target, *covariates, *others))]
    return Choice(names, taken, others, notes)


def name_series(frame: Any, choice: Choice) -> tuple[pd.DataFrame, Names, list[str]]:
    """The frame with a column of the series' names, where it is not one series.

    Args:
        frame: the columns taken, times read.
        choice: of them.

    Returns:
        The frame, the names of its columns, and what was guessed.

    Raises:
        DataError: where times repeat, and it takes several columns to tell the series apart.
    """
    names, others = choice.names, choice.others
    parts = parts_of(names.id, list(frame.columns))
    if len(parts) > 1:
        for part in parts:
            ids_of(frame, part)  # none is missing
        frame = frame.assign(**{names.id: joined(frame, parts)}).drop(columns=parts)
        return frame, names, []
    if names.id in frame.columns:
        frame[names.id] = ids_of(frame, names.id)
    elif others and frame[names.time].duplicated().any():
        texts = [name for name in others if not are_numbers(frame[name].head(200))]
        found = _tell_apart(frame, names.time, texts, 1)
        for count in (1, 2, 3) if not found else ():
            if several := _tell_apart(frame, names.time, others, count):
                raise DataError(
                    f"{frame.attrs['source']}: times repeat, so there are several series; they are"
                    f" told apart by --id-column {' '.join(several[:count])}"
                    f" (id_column={'/'.join(several[:count])!r})."
                )
        if found or len(texts) == 1:
            name = min(found or texts, key=lambda name: frame[name].nunique())
            frame[name] = ids_of(frame, name)
            rest = [other for other in others if other != name]
            said = f"the series are named by column {short(name)} (--id-column)"
            return frame.drop(columns=rest), names._replace(id=name), [said, *unread(rest)]
    others = [name for name in others if name in frame]
    return frame.drop(columns=others), names, unread(others)


def _tell_apart(frame: pd.DataFrame, time: str, columns: list[str], count: int) -> list[str]:
    """So many columns that leave no time twice, of few names each; of one, all that do."""
    found = []
    for some in itertools.combinations(columns, count):
        series = frame.groupby(list(some), sort=False).ngroups
        if 2 * series <= len(frame) and not frame.duplicated([*some, time]).any():
            found += some
            if count > 1:
                break
    return found


def once(where: str, header: list[str], name: str) -> None:
    """A column is there, and but once.

    Raises:
        DataError: that names the nearest column.
    """
    if (count := header.count(name)) != 1:
        fault = f"{count} columns {short(name)}" if count else f"no column {short(name)}"
        hint = "" if count else nearest(name, header)
        raise DataError(f"{where}: {fault}; the columns are {_listed(header)}.{hint}")


def _none(where: str, header: list[str], use: str, what: str, count: int, way: str) -> str:
    usual = getattr(USUAL, use)
    return (
        f"{where}: no column {usual!r}, and {count} of the others hold {what}; the columns are"
        f" {_listed(header)}; name it: --{use}-column ({use}_column){way}."
    )


def _mostly(are: Callable[[pd.Series], bool], cells: Any) -> bool:
    """Whether half of the cells are: the others are to be found where they are read."""
    texts = cells.dropna().astype(str)
    shapes = texts.str.replace(r"\d+", "9", regex=True).str.replace(r"[A-Za-z]+", "A", regex=True)
    common = shapes == shapes.mode().iat[0] if len(texts) else shapes == ""
    return bool(2 * common.sum() >= len(texts) > 0 and are(texts[common]))


def _digits(name: str, cells: Any) -> bool:
    return are_digits(name, cells[cells.astype(str) != ""].dropna().tolist())


def _counts(name: str, cells: Any) -> bool:
    return counted(name, cells[cells.astype(str) != ""].dropna().tolist()) is not None


def _from_to(starts: list[str], ends: list[str]) -> bool:
    """Whether each row begins where the one before it ends."""
    return len(starts) > 2 and starts[1:] == ends[:-1]


def _is_value(name: str) -> bool:
    return re.sub(r"\W", "", name.lower()).strip("_") in _VALUES


def _only(found: list[int]) -> list[int]:
    return found if len(found) == 1 else []


def _listed(header: list[str]) -> str:
    more = f" and {len(header) - 20:,} more" if len(header) > 20 else ""
    return ", ".join(map(short, header[:20])) + more
