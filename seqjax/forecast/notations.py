"""Times as spreadsheets, databases and statistics offices write them."""

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

ISO = "ISO8601"
"""What times are read as, unless told."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
"""How their English names begin."""

# In English, German, French and Spanish.
_NAMES = (
    ("january", "januar", "janvier", "enero"),
    ("february", "februar", "février", "febrero"),
    ("march", "märz", "mrz", "mars", "marzo"),
    ("april", "avril", "abril"),
    ("may", "mai", "mayo"),
    ("june", "juni", "juin", "junio"),
    ("july", "juli", "juillet", "julio"),
    ("august", "août", "agosto"),
    ("september", "septembre", "septiembre"),
    ("october", "oktober", "octobre", "octubre"),
    ("november", "novembre", "noviembre"),
    ("december", "dezember", "décembre", "diciembre"),
)
_WORD = re.compile(r"[^\W\d_]{3,}\.?")

_OF_DAYS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d. %b %Y"),
    *("%b %d, %Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y"),
    *("%y/%m/%d", "%y.%m.%d"),
)
_OF_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (
    *(day + clock for clock in _OF_CLOCKS for day in _OF_DAYS),
    *("%Y%m", "%m/%Y", "%m.%Y", "%b %Y", "%b-%y", "%b-%Y", "%Y %b", "%Y-%b"),
)
_MIDNIGHT = re.compile(r"([T ])24(:00(?::00)?)(?=$|Z|[+-])")  # at the end of a day
_PERIOD = re.compile(r"(\d{4})[ -]?(?:(Q)([1-4])|(M)(0?[1-9]|1[0-2])|(W)([0-4]\d|5[0-3]))")
_QUARTER_FIRST = re.compile(r"(Q[1-4])[ /-]?(\d{4})")
_CHANGES = {2, 3, 4, 9, 10, 11}  # months in which clocks are changed
# Midnights of summer in UTC east of Greenwich, where clocks are changed: New Zealand, Sydney,
# Adelaide, Iran, Athens, Berlin, London.
_EAST = {11, 13, 13.5, 19.5, 21, 22, 23}


def month_of(word: str) -> int | None:
    """The number of a month, from 1, by three letters of its name or more; None for other words.

    Example:
        >>> month_of("Sept."), month_of("Mai"), month_of("juillet"), month_of("Mary")
        (9, 5, 7, None)
    """
    begins = word.strip(".").lower()
    if len(begins) < 3:
        return None
    found = (k for k, names in enumerate(_NAMES, 1) if any(n.startswith(begins) for n in names))
    return next(found, None)


def in_english(text: str) -> str:
    """A date with the names of months as %b of `time.strftime` has them.

    Example:
        >>> in_english("3. März 2019"), in_english("Sept-19")
        ('3. Mar 2019', 'Sep-19')
    """

    def named(word: re.Match[str]) -> str:
        month = month_of(word[0])
        return word[0] if month is None else MONTHS[month - 1].title()

    return _WORD.sub(named, text)


def iso_of(texts: Sequence[str]) -> list[str] | None:
    """The first days of quarters, of months, or of ISO weeks; None where not all are of one form.

    Example:
        >>> iso_of(["2019Q4", "2020-Q1", "Q2 2020"])
        ['2019-10-01', '2020-01-01', '2020-04-01']
        >>> iso_of(["2019M12"]), iso_of(["2020-W01"]), iso_of(["2020-01"])
        (['2019-12-01'], ['2019-12-30'], None)
    """
    letters, days = set(), []
    for text in texts:
        if (found := _PERIOD.fullmatch(_QUARTER_FIRST.sub(r"\2\1", text))) is None:
            return None
        year, letter, part = (one for one in found.groups() if one)
        letters.add(letter)
        try:
            days.append(_first_day(int(year), letter, int(part)))
        except ValueError:  # a year without a week 53, or the year 0
            return None
    return days if len(letters) == 1 else None


def _first_day(year: int, letter: str, part: int) -> str:
    if letter == "W":
        return datetime.date.fromisocalendar(year, part, 1).isoformat()
    return datetime.date(year, part if letter == "M" else 3 * part - 2, 1).isoformat()


def days_of(times: pd.DatetimeIndex) -> pd.DatetimeIndex | None:
    """Days and what is longer, at one hour of a zone with summer time, as dates without a zone.

    In UTC, as they are exported, they stand at two hours, each for half of a year: midnights of
    Berlin at 22:00 and 23:00. These are of the day to come.

    Args:
        times: rising, each but once; in UTC, or without a zone.

    Returns:
        The dates; None where the times are no such.

    Example:
        >>> days = pd.date_range("2024-03-29", periods=4, tz="Europe/Berlin").tz_convert("UTC")
        >>> days.hour.tolist(), days_of(days).day.tolist()
        ([23, 23, 23, 22], [29, 30, 31, 1])
    """
    if str(times.tz) not in ("None", "UTC") or len(times) < 3:
        return None
    wall: Any = times.tz_localize(None)
    clock = (wall - wall.normalize()).total_seconds().to_numpy() / 3600
    hours = np.unique(clock)
    if len(hours) != 2 or hours[1] - hours[0] not in (1, 23):
        return None
    changed, span = np.flatnonzero(np.diff(clock)) + 1, (wall[-1] - wall[0]).days
    months = set(wall[changed].month) if span <= 7 * len(wall) else set()  # seen later
    if len(changed) > 2 * span / 365 + 2 or months - _CHANGES:
        return None
    dates = meant(wall)
    return dates if dates.is_unique else None


def meant(wall: Any) -> pd.DatetimeIndex:
    """The dates of days that stand at an hour of UTC: midnights east of it are of the next day.

    Example:
        >>> meant(pd.DatetimeIndex(["2024-03-30T23:00", "2024-03-31T22:00"])).day.tolist()
        [31, 1]
    """
    dates = wall.normalize()
    clock = (wall - dates).total_seconds().to_numpy() / 3600
    hours = np.unique(clock)
    summer = {23.0} if {0.0, 23.0} <= {*hours} else {hours.min(), hours.min() - (len(hours) < 2)}
    if not summer & _EAST:
        return dates
    ahead = dates + pd.to_timedelta(1 * (clock >= 11), unit="D")
    # Of an exchange, at an hour of the evening.
    weekend = (ahead.day_of_week > 4).any() and not (dates.day_of_week > 4).any()
    return dates if weekend else ahead


def read(
    texts: Sequence[str] | np.ndarray, time_format: str, utc: bool = False
) -> pd.DatetimeIndex:
    """Texts as dates, NaT for those that are none.

    Example:
        >>> read(["31/01/2024", "2024-01-31"], "%d/%m/%Y").isna().tolist()
        [False, True]
        >>> read(["2024-01-31 24:00"], ISO)[0]
        Timestamp('2024-02-01 00:00:00')
    """
    texts = [text[:-4] + "Z" if text.endswith((" UTC", " GMT")) else text for text in texts]
    if "%b" in time_format or "%B" in time_format:
        texts = [in_english(text) for text in texts]
    late = [_MIDNIGHT.search(text) is not None for text in texts]
    if some := any(late):
        texts = [_MIDNIGHT.sub(r"\g<1>00\2", text) for text in texts]
    found = pd.to_datetime(list(texts), errors="coerce", format=time_format, utc=utc)
    found = pd.DatetimeIndex(found)
    return found + pd.to_timedelta(1 * np.array(late), unit="D") if some else found


def digits_of(texts: Sequence[str]) -> str | None:
    """The form of dates that are digits alone: days, or months; None for other whole numbers.

    Example:
        >>> digits_of(["20240131", "20240229"]), digits_of(["202401"]), digits_of(["202413"])
        ('%Y%m%d', '%Y%m', None)
    """
    for digits, form in ((8, "%Y%m%d"), (6, "%Y%m")):
        if all(len(text) == digits and text[:2] in ("19", "20") for text in texts):
            return None if not texts or read(texts, form).isna().any() else form
    return None


def forms_of(texts: Sequence[str]) -> list[str]:
    """The forms of dates, but for ISO 8601, that fit all of the texts.

    Years of two digits fit where none of them comes to lie ahead, as 60 does (2060).

    Example:
        >>> forms_of(["01/02/2024"]), forms_of(["01/02/2024", "13/02/2024"])
        (['%d/%m/%Y', '%m/%d/%Y'], ['%d/%m/%Y'])
    """
    few = texts[:: len(texts) // 50 + 1]
    latest = pd.Timestamp.now() + pd.DateOffset(years=1)

    def fits(some: Sequence[str], form: str) -> bool:
        dates = read(some, form)
        return not dates.isna().any() and ("%y" not in form or bool((dates < latest).all()))

    return [form for form in FORMATS if fits(few, form) and fits(texts, form)]
