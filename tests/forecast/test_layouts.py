"""Tables as people have them: what a file says is what is read."""

import pandas as pd
import pytest
import tyro

from seqjax.data import DataError
from seqjax.forecast.files import read_beside, read_frame
from seqjax.forecast.options import Options

DAYS = pd.date_range("2024-01-29", periods=5)
HOURS = pd.date_range("2024-01-01T23", periods=3, freq="h")
MONTHS = pd.date_range("2019-01-01", periods=3, freq="MS")
QUARTERS = pd.date_range("2019-01-01", periods=3, freq="QS")
WEEKS = pd.DatetimeIndex(["2020-12-21", "2020-12-28", "2021-01-04"])


def read(tmp_path, lines, **how):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    table = read_frame(path, **how)
    frame = table.frame.assign(**({} if table.id_column in table.frame else {table.id_column: ""}))
    columns = [table.id_column, table.time_column, table.target_column]
    found = {(one, time): value for one, time, value in frame[columns].itertuples(index=False)}
    assert len(found) == len(frame)
    return found, " ".join(table.notes)


def table(header, times, values=("1", "2", "3"), mark=","):
    return [header, *(f"{time}{mark}{value}" for time, value in zip(times, values, strict=True))]


THREE = DAYS[:3].date
PARTS = [f"{day.year},{day.month},{day.day}" for day in THREE]
QUERY = [f"2024-01-01,{day},0,{k}" for k, day in enumerate(THREE, 1)]


@pytest.mark.parametrize(
    ("lines", "times", "said"),
    [
        (table("q,v", ["Q1 2019", "Q2 2019", "2019-Q3"]), QUARTERS, "'q' is taken for the time"),
        (table("m,v", ["2019M01", "2019M2", "2019-M03"]), MONTHS, "'m' is taken for the time"),
        (table("m,v", ["2019 Jan", "2019 Feb", "2019 März"]), MONTHS, "%Y %b"),
        (table("m;v", ["01.2019", "02.2019", "03.2019"], mark=";"), MONTHS, "%m.%Y"),
        (table("w,v", ["2020-W52", "2020-W53", "2021-W01"]), WEEKS, "'w' is taken for the time"),
        (table("week,v", ["202052", "202053", "202101"]), WEEKS, "years and weeks"),
        (table("date,v", [45320, 45321, 45322]), DAYS[:3], "Excel"),
        (table("time,v", [1704150000, 1704153600, 1704157200]), HOURS, "seconds since 1970"),
        (table("t,v", ["2024-01-01 23:00", "2024-01-01 24:00", "2024-01-02 01:00"]), HOURS, "'t'"),
        (table("Day,Clock,v", [f"{time:%Y-%m-%d,%H:%M}" for time in HOURS]), HOURS, "'Clock' are"),
        (table("Day,Hour,v", ["2024-01-01,23", "2024-01-02,0", "2024-01-02,1"]), HOURS, "'Hour' a"),
        (table("Year,Month,Day,v", PARTS), DAYS[:3], "'Day' are the time"),
        (["sep=;", *table("t;v", THREE, mark=";")], DAYS[:3], "'v' is taken for the target"),
        (
            ["By day", "", *table("t,v", THREE), "", "Source: us"],
            DAYS[:3],
            "line 1, above the table, is left out",
        ),
        (
            ["#a,b", *table("t,v", [f"{day}" for day in THREE]), "* late,"],
            DAYS[:3],
            "line 6, below",
        ),
        (["t,v", ",EUR", *table("", THREE, mark=",")[1:]], DAYS[:3], "line 2, below the header"),
        (["t,v", *(f"{day},{k},," for k, day in enumerate(THREE, 1)), ",,"], DAYS[:3], "'t'"),
        (["_start,t,n,_value", *QUERY], DAYS[:3], "'_value' is taken"),
        (["Jahr,Q1,Q2,Q3,Q4", "2019,1,2,3,"], QUARTERS, "parts of the years in column 'Jahr'"),
        (["Part,2018,2019,2020", "Jan,,1,", "Feb,,2,", "Mar,,3,"], MONTHS, "rows for parts"),
    ],
)
def test_times_and_what_stands_around_a_table(tmp_path, lines, times, said):
    found, notes = read(tmp_path, lines)
    assert found == {("", time): value for value, time in enumerate(times, 1)}
    assert said in notes


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (("12%", "-3 %", "n/a"), (12, -3)),
        (('"$1,200.50"', "-$3", ""), (1200.5, -3)),
        (("1.200,50 €", "3,25 €", "-"), (1200.5, 3.25)),
        (("(12.5)", "7-", ".."), (-12.5, -7)),
        (("1 200", "-3", "?"), (1200, -3)),
        (("1\u202f200.5", "1'000", "#N/A"), (1200.5, 1000)),
        (('"1,200,300"', '"3,000"', "NULL"), (1200300, 3000)),
    ],
)
def test_numbers_as_people_write_them(tmp_path, cells, values):
    mark = ";" if "€" in cells[0] else ","
    found, notes = read(tmp_path, table(f"t{mark}v", DAYS[:3].date, cells, mark))
    assert list(found.values())[:2] == list(values)
    assert pd.isna(found["", DAYS[2]])
    assert "column 'v': " in notes


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Country,Code,2001,2002,2003", "a,1,1,2,3", "b,1,4,..,6"], "each row for a series"),
        (["id,1. Jan 2001,1. Jan 2002,1. Jan 2003", "a,1,2,3", "b,4,,6"], "2003' are taken for t"),
        (["day,s_1,s_2", "2001,1,4", "2002,2,", "2003,3,6"], "2 series"),
        (["Seen", "", "k,id,2001,2002,2003", "x,a,1,2,3", "x,b,4,,6", "note,,,,"], "line 1, above"),
    ],
)
def test_wide_tables_become_long(tmp_path, lines, said):
    how = {"time_column": "day"} if "day" in lines[0] else {}
    found, notes = read(tmp_path, lines, **how)
    found = {(one, getattr(time, "year", time)): value for (one, time), value in found.items()}
    a, b = ("s_1", "s_2") if how else ("a", "b")
    assert {(one, int(year)): value for (one, year), value in found.items()} == {
        **{(a, 2001): 1, (a, 2002): 2, (a, 2003): 3},
        **{(b, 2001): 4, (b, 2003): 6},
    }
    assert said in notes


