"""Hostile CSVs: each is a clean load or a DataError with file, line and column.

A file is a monthly CSV and one to three mutations. A mutation states its outcome where it
is the only one: the series is the same, one value of it is another, or it is refused with
certain words. Of several together only what always holds is asked.
"""

import csv
import datetime
import io
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from seqjax.data import DataError, read_series

SAME, EITHER = "same", "either"
WHOLE = ("the file is empty", "a header but no data", "no regular frequency")  # no line's fault

BAD_NUMBERS = [
    "", "abc", "nan", "-NaN", "inf", "-Infinity", "1e400", "-1e400", "9" * 400, "1e-400", "0x1F",
    "0b1", "1_000", "1'234", "1 234", '"1,5"', '"1,234"', '"1.234,5"', "1.2.3", "--5", "5-", "1e",
    "e5", ".", "1j", "12%", "$5", "TRUE", "None", "=1+1", "@SUM(A1)", "=cmd|' /C calc'!A0",
    "\u2212" + "5", "\u0661\u0662", "5\u200b", "x" * 100_000, "1d5", "\x1b[31m5",
]  # fmt: skip
SAME_NUMBERS = [" {} ", "+{}", "{}.0", "{}e0", "{}00e-2", '"{}"', "0{}", "{}.", "\u00a0{}"]
OTHER_NUMBERS = [-7.25, 1.7e308, 5e-324, 0.0, 0.1, 1e22, 123456789.123456789, 2.0**64]
BAD_DATES = [
    "", "abc", "1962-13-01", "1962-02-30", "10000-01-01", "0000-01-01", "-0001-01-01", "now",
    "today", "NaT", "nan", "01/05/1962", "May 1962", "1962-W05", "20th", "1e5", "1962-05-01T25:00",
    "=TODAY()", "1962-05-01T00:00Z", "1962-05-01 00:00:00+01:00", "9999-12-01", "0001-01-01",
    "2262-04-12", "1677-09-01", "1961-12-31T23:59:59.999999999", "\u0661962-05-01", "9" * 400,
]  # fmt: skip


def base(rng):
    """Lines and values of an honest file."""
    count = int(rng.integers(20, 61))
    dates = pd.date_range(f"{rng.integers(1700, 2100)}-{rng.integers(1, 13):02}-01", periods=count,
                          freq="MS")  # fmt: skip
    values = np.round(rng.normal(600, 100, count), int(rng.integers(0, 4)))
    lines = ["Date,Production,Note"]
    lines += [f"{d.date()},{v!r},ok" for d, v in zip(dates, values.tolist(), strict=True)]
    return "\n".join(lines).encode() + b"\n", pd.Series(values, dates)


def at_row(change, *, first=1):
    """A mutation of one row: ``change(rng, cells) -> (cells or text, outcome)``."""

    def mutate(rng, raw):
        lines = raw.split(b"\n")
        row = int(rng.integers(first, max(first + 1, len(lines) - 1)))
        if row >= len(lines):
            return raw, EITHER
        cells, outcome = change(rng, lines[row].split(b","))
        lines[row] = cells if isinstance(cells, bytes) else b",".join(cells)
        if isinstance(outcome, tuple) and outcome[0] == "refused":
            outcome = ("refused", *(part.replace("@", f"line {row + 1}") for part in outcome[1:]))
        elif isinstance(outcome, float):
            outcome = (row - 1, outcome)
        return b"\n".join(lines), outcome

    return mutate


def cell(column, text, outcome):
    """A mutation that sets one cell; {} stands for what was there."""

    def change(rng, cells):
        if column < len(cells):
            old = cells[column].decode("latin-1").removesuffix(".0")
            new = text.replace("{}", old)
            if "{}." in text and "." in old:
                new = old
            if text == "{}00e-2" and "." in old:
                new = old
            cells[column] = new.encode()
        return cells, outcome

    # A first date too far off is seen by the second: either could be the wrong one.
    return at_row(change, first=2 if column == 0 else 1)


def joined(edit, outcome):
    """A mutation of the whole file."""
    return lambda rng, raw: (edit(raw), outcome)


def refused(*parts):
    return ("refused", *parts)


def drop(rng, raw):
    lines = raw.split(b"\n")
    if len(lines) < 6:
        return raw, EITHER
    row = int(rng.integers(2, len(lines) - 2))
    return b"\n".join(lines[:row] + lines[row + 1 :]), refused(f"line {row + 1}, column 'Date'")


def swap(rng, raw):
    lines = raw.split(b"\n")
    if len(lines) < 6:
        return raw, EITHER
    row = int(rng.integers(2, len(lines) - 2))
    lines[row], lines[row - 1] = lines[row - 1], lines[row]
    return b"\n".join(lines), refused(f"line {row}" if row > 2 else "line ", "column 'Date'")


