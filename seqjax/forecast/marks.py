"""Numbers with what people and programs put beside them: signs, units, gaps of thousands."""

import re
from collections.abc import Sequence

import pandas as pd

MISSING = frozenset(
    (
        *("", "NA", "N/A", "n/a", "#N/A", "(NA)", "NaN", "nan", "NAN", "null", "NULL", "None"),
        *("-", "--", "\u2013", "\u2014", ".", "..", "...", ":", "?"),  # of statistics offices
        *("#DIV/0!", "#VALUE!", "#REF!"),
    )
)
"""What stands for a number that is missing."""

_GAPS = str.maketrans("\u00a0\u2007\u2009\u202f\u2019", "    '")
_SIGNS = str.maketrans("\u2212", "-")
# Not any letters: SKU 17 is a name.
_UNIT = re.compile(
    r"[€$£¥₹%]|°[CF]|US\$|EUR|USD|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|BRL|CAD|AUD"
)
_NUMBER = r"\d[\d.,' ]*"
_AFTER = re.compile(rf"([+-]?{_NUMBER}?) ?({_UNIT.pattern})")
_BEFORE = re.compile(rf"([+-]?)({_UNIT.pattern}) ?([+-]?{_NUMBER})")
_NEGATIVE = re.compile(r"\((.*\d.*)\)|(.*\d.*)-")
_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([ '])\d{3}(\1\d{3})*([.,]\d+)?")


def are_filled(cells: pd.Series) -> pd.Series:
    """Which cells hold something.

    Example:
        >>> are_filled(pd.Series(["1", "NA", ""])).tolist()
        [True, False, False]
    """
    return ~(cells.isna() | cells.isin(list(MISSING)))


def plain(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Numbers without their units, with the sign in front and digits in one piece.

    A unit is left out where all numbers have the same; percents stay percents.

    Args:
        texts: cells of a column; those that are no such numbers stay what they are.

    Returns:
        The texts, and what was done, a phrase each.

    Example:
        >>> plain(["1 500 €", "200 €", ""])
        (['1500', '200', ''], ['€ was left out', 'gaps between thousands were closed'])
        >>> plain(["(12%)", "5%"])
        (['-12', '5'], ['(1) and 1- were read as -1', '% was left out'])
    """
    found = [text.translate(_GAPS).translate(_SIGNS).strip() for text in texts]
    said = []
    filled = [k for k, text in enumerate(found) if text not in MISSING]
    for k in filled:
        if negative := _NEGATIVE.fullmatch(found[k]):
            found[k] = "-" + (negative[1] or negative[2]).strip()
            said = ["(1) and 1- were read as -1"]
    units: set[str] = set()
    bare: list[str] = []
    for k in filled:
        if match := _AFTER.fullmatch(found[k]):
            bare.append(match[1])
            units.add(match[2])
        elif match := _BEFORE.fullmatch(found[k]):
            bare.append(match[1] + match[3])
            units.add(match[2])
    if len(bare) == len(filled) and len(units) == 1:
        said.append(f"{units.pop()} was left out")
        for k, text in zip(filled, bare, strict=True):
            found[k] = text.strip()
    groups = [k for k in filled if _GROUPS.fullmatch(found[k])]
    for k in groups:
        found[k] = re.sub("[ ']", "", found[k])
    if groups:
        said.append("gaps between thousands were closed")
    return found, said