def test_series_in_columns_that_have_names_are_not_guessed(tmp_path):
    lines = ["day,north,south", "2024-01-29,1,3", "2024-01-30,2,4"]
    with pytest.raises(DataError, match=r"2 of the others hold numbers.*say --wide \(wide=True\)"):
        read(tmp_path, lines)
    found, notes = read(tmp_path, lines, wide=True)
    assert found == {
        **{("north", DAYS[0]): 1, ("north", DAYS[1]): 2},
        **{("south", DAYS[0]): 3, ("south", DAYS[1]): 4},
    }
    assert "'north' to 'south' are taken for 2 series" in notes


def test_several_columns_name_a_series(tmp_path):
    rows = [f"{store},{item},{day},1" for store in "ab" for item in (1, 2) for day in DAYS.date]
    lines = ["store,item,day,sales", *rows]
    with pytest.raises(DataError, match=r"told apart by --id-column store item \(id_column='store"):
        read(tmp_path, lines, target_column="sales")
    found, _ = read(tmp_path, lines, id_column="store/item", target_column="sales")
    assert {one for one, _ in found} == {"a/1", "a/2", "b/1", "b/2"}
    how = {"id_column": "store/item", "time_column": "day", "columns": ["sales"]}
    frame, _ = read_beside(tmp_path / "a.csv", **how)
    assert frame["store/item"].tolist() == [one for one, _ in found]
    options = tyro.cli(Options, args=["a.csv", "--id-column", "store", "item", "--wide"])
    assert (options.id_column, options.wide) == ("store/item", True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2024-01-29,1", "2024-01-30,2"], "line 1: there is no header, but data ('2024-01-29')"),
        (["t,v", "2024-01-29,1", "2024-01-30,2", "Total,3"], "line 4, column 't': 'Total' is not"),
        (["t,v", "2024-01-29,1", "2024-01-30,2 p"], "line 3, column 'v': '2 p' is not a number"),
        (["t,v", "2024-01-29,SKU 1", "2024-01-30,SKU 2"], "0 of the others hold numbers"),
        (["week,v", "202452,1", "202453,2"], "'202453' is no week: that year has 52"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, lines, message):
    with pytest.raises(DataError) as error:
        read(tmp_path, lines)
    assert message in str(error.value)


MANY = pd.date_range("2023-01-01", periods=202).date
PARTED = "year,month,day,hour,v"
STORES = "store,year,Q1,Q2,Q3,Q4"
WIDE, BY_STORE = {"wide": True}, {"id_column": "store"}


def marked(mark, cells):
    days = pd.date_range("2024-01-01", periods=len(cells.split())).date
    return table(f"t{mark}v", days, cells.split(), mark)


def beside(header, last, before=""):
    """A column whose last cell is of another kind than all that are looked at."""
    return [header, *(f"{day},1,2,{before}" for day in MANY[:-1]), f"{MANY[-1]},1,2,{last}"]


@pytest.mark.parametrize(
    ("lines", "how", "names", "ends", "said"),
    [
        (marked(",", "1.459 1.379 1.525 1.489 1.501 2 0"), {}, "", [1.459, 0], "'v' is taken"),
        (marked(";", "1.250 2.300 999 4.000 5.750 6.125"), {}, "", [1250, 6125], "dots that part"),
        (marked(";", "1.250 2.300 999 4.000 5.750 6.1"), {}, "", [1.25, 6.1], "'v' is taken"),
        (marked(";", "1,125 1,375 1,625 1,875 2,125 0 5"), {}, "", [1.125, 5], "decimal commas"),
        (beside("ds,n,s,e", 5), WIDE, "n s e", [1, 5], "'n' to 'e' are taken for 3 series"),
        (beside("ds,s_1,s_2,s_3", 5), {}, "s_1 s_2 s_3", [1, 5], "'s_3' are taken for 3 series"),
        ([",s_1,s_2", "2024-01-01,1,2"], {}, "s_1 s_2", [1, 2], "2 series"),
        (["ds,y,z", "2024-01-01,1,2"], WIDE, "y z", [1, 2], "2 series"),
        ([",ds,s_1,s_2", "7,2024-01-01,1,2"], {}, "s_1 s_2", [1, 2], "2 series"),
        ([STORES, "1,2020,1,2,3,4", "2,2021,5,6,7,8"], BY_STORE, "1 2", [1, 8], "parts of the y"),
        (
            table("year,candidates", [2000, 2001], [25000, 25031]),
            {},
            "",
            [25000, 25031],
            "'year' is",
        ),
        (
            ["unique_id,ds,y,time", "a,2024-01-01,1,8:00", "b,2024-01-01,2,9:00"],
            {},
            "a b",
            [1, 2],
            "",
        ),
        ([",country,2001,2002,2003", "0,fr,1,2,3", "1,de,4,5,6"], {}, "fr de", [1, 6], ""),
        (
            ["rank,c,2001,2002,2003", "1,fr,1,2,3", "2,de,4,5,6"],
            {},
            "fr de",
            [1, 6],
            "named by 'c'",
        ),
        (
            [PARTED, "2024,1,1,23,1", "2024,1,2,0,2", "2024,1,2,1,3"],
            {},
            "",
            [1, 3],
            "'hour' are th",
        ),
        (
            ["day,shop,v", "2024-01-01,a,1", "2024-01-02,b,2"],
            {},
            "",
            [1, 2],
            "not read: columns 's",
        ),
        (["Sales, by day", *marked(";", "1,5 2,5 3,5")], {}, "", [1.5, 3.5], "decimal commas were"),
    ],
)
def test_what_may_be_taken_for_something_else(tmp_path, lines, how, names, ends, said):
    found, notes = read(tmp_path, lines, **how)
    assert {str(one) for one, _ in found} == set(names.split() or [""])
    assert [*found.values()][:: len(found) - 1] == ends
    assert said in notes
    if lines[0] == PARTED:
        assert [time for _, time in found] == list(HOURS)


@pytest.mark.parametrize(
    ("lines", "how", "message"),
    [
        (
            marked(";", "1.125 1.375 1.625 1.875 2.125 0 5"),
            {},
            "line 2, column 'v': '1.125' may be",
        ),
        (
            marked(";", "990 995 998 1.002"),
            {},
            "may be thousands or decimals; write 1002, or 1.0020",
        ),
        (marked("\t", "900 950 1,000 1,050"), {}, "'1,000' may be thousands or decimals"),
        (beside("ds,n,s,e", "closed", "5"), WIDE, "line 203, column 'e': 'closed' is not a number"),
        (["unique_id,ds,x", "a,2024-01-01,1"], WIDE, "'unique_id' names the series of each row"),
        (["a,b,x", "2024-01-01,2024-01-02,1"], WIDE, "one column is of times, but 2 hold dates"),
        ([STORES, "1,2020,1,2,3,4", "2,2021,5,6,7,8"], {}, "say --id-column store (id_column='st"),
        (
            [STORES, "a,2020,1,2,3,4", "a,2020,5,6,7,8"],
            {},
            "line 3, column 'year': 2020 stands ther",
        ),
        (["c,2001,2002,2002,2003", "a,1,2,3,4"], {}, "line 1: 2 columns '2002'; the columns are"),
        (["ds,north,north,south", "2024-01-01,1,2,3"], WIDE, "line 1: 2 columns 'north'"),
        (beside("day,n,price,sales", 5), {}, "3 of the others hold numbers"),
        (
            ["t,v,price", "2001-01-01,1,2", "2001-01-02,x,2", "2001-01-03,3,2"],
            {},
            "2 of the others",
        ),
        (["t,v", "24/01/01,1", "24/01/02,2"], {}, "'%d/%m/%y' or '%y/%m/%d'"),
    ],
)
def test_what_may_be_two_things_is_refused(tmp_path, lines, how, message):
    with pytest.raises(DataError) as error:
        read(tmp_path, lines, **how)
    assert message in str(error.value)