def repeat(rng, raw):
    lines = raw.split(b"\n")
    row = int(rng.integers(1, max(2, len(lines) - 1)))
    return b"\n".join(lines[: row + 1] + lines[row:]), refused(f"line {row + 2}, column", "repeats")


def insert(text, outcome):
    """A mutation that puts a line between two others."""

    def mutate(rng, raw):
        lines = raw.split(b"\n")
        row = int(rng.integers(1, max(2, len(lines) - 1)))
        parts = outcome[:1] + tuple(part.replace("@", f"line {row + 1}") for part in outcome[1:])
        return b"\n".join([*lines[:row], text, *lines[row:]]), parts

    return mutate


def truncate(rng, raw):
    return raw[: int(rng.integers(0, len(raw) + 1))], EITHER


def flip(rng, raw):
    data = bytearray(raw)
    for _ in range(int(rng.integers(1, 5)) if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data), EITHER


def splice(rng, raw):
    at = int(rng.integers(0, len(raw) + 1))
    return raw[:at] + rng.bytes(int(rng.integers(1, 20))) + raw[at:], EITHER


def mixed_ends(rng, raw):
    lines = raw.split(b"\n")
    return b"".join(line + rng.choice([b"\n", b"\r\n", b"\r"]) for line in lines[:-1]), SAME


def noise(rng, raw):
    return b"\xff" + rng.bytes(200), refused("not UTF-8", "line 1")


def to(encoding, outcome):
    return joined(lambda raw: raw.decode("utf-8", "replace").encode(encoding, "replace"), outcome)


def header(old, new, outcome):
    return joined(lambda raw: raw.replace(old, new, 1), outcome)


def widen(raw):
    lines = raw.split(b"\n")
    names = b"".join(b",c%d" % i for i in range(3000))
    return b"\n".join([lines[0] + names, *(line + b",7" * 3000 * bool(line) for line in lines[1:])])


def each(old, new):
    return lambda raw: raw.replace(old, new)


NOTE, VALUE = refused("@, column 'Note'"), refused("@, column 'Production'")
BROKEN = refused("@: not a regular CSV")
HARMLESS = [
    *(cell(1, text, SAME) for text in SAME_NUMBERS),
    *(cell(1, repr(value), value) for value in OTHER_NUMBERS),
    cell(0, '"{}"', SAME), cell(0, " {}\t", SAME), cell(2, "", SAME), cell(2, '5" pipe', SAME),
    cell(2, '"a\nb, ""c"""', SAME), cell(2, "=HYPERLINK(A1)", SAME), cell(2, "\x0c\u2028", SAME),
    cell(2, "n" * 100_000, SAME), mixed_ends, truncate, flip, to("utf-7", EITHER),
    joined(lambda raw: raw + b"\n \n,,\n", SAME), joined(lambda raw: raw[:-1], SAME),
    joined(lambda raw: b"\xef\xbb\xbf" + raw, SAME), joined(each(b"\n", b"\r"), SAME),
    joined(each(b"\n", b"\r\n"), SAME), joined(each(b"\n", b",\n"), SAME), joined(widen, SAME),
    joined(each(b",", b", "), SAME), header(b"Note", b"", SAME), header(b"Date", b" Date\t", SAME),
]  # fmt: skip
HOSTILE = [
    *(cell(1, text, VALUE) for text in BAD_NUMBERS),
    *(cell(0, text, refused("@, column 'Date'")) for text in BAD_DATES),
    cell(1, "583,5", refused("@: 4 cell(s) where the header has 3", "Write 1.5")),
    cell(2, "ok,more", refused("@: 4 cell(s) where the header has 3; 'more'")),
    cell(2, "n" * 200_000, BROKEN), cell(2, '"', BROKEN), cell(2, '"a"b', BROKEN),
    at_row(lambda rng, cells: (cells[:2], refused("@: 2 cell(s)", "column 'Note' is missing"))),
    at_row(lambda rng, cells: (cells[:1], refused("@: 1 cell(s)", "'Production' is missing"))),
    at_row(lambda rng, cells: ([*cells[:2], b"M\xfcnchen"], NOTE)),
    at_row(lambda rng, cells: ([*cells[:2], b"a\0b"], NOTE)),
    at_row(lambda rng, cells: ([cells[0], b"\0", *cells[2:]], VALUE)),
    at_row(lambda rng, cells: ([b"\xb0" + cells[0], *cells[1:]], refused("@, column 'Date'"))),
    at_row(lambda rng, cells: (b";".join(cells), refused("@: 1 cell(s)"))),
    insert(b"", refused("@ is blank")), insert(b" \t", refused("@ is blank")),
    insert(b",,", refused("@ is blank")), insert(b"Date,Production,Note", refused("@, column")),
    insert(b"# a comment", refused("@: 1 cell(s)")),
    insert(b"\0" * 512, refused("@, column 'Date'")),
    drop, swap, repeat, splice, noise,
    joined(lambda raw: b"", refused("empty")), joined(lambda raw: b"\n\n", refused("empty")),
    joined(lambda raw: raw.split(b"\n")[0], refused("no data")),
    joined(lambda raw: raw.split(b"\n")[0] + b"\n\n,,\n", refused("no data")),
    joined(lambda raw: b"\n" + raw, refused("line 1")),
    joined(lambda raw: raw * 2, refused("line")),
    joined(each(b",", b";"), refused("line 1", "semicolons")),
    joined(each(b",", b"\t"), refused("line 1", "tabs")),
    to("utf-16", refused("line 1", "UTF-16")), to("utf-16-le", refused("line 1", "NUL")),
    to("utf-16-be", refused("line 1", "NUL")), to("utf-32", refused("line 1", "UTF-16")),
    to("cp037", refused("line 1")),
    header(b"Note", b"Date", refused("line 1", "2 columns 'Date'")),
    header(b"Date", b"date", refused("line 1", "no column 'Date'")),
    header(b"Production", b"P" * 9999, refused("line 1", "no column 'Production'")),
    header(b"Note", b'"Note', refused("line 1: not a regular CSV")),
]  # fmt: skip
MUTATIONS = [*HARMLESS, *HOSTILE]


