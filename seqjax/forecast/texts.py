"""Cells of a CSV as names of series, times and numbers, or the cell that is none."""

import re
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data.cells import short
from seqjax.forecast.rows import refuse
from seqjax.forecast.times import FORMATS, ISO, QUARTER, forms_of, read, read_times, several_offsets

MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"))
"""What stands for a number that is missing."""

# float() takes more: infinity, 1_000 and the digits of other scripts.
_OF_NUMBERS = frozenset("0123456789+-.eE")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:(,\d{3})+|(\.\d{3})+)")
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_DECIMAL, _PARTING = "decimal commas were read", "commas that part thousands were left out"
_TRUTHS = {"true": 1.0, "false": 0.0}


def ids_of(frame: pd.DataFrame, column: str) -> pd.Series:
    """Names of series; whole numbers where all are, and none begins with 0.

    Raises:
        DataError: for an empty one.

    Example:
        >>> ids_of(pd.DataFrame({"id": ["10", "9"]}), "id").tolist()
        [10, 9]
        >>> ids_of(pd.DataFrame({"id": ["010", "9"]}), "id").tolist()
        ['010', '9']
    """
    values: Any = frame[column]
    if not pd.api.types.is_string_dtype(values.dtype):
        return values
    codes, texts = pd.factorize(values)
    missing = np.array([text == "" for text in texts])[codes] | (codes < 0)
    if missing.any():
        fault = "the series' name is missing; name it, or take the row out."
        refuse(frame, int(missing.argmax()), column, fault)
    if all(map(_WHOLE.fullmatch, texts)):
        return pd.Series(np.array(texts, np.int64)[codes], frame.index)
    return values


def times_of(frame: pd.DataFrame, column: str, time_format: str = ISO) -> Any:
    """Dates, or whole numbers.

    Digits alone are whole numbers, unless all are days (19620131) or months (196201).

    Raises:
        DataError: for what is neither.

    Example:
        >>> times_of(pd.DataFrame({"ds": ["196201", "196202"]}), "ds")[1]
        Timestamp('1962-02-01 00:00:00')
        >>> times_of(pd.DataFrame({"ds": ["1961", "1962"]}), "ds").tolist()
        [1961, 1962]
    """
    texts = list(frame[column].dropna().unique())
    if not MISSING.isdisjoint(texts):
        row = int(frame[column].isin(list(MISSING)).to_numpy().argmax())
        refuse(frame, row, column, "the time is missing; add it, or take the row out.")
    if time_format == ISO and texts and all(_WHOLE.fullmatch(str(text)) for text in texts):
        fitting = [
            days
            for digits, days in ((8, "%Y%m%d"), (6, "%Y%m"))
            if all(len(text) == digits and text[:2] in ("19", "20") for text in texts)
            and not read(texts, days).isna().any()
        ]
        if not fitting:
            return frame[column].astype(np.int64)
        time_format = fitting[0]
    codes, times = read_times(frame, column, time_format)
    return times.take(codes)


def form_of(cells: pd.Series, told: str = ISO) -> str:
    """The form of dates: the one told, or, where no date has it, ISO 8601, or the one that all fit.

    Args:
        cells: of any type; digits alone are in no other form than told.
        told: as in `pandas.to_datetime`.

    Example:
        >>> [form_of(pd.Series(["31/01/2024", "NA"]), told) for told in ("ISO8601", "%m/%d/%Y")]
        ['%d/%m/%Y', '%d/%m/%Y']
    """
    texts = [text for text in cells.dropna().unique() if text not in MISSING]
    if not texts or not isinstance(texts[0], str) or texts[0].isdigit():
        return told
    try:
        if told != ISO and not read(texts, told, utc=True).isna().all():
            return told
    except ValueError:  # no form: refused where it is used
        return told
    if not read(texts[:1], ISO).isna().any():
        return ISO
    fitting = forms_of(texts)
    return fitting[0] if len(fitting) == 1 else told


