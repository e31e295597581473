"""Cells of a CSV as names of series, times and numbers, or the cell that is none."""

import re
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data.cells import short
from seqjax.forecast.marks import MISSING, plain
from seqjax.forecast.notations import FORMATS, ISO, digits_of, forms_of, iso_of, read
from seqjax.forecast.rows import refuse
from seqjax.forecast.times import read_times, several_offsets

# float() takes more: infinity, 1_000 and the digits of other scripts.
_OF_NUMBERS = frozenset("0123456789+-.eE")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:(,\d{3})+|(\.\d{3})+)")
_MONTHS = re.compile(r"(0[1-9]|1[0-2])\.(19|20)\d\d")  # as numbers have no 0 in front
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_BELOW = re.compile(r"[+-]?\d{1,3}")  # a thousand
_DECIMAL, _PARTING = "decimal commas were read", "commas that part thousands were left out"
_DOTS = "dots that part thousands were left out"
_ENOUGH = 5  # numbers, to tell thousands from decimals
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
        if (digits := digits_of(texts)) is None:
            return frame[column].astype(np.int64)
        time_format = digits
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
        float64, [rows], and what marks were taken for: "" where there are none.

    Raises:
        DataError: for what is no number, or may be two, and infinite ones.

    Example:
        >>> floats_of(pd.DataFrame({"y": ["1.5", "", "2,5"]}), "y")
        (array([1.5, nan, 2.5]), 'decimal commas were read')
        >>> floats_of(pd.DataFrame({"y": ["1,500", "2,500.25"]}), "y")
        (array([1500.  , 2500.25]), 'commas that part thousands were left out')
    """
    texts = given = [text if isinstance(text, str) else "" for text in frame[column]]
    values: list[float] = []
    said, signs = "", []
    marks = set("".join(texts))
    thousands = "." in marks and all(text[-4:-3] == "." for text in texts if "." in text)
    if marks <= _OF_NUMBERS and not thousands:  # quickly past honest columns
        try:
            values = [float(text) if text else np.nan for text in texts]
        except ValueError:
            values = []
    if not values:
        texts, signs = plain(texts)
    delimiter = frame.attrs.get("delimiter", ",")
    decimal, grouped = _grouped(texts, delimiter) if not values else ("", None)
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
            refuse(frame, row, column, f"{short(given[row])} is not a number; {advice}.")
    if said or (thousands and not decimal):
        _refuse_thousands(frame, column, texts, delimiter)
    found = np.array(values, np.float64)
    if (infinite := np.isinf(found)).any():
        row = int(infinite.argmax())
        refuse(frame, row, column, f"{short(texts[row])} is not finite: float64 ends at 1.8e308.")
    if decimal == ",":
        said = _DECIMAL if "," in marks else _DOTS
    elif decimal:
        said = _PARTING
    return found, "; ".join(filter(None, (*signs, said)))


def _looks_like_number(text: str) -> bool:
    name = re.fullmatch(r"0\d+", text)  # 007
    return not name and (is_float(text.replace(",", ".")) or bool(_grouped([text])[0]))


def _grouped(texts: list[str], delimiter: str = ",") -> tuple[str, re.Pattern[str] | None]:
    """The mark of decimals, and the form of numbers, where the other one parts thousands.

    One number has both marks, or two of one; or all have three digits behind their mark, but for
    whole ones below a thousand, one of which would be larger than all of them if these were
    decimals.
    """
    for decimal, parted in ((",", r"\."), (".", ",")):
        groups = rf"[1-9]\d{{0,2}}({parted}\d{{3}})+"
        form = re.compile(rf"[+-]?(\d+|{groups})([{decimal}]\d+)?")
        sure = re.compile(rf"[+-]?({groups}[{decimal}]\d+|{groups}{parted}\d{{3}})")
        if any(map(sure.fullmatch, texts)):
            return decimal, form
        mark = parted[-1]
        once, small, all_are = _marked(texts, mark)
        if len(once) < _ENOUGH or not small or not all_are or (mark == "." and delimiter == ","):
            continue
        largest = max(abs(float(text)) for text in small)
        if largest >= 100 and largest > max(abs(float(text.replace(mark, "."))) for text in once):
            return decimal, form
    return "", None


def _marked(texts: list[str], mark: str) -> tuple[list[str], list[str], bool]:
    """Numbers that may be of thousands, whole ones below a thousand, and whether these are all."""
    once = [text for text in texts if mark in text and _THOUSANDS.fullmatch(text)]
    small = [text for text in texts if _BELOW.fullmatch(text)]
    return once, small, len(once) + len(small) == sum(text not in MISSING for text in texts)


def _refuse_thousands(frame: pd.DataFrame, column: str, texts: list[str], delimiter: str) -> None:
    """Refuse what may be thousands as well as decimals.

    Beside decimal commas that is 1.234; where cells are parted by commas, 1,234 alone. Where they
    are not, either mark, if all numbers have three digits behind it but for whole ones below a
    thousand, and many are marked, or 950 stands beside them; but commas beside semicolons are
    decimal.
    """
    groups = [text for text in texts if "," in text]
    dots = [text for text in texts if "." in text and _THOUSANDS.fullmatch(text)]
    doubtful = groups or dots
    if groups and (delimiter != "," or not all(map(_THOUSANDS.fullmatch, groups))) and dots:
        doubtful = dots
    elif delimiter == ",":
        doubtful = groups if all(map(_THOUSANDS.fullmatch, groups)) else []
    elif doubtful:
        mark = "," if groups else "."
        once, small, all_are = _marked(texts, mark)
        many = len(once) >= _ENOUGH and delimiter + mark != ";,"
        beside = any(abs(float(text)) >= 100 for text in small)
        doubtful = once if all_are and (many or beside) else []
    if doubtful:
        thousands = re.sub("[.,]", "", doubtful[0])
        advice = f"write {thousands}, or {doubtful[0]}0"
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
    months = texts.str.fullmatch(_MONTHS).all() and texts.str.startswith("0").any()
    if not len(texts) or texts.isin(list(MISSING)).any() or (are_numbers(cells) and not months):
        return False  # quickly past empty ones
    if iso_of(texts.tolist()):
        return True
    utc = several_offsets(texts)
    try:
        return any(not read(texts.tolist(), one, utc).isna().any() for one in (ISO, *FORMATS))
    except ValueError:  # of several zones: refused where they are read
        return True


def are_numbers(cells: pd.Series) -> bool:
    """Whether a column holds numbers, with commas or without, some of them missing.

    Example:
        >>> [are_numbers(pd.Series(one)) for one in (["1.5", "NA", "2,5"], ["007", "42"])]
        [True, False]
    """
    if not pd.api.types.is_string_dtype(cells.dtype):
        return pd.api.types.is_numeric_dtype(cells.dtype)
    texts = [text for text in plain(list(cells.dropna().astype(str)))[0] if text not in MISSING]
    return bool(texts) and all(map(_looks_like_number, texts))
