"""Cells of a CSV as names of series, times and numbers, or the cell that is none."""

import re
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data.cells import short
from seqjax.forecast.rows import refuse
from seqjax.forecast.times import ISO, read, read_times

MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"))
"""What stands for a number that is missing."""

# float() takes more: infinity, 1_000 and the digits of other scripts.
_OF_NUMBERS = frozenset("0123456789+-.eE")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
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
    if "" in texts:
        row = int((frame[column] == "").to_numpy().argmax())
        refuse(frame, row, column, "the time is missing; add it, or take the row out.")
    if time_format == ISO and len(texts) and all(map(_WHOLE.fullmatch, texts)):
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


def floats_of(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, bool]:
    """Numbers, each rounded once, NaN where missing, 1 and 0 for true and false.

    Args:
        frame: the rows.
        column: of texts.

    Returns:
        float64, [rows], and whether commas were taken for decimal points.

    Raises:
        DataError: for what is no number, and infinite ones.

    Example:
        >>> floats_of(pd.DataFrame({"y": ["1.5", "", "2,5"]}), "y")
        (array([1.5, nan, 2.5]), True)
    """
    texts = [text if isinstance(text, str) else "" for text in frame[column]]
    values: list[float] = []
    commas = False
    if set("".join(texts)) <= _OF_NUMBERS:  # quickly past honest columns
        try:
            values = [float(text) if text else np.nan for text in texts]
        except ValueError:
            values = []
    for row, text in enumerate(texts if not values else ()):
        if text in MISSING:
            values.append(np.nan)
        elif is_float(text):
            values.append(float(text))
        elif _COMMA.fullmatch(text):
            values.append(float(text.replace(",", ".")))
            commas = True
        elif text.lower() in _TRUTHS:
            values.append(_TRUTHS[text.lower()])
        else:
            advice = "write 1234.5, without separators of thousands; leave it empty if missing"
            refuse(frame, row, column, f"{short(text)} is not a number; {advice}.")
    if commas and frame.attrs.get("delimiter", ",") == ",":
        groups = [text for text in texts if "," in text]
        if all(_THOUSANDS.fullmatch(text) for text in groups):
            row = texts.index(groups[0])
            advice = "write 1234.5, without separators of thousands, or part the cells by ;"
            refuse(
                frame, row, column, f"{short(groups[0])} may be thousands or decimals; {advice}."
            )
    found = np.array(values, np.float64)
    if (infinite := np.isinf(found)).any():
        row = int(infinite.argmax())
        refuse(frame, row, column, f"{short(texts[row])} is not finite: float64 ends at 1.8e308.")
    return found, commas


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
