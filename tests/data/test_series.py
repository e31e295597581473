import pandas as pd
import pytest

from seqjax.data import MILK_CSV, DataError, read_series
from seqjax.forecast import season_of

LINES = MILK_CSV.read_text().splitlines()


def with_line(number, text):
    """The milk CSV with one line (the header is line 1) replaced."""
    return [*LINES[: number - 1], text, *LINES[number:]]


def without_line(number):
    return LINES[: number - 1] + LINES[number:]


def read(tmp_path, content, **options):
    path = tmp_path / "series.csv"
    path.write_bytes(content if isinstance(content, bytes) else "\n".join(content).encode())
    return read_series(path, "Date", "Production", **options)


def test_the_milk_series():
    series = read_series(MILK_CSV, "Date", "Production")
    assert (len(series), series.index.freqstr, series.sum()) == (168, "MS", 126791.0)
    assert str(series.index[-1].date()) == "1975-12-01"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_line(6, "1962-05-01,abc"), "line 6, column 'Production': 'abc' is not a number"),
        (with_line(6, "1962-05-01,nan"), "line 6, column 'Production': 'nan' is not a finite"),
        (with_line(6, "1962-05-01,-inf"), "line 6, column 'Production': '-inf' is not a finite"),
        (with_line(6, "1962-05-01,1e400"), "line 6, column 'Production': '1e400' is not a finite"),
        (with_line(6, "1962-05-01,"), "line 6, column 'Production': '' is not a number"),
        (
            with_line(6, "1962-05-01"),
            "line 6: 1 cell(s) where the header has 2; column 'Production'",
        ),
        (with_line(6, ""), "line 6 is blank, but data follow"),
        (with_line(6, '1962-05-01,"5,3"'), "'5,3' is not a number; write 1234.5: a decimal point"),
        (with_line(6, "1962-05-01,3,4"), "line 6: 3 cell(s) where the header has 2; '4' belongs"),
        (with_line(6, "1962-05-01,1e-400"), "column 'Production': '1e-400' is too small"),
        (with_line(6, "1962-05-01,1_000"), "column 'Production': '1_000' is not a number; write"),
        (with_line(6, '1962-05-01,"589'), "line 6: not a regular CSV: a quote is never closed"),
        (with_line(6, "now,589"), "line 6, column 'Date': 'now' is not a date"),
        (with_line(6, "9999-01-01,589"), "line 6, column 'Date': 9999-01-01 stands where 1962-05"),
        (["Note,Date,Production", '"a\nb",1962-01-01,1', "c,x,2"], "line 4, column 'Date': 'x'"),
        ([line.replace(",", ";") for line in LINES], "parted by semicolons; save it with commas"),
        (with_line(6, "01/05/1962,3"), "line 6, column 'Date': '01/05/1962' is not an ISO 8601"),
        (with_line(6, "1962-04-01,3"), "line 6, column 'Date': 1962-04-01 repeats"),
        (with_line(6, "1961-05-01,3"), "line 6, column 'Date': 1961-05-01 goes back behind"),
        (without_line(6), "line 6, column 'Date': 1962-06-01 stands where 1962-05-01"),
        (without_line(3), "line 3, column 'Date': 1962-03-01 stands where 1962-02-01"),
        (["Day,Production", *LINES[1:]], "line 1: no column 'Date'; the columns are 'Day'"),
        (["Date,Date,Production"], "line 1: 2 columns 'Date'"),
        (LINES[:1], "a header but no data"),
        (LINES[:8] + LINES[9:14], "line 9, column 'Date': 1962-09-01 stands where 1962-08-01"),
        (LINES[:3], "no regular frequency can be inferred from 2 date"),
        (b"", "the file is empty"),
        ("\n".join(LINES).encode("utf-16"), "line 1: the file is UTF-16, not UTF-8"),
        (
            b"Date,Production\r1962-01-01,3\xb0\r",
            "line 2, column 'Production': byte 0xb0 is not UTF-8",
        ),
        (b"Date,Production\n1962-01-01,\x00\n", "line 2, column 'Production'"),
        (
            ["Date,Production", "1962-01-01T00:00+01:00,1", "1962-01-02T00:00+02:00,2"],
            "line 3, column 'Date': '1962-01-02T00:00+02:00' is in another time zone",
        ),
    ],
)
def test_bad_input_is_one_error_that_names_the_place(tmp_path, content, message):
    with pytest.raises(DataError) as error:
        read(tmp_path, content)
    assert message in str(error.value)
    assert str(tmp_path / "series.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_series(path, "Date", "Production")


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(LINES).encode("utf-8-sig"),
        [*LINES, "", ""],
        ["Date , Production", *LINES[1:]],
        ["Date,Production", *(line[:7] + line[10:] for line in LINES[1:])],
        ["Date,Production", *(line[:10] + " 01:00:00" + line[10:] for line in LINES[1:])],
        ["Note,Date,Production", *("x," + line for line in LINES[1:])],
        ["Note,Date,Production", *('"x\n,"" ",' + line for line in LINES[1:])],
        "\r".join(LINES).encode(),
    ],
    ids=[
        "BOM",
        "blank end",
        "spaces in header",
        "months",
        "times",
        "other columns",
        "quotes",
        "CR",
    ],
)
def test_other_spellings_of_the_same_series(tmp_path, content):
    assert read(tmp_path, content).tolist() == read_series(MILK_CSV, "Date", "Production").tolist()