def make(number):
    """File `number`: its bytes, the honest series and the outcome."""
    rng = np.random.default_rng(number)
    raw, series = base(rng)
    if number < len(MUTATIONS):
        return *MUTATIONS[number](rng, raw), series
    count = int(rng.integers(1, 4))
    for _ in range(count):
        some = HARMLESS if rng.random() < 0.7 else HOSTILE
        raw, outcome = some[int(rng.integers(len(some)))](rng, raw)
    return raw, outcome if count == 1 else EITHER, series


def plainly(raw):
    """Dates and values by another way of reading, for what was loaded."""
    text = raw.decode("utf-8-sig")
    if '"' in text:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    else:
        rows = [line.split(",") for line in re.split(r"\r\n|\r|\n", text)]
    names = [name.strip() for name in rows[0]]
    rows = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    found = []
    for name in ("Date", "Production"):
        found.append([row[names.index(name)].strip() for row in rows])
    return found


def check(path, raw, outcome, honest):
    """Read one file and judge what comes of it; True where it was loaded."""
    path.write_bytes(raw)
    try:
        series = read_series(path, "Date", "Production")
    except DataError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < 2000
        assert re.search(r"\bline \d+\b", message) or any(words in message for words in WHOLE)
        assert outcome == EITHER or outcome[0] == "refused", message
        for part in outcome[1:] if outcome != EITHER else ():
            assert part in message
        return False
    assert outcome[0] != "refused", outcome
    assert series.dtype == np.float64
    assert np.isfinite(series).all()
    assert series.index.freq is not None
    assert series.index.is_monotonic_increasing
    assert series.index.is_unique
    dates, cells = plainly(raw)
    assert all(
        re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", one, re.I | re.A) for one in cells
    )
    assert series.tolist() == [float(Decimal(cell)) for cell in cells]
    for date, text in zip(series.index, dates, strict=True):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.A):
            assert date.date() == datetime.date.fromisoformat(text)
    if outcome != EITHER:
        wanted = honest.to_numpy().copy()
        if outcome != SAME:
            wanted[outcome[0]] = outcome[1]
        assert series.tolist() == wanted.tolist()
        assert (series.index == honest.index).all()
        assert series.index.freqstr == "MS"
    return True


def judge(tmp_path, numbers):
    loaded = 0
    for number in numbers:
        raw, outcome, honest = make(number)
        try:
            loaded += check(tmp_path / "fuzzed.csv", raw, outcome, honest)
        except Exception as error:
            error.add_note(f"file {number}: {outcome}\n{raw[:2000]!r}")
            raise
    return loaded


def test_every_mutation_alone_has_its_outcome(tmp_path):
    loaded = judge(tmp_path, range(len(MUTATIONS)))
    assert 25 < loaded < len(MUTATIONS) - 75  # the honest ones load, the hostile ones do not


@pytest.mark.soak
def test_a_thousand_files(tmp_path, record_property):
    loaded = judge(tmp_path, range(1000))
    counts = f"{loaded} loaded, {1000 - loaded} refused by name, 0 else"
    record_property("figure", f"9 hostile input: 1,000 fuzzed CSVs: {counts}")