def floats_of(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, str]:
    """Numbers, each rounded once, NaN where missing, 1 and 0 for true and false.

    A column in which a number has both marks, as 1.234,5 has, tells which of them parts thousands.

    Args:
        frame: the rows.
        column: of texts.

    Returns:
        float64, [rows], and what commas were taken for: "" where there are none.

    Raises:
        DataError: for what is no number, or may be two, and infinite ones.

    Example:
        >>> floats_of(pd.DataFrame({"y": ["1.5", "", "2,5"]}), "y")
        (array([1.5, nan, 2.5]), 'decimal commas were read')
        >>> floats_of(pd.DataFrame({"y": ["1,500", "2,500.25"]}), "y")
        (array([1500.  , 2500.25]), 'commas that part thousands were left out')
    """
    texts = [text if isinstance(text, str) else "" for text in frame[column]]
    values: list[float] = []
    said = ""
    if set("".join(texts)) <= _OF_NUMBERS:  # quickly past honest columns
        try:
            values = [float(text) if text else np.nan for text in texts]
        except ValueError:
            values = []
    decimal, grouped = _grouped(texts) if not values else ("", None)
    for row, text in enumerate(texts if not values else ()):
        if text in MISSING:
            values.append(np.nan)
        elif grouped is not None and grouped.fullmatch(text):
            parted = "," if decimal == "." else "."
            values.append(float(text.replace(parted, "").replace(decimal, ".")))
        elif decimal != "," and is_float(text):
            values.append(float(text))
        elif grouped is None and _COMMA.fullmatch(text):
            values.append(float(text.replace(",", ".")))
            said = _DECIMAL
        elif text.lower() in _TRUTHS:
            values.append(_TRUTHS[text.lower()])
        else:
            advice = "write 1234.5, without separators of thousands; leave it empty if missing"
            refuse(frame, row, column, f"{short(text)} is not a number; {advice}.")
    if said:
        _refuse_thousands(frame, column, texts)
    found = np.array(values, np.float64)
    if (infinite := np.isinf(found)).any():
        row = int(infinite.argmax())
        refuse(frame, row, column, f"{short(texts[row])} is not finite: float64 ends at 1.8e308.")
    return found, said or {",": _DECIMAL, ".": _PARTING}.get(decimal, "")


def _looks_like_number(text: str) -> bool:
    name = re.fullmatch(r"0\d+", text)  # 007
    return not name and (is_float(text.replace(",", ".")) or bool(_grouped([text])[0]))


def _grouped(texts: list[str]) -> tuple[str, re.Pattern[str] | None]:
    """The mark of decimals, and the form of numbers, where one of them has both marks."""
    for decimal, parted in ((",", r"\."), (".", ",")):
        groups = rf"[1-9]\d{{0,2}}({parted}\d{{3}})+"
        if any(re.fullmatch(rf"[+-]?{groups}[{decimal}]\d+", text) for text in texts):
            return decimal, re.compile(rf"[+-]?(\d+|{groups})([{decimal}]\d+)?")
    return "", None


def _refuse_thousands(frame: pd.DataFrame, column: str, texts: list[str]) -> None:
    """Of a column with commas: refuse what may be thousands as well as decimals."""
    groups = [text for text in texts if "," in text]
    doubtful = [text for text in texts if "." in text and _THOUSANDS.fullmatch(text)]
    parted = frame.attrs.get("delimiter", ",") == ","
    if parted and all(map(_THOUSANDS.fullmatch, groups)):
        doubtful = groups
    if doubtful:
        advice = "write 1234.5, without separators of thousands"
        advice += ", or part the cells by ;" if doubtful is groups else ""
        fault = f"{short(doubtful[0])} may be thousands or decimals; {advice}."
        refuse(frame, texts.index(doubtful[0]), column, fault)


def is_float(text: str) -> bool:
    """Whether a text is a decimal number.

    Example:
        >>> is_float("-1.5e3"), is_float("1_000"), is_float("inf")
        (True, False, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return set(text) <= _OF_NUMBERS


def are_dates(cells: pd.Series) -> bool:
    """Whether a column holds dates in one form.

    Example:
        >>> are_dates(pd.Series(["2024-01-31", ""])), are_dates(pd.Series(["31.01.2024"]))
        (False, True)
    """
    if not pd.api.types.is_string_dtype(cells.dtype):
        return pd.api.types.is_datetime64_any_dtype(cells.dtype)
    texts = cells.dropna().astype(str)
    if not len(texts) or are_numbers(cells):
        return False
    if texts.str.fullmatch(QUARTER).all():
        return True
    utc = several_offsets(texts)
    return any(not read(texts.tolist(), one, utc).isna().any() for one in (ISO, *FORMATS))


def are_numbers(cells: pd.Series) -> bool:
    """Whether a column holds numbers, with commas or without, some of them missing.

    Example:
        >>> [are_numbers(pd.Series(one)) for one in (["1.5", "NA", "2,5"], ["007", "42"])]
        [True, False]
    """
    if not pd.api.types.is_string_dtype(cells.dtype):
        return pd.api.types.is_numeric_dtype(cells.dtype)
    texts = [text for text in cells.dropna().astype(str) if text not in MISSING]
    return bool(texts) and all(map(_looks_like_number, texts))