@pytest.mark.parametrize(
    ("dates", "frequency"),
    [
        (["2024-01-31", "2024-02-29", "2024-03-31"], "ME"),
        (["2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01"], "D"),
        (["2024-02-29 22:00", "2024-02-29 23:00", "2024-03-01 00:00"], "h"),
    ],
)
def test_frequencies_are_inferred(tmp_path, dates, frequency):
    series = read(tmp_path, ["Date,Production", *(f"{date},1" for date in dates)])
    assert series.index.freqstr == frequency


def test_a_stated_frequency_and_format(tmp_path):
    content = ["Date,Production", "31.01.2024,1", "29.02.2024,2"]
    series = read(tmp_path, content, time_format="%d.%m.%Y", frequency="ME")
    assert series.index.freqstr == "ME"
    with pytest.raises(DataError, match="'often' is no frequency"):
        read(tmp_path, content, time_format="%d.%m.%Y", frequency="often")
    with pytest.raises(DataError, match="frequency D"):
        read(tmp_path, content, time_format="%d.%m.%Y", frequency="D")

    for stated in ("0D", "-1D"):
        with pytest.raises(DataError):
            read(tmp_path, content, time_format="%d.%m.%Y", frequency=stated)
    with pytest.raises(DataError, match="is no form of dates"):
        read(tmp_path, content, time_format="%d.%m.%Q")


def rows_of(dates):
    return ["Date,Production", *(f"{date},{n % 7}" for n, date in enumerate(dates))]


TRADING = [
    day for day in pd.bdate_range("2020-01-01", "2021-12-31") if (day.month, day.day) != (12, 25)
]
HOURS = {
    name: pd.date_range(start, periods=300, freq="h", tz="Europe/Berlin")
    for name, start in (("spring", "2024-03-25"), ("autumn", "2024-10-20"))
}
LOCAL = {name: [str(hour)[:19] for hour in hours] for name, hours in HOURS.items()}


@pytest.mark.parametrize(
    ("dates", "options", "frequency", "period"),
    [
        ([f"{year}Q{q}" for year in (1990, 1991, 1992) for q in (1, 2, 3, 4)], {}, "QS-JAN", 4),
        ([f"{year}-Q{q}" for year in (1990, 1991, 1992) for q in (1, 2, 3, 4)], {}, "QS-JAN", 4),
        ([day.date() for day in TRADING], {"frequency": "C"}, "C", 5),
        (pd.date_range("2024-01-01", periods=300, freq="15min"), {}, "15min", 96),
        (HOURS["spring"], {"time_zone": "Europe/Berlin"}, "h", 24),
        (HOURS["autumn"], {"time_zone": "UTC"}, "h", 24),
        (LOCAL["spring"], {"time_zone": "Europe/Berlin"}, "h", 24),
        (LOCAL["autumn"], {"time_zone": "Europe/Berlin"}, "h", 24),
    ],
)
def test_quarters_trading_days_quarter_hours_and_daylight_saving(
    tmp_path, dates, options, frequency, period
):
    series = read(tmp_path, rows_of(dates), **options)
    assert (len(series), series.index.freqstr) == (len(dates), frequency)
    season = season_of(series, per_day=True)
    assert season.period == period
    if frequency == "C":
        assert list(season.places) == [day.weekday() for day in series.index]
    if frequency == "h":
        assert list(season.places) == [hour.hour for hour in series.index]  # of the clock
    if "time_zone" in options:
        hours = HOURS["spring" if series.index[0].month < 6 else "autumn"]
        assert list(series.index.tz_convert("UTC")) == list(hours.tz_convert("UTC"))


@pytest.mark.parametrize(
    ("dates", "options", "message"),
    [
        ([day.date() for day in TRADING], {}, "pass frequency C where holidays are left out"),
        (HOURS["spring"], {}, "is in another time zone than .* pass time_zone"),
        (LOCAL["spring"], {}, "daylight saving need time_zone, such as Europe/Berlin"),
        (LOCAL["autumn"], {}, "repeats the date before it.*daylight saving need time_zone"),
        (LOCAL["autumn"], {"time_zone": "Mars/Olympus"}, "are no times of 'Mars/Olympus'"),
        (LOCAL["spring"], {"time_zone": "Europe/London"}, "are no times of 'Europe/London'"),
    ],
)
def test_what_cannot_be_read_so_is_told_with_the_option_that_helps(
    tmp_path, dates, options, message
):
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows_of(dates), **options)


def test_trading_days_in_a_time_zone(tmp_path):
    dates = [day.date() for day in TRADING]
    series = read(tmp_path, rows_of(dates), frequency="C", time_zone="Asia/Tokyo")
    assert (len(series), str(series.index.tz)) == (len(dates), "Asia/Tokyo")
