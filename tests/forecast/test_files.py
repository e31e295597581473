import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest

from seqjax.data import MILK_CSV, DataError
from seqjax.forecast.files import read_beside, read_frame
from seqjax.forecast.frames import panel_from_frame

LINES = ["unique_id,ds,y", "a,2024-01-01,1", "a,2024-01-02,2", "b,2024-01-01,", "b,2024-01-02,4.5"]


def write(tmp_path, content, name="sales.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else "\n".join(content).encode())
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_cells_parted_by(tmp_path, mark):
    table = read_frame(write(tmp_path, [line.replace(",", mark) for line in LINES]))
    assert table.frame.to_dict("list") == {
        "unique_id": ["a", "a", "b", "b"],
        "ds": list(pd.to_datetime(["2024-01-01", "2024-01-02"] * 2)),
        "y": [1.0, 2.0, pytest.approx(np.nan, nan_ok=True), 4.5],
    }
    assert table[1:] == ("unique_id", "ds", "y", "ISO8601", ())


def test_values_survive_a_file(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=200), "y": values})
    frame.to_csv(tmp_path / "a.csv", index=False)
    panel, _ = panel_from_frame(read_frame(tmp_path / "a.csv").frame)
    np.testing.assert_array_equal(panel.values, values)
    assert panel.grid.equals(pd.DatetimeIndex(frame["ds"]))


def test_columns_are_guessed_where_there_is_no_doubt(tmp_path):
    table = read_frame(MILK_CSV)
    assert (table.time_column, table.target_column, len(table.notes)) == ("Date", "Production", 2)
    shops = [",shop,day,sales", "0,b,2024-01-01,1", "1,a,2024-01-01,2", "2,a,2024-01-02,3"]
    table = read_frame(write(tmp_path, shops))
    assert table[1:4] == ("shop", "day", "sales")
    assert "the series are named by column 'shop' (--id-column)" in table.notes
    with pytest.raises(DataError, match=r"no column 'y', and 2 of the others hold numbers.*'x'"):
        read_frame(write(tmp_path, ["day,sales,x", "2024-01-01,1,2"]))


@pytest.mark.parametrize(
    ("times", "first"),
    [
        (("20240131", "20240229"), pd.Timestamp("2024-01-31")),
        (("202401", "202402"), pd.Timestamp("2024-01-01")),
        (("1962Q1", "1962Q2"), pd.Timestamp("1962-01-01")),
        (("2024-01-01T00:00Z", "2024-01-01T01:00Z"), pd.Timestamp("2024-01-01", tz="UTC")),
        # Across the night that clocks are put forward in.
        (("2024-03-31T00+01:00", "2024-03-31T03+02:00"), pd.Timestamp("2024-03-30T23", tz="UTC")),
        # Days: offsets that differ say nothing.
        (("2024-03-31T00+01:00", "2024-04-01T00+02:00"), pd.Timestamp("2024-03-31")),
        (("1/31/24 1:00 PM", "12/1/24 2:00 AM"), pd.Timestamp("2024-01-31T13")),
        (("31-12-2023", "01-01-2024"), pd.Timestamp("2023-12-31")),  # no offset of 20:24
        (("1961", "1962"), 1961),
        (("12024", "12025"), 12024),  # no months of the year 1202
    ],
)
def test_forms_of_times(tmp_path, times, first):
    table = read_frame(write(tmp_path, ["ds,y", *(f"{time},1" for time in times)]))
    assert table.frame["ds"].iloc[0] == first
    said = " ".join(table.notes)
    assert ("several offsets" in said) == ("+02:00" in times[1])
    assert ("taken to UTC" in said) == (times[1] == "2024-03-31T03+02:00")
    assert ("dates are read as %m/%d/%y %I:%M %p" in said) == ("PM" in times[0])


def test_files_beside_are_read_as_the_series_are(tmp_path):
    lines = ["shop;day;price;name", "007;01.02.2024;1,5;x", "7;02.02.2024;;y"]
    how = {"id_column": "shop", "time_column": "day", "columns": ["price"]}
    how["time_format"] = "%d.%m.%Y"
    path = write(tmp_path, lines)
    frame, notes = read_beside(path, **how, texts=True)
    assert frame.to_dict("list") == {
        "shop": ["007", "7"],
        "day": [pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-02")],
        "price": [1.5, pytest.approx(np.nan, nan_ok=True)],
    }
    assert notes == ("sales.csv: column 'price': decimal commas were read",)
    with pytest.raises(DataError, match=r"sales.csv: line 2, column 'name': 'x' is not a number"):
        read_beside(path, **how | {"columns": ["name"]})
    with pytest.raises(DataError, match=r"no column 'prices'.*Did you mean 'price'"):
        read_beside(path, **how | {"columns": ["prices"]})
    with pytest.raises(DataError, match=r"no column 'id'; the columns are 'shop', 'day', 'price'"):
        read_beside(path, **how | {"id_column": "id", "needed": ["id"]})
    # None is of the form told.
    frame, notes = read_beside(write(tmp_path, ["day,price", "2024-02-01,1.5"]), **how)
    assert frame["day"].tolist() == [pd.Timestamp("2024-02-01")]
    assert notes == ("sales.csv: column 'day': dates are read as ISO8601, not %d.%m.%Y",)
    path = write(tmp_path, ["size", "3"])
    assert read_beside(path, **how | {"columns": ["size"]})[0]["size"].tolist() == [3]


def test_marks_of_thousands_where_a_number_tells(tmp_path):
    for mark, *numbers in ((";", "1.234,5", "1.500", "0,500"), ("|", "1,234.5", "1,500", "5e-1")):
        rows = [f"{day}{mark}{number}" for day, number in enumerate(numbers)]
        path = write(tmp_path, [f"time, in days{mark}y", *rows])
        path.write_text(path.read_text().replace("time, in days", '"time, in days"'))
        table = read_frame(path, time_column="time, in days")
        assert table.frame["y"].tolist() == [1234.5, 1500.0, 0.5]
        assert "comma" in table.notes[0]


def test_names_of_series(tmp_path):
    rows = ["unique_id,ds,y", "10,1,1", "9,1,2"]
    assert panel_from_frame(read_frame(write(tmp_path, rows)).frame)[0].ids.tolist() == [9, 10]
    rows = ["unique_id,ds,y", "010,1,1", "9,1,2"]
    assert read_frame(write(tmp_path, rows)).frame["unique_id"].tolist() == ["010", "9"]


def test_options(tmp_path):
    lines = ["t;v;open;zone", "31.12.2023;1,5;true;x", "01.01.2024;NA;false;y"]
    table = read_frame(
        write(tmp_path, lines),
        time_column="t",
        target_column="v",
        time_format="%d.%m.%Y",
        covariates=["open"],
    )
    assert list(table.frame) == ["t", "v", "open"]  # times differ: 'zone' names no series
    assert table.frame["v"].iloc[0] == 1.5
    assert table.frame["open"].tolist() == [1.0, 0.0]
    assert table.notes == ("not read: columns 'zone'", "column 'v': decimal commas were read")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([*LINES[:2], "a,2024-01-02,x"], "line 3, column 'y': 'x' is not a number; write 1234.5"),
        ([*LINES[:2], "a,2024-01-02,1.234,5"], "line 3: 4 cell(s) where the header has 3"),
        ([*LINES[:2], '"a\nb",2024-01-02,inf'], "line 4, column 'y': 'inf' is not a number"),
        ([*LINES[:2], "", "a,2024-01-02,1e999"], "line 4, column 'y': '1e999' is not finite"),
        ([*LINES[:2], "a,2024-01-02"], "line 3: 2 cell(s) where the header has 3; column 'y'"),
        ([*LINES[:2], "a,2024-13-02,1"], "line 3, column 'ds': '2024-13-02' is not an ISO 8601"),
        ([*LINES[:2], "a,,1"], "line 3, column 'ds': the time is missing"),
        (["ds,y", "31/12/2023,1", "NA,1"], "line 3, column 'ds': the time is missing"),
        (["ds,y", "Dec-75,1", "Jan-60,1"], "line 2, column 'ds': 'Dec-75' is not an ISO 8601"),
        ([*LINES[:2], ",2024-01-02,1"], "line 3, column 'unique_id': the series' name is missing"),
        ([*LINES[:2], 'a,2024-01-02,"1'], "line 3: not a regular CSV: a quote is never closed"),
        (["ds,y", "03/01/2024,1"], "the dates fit '%d/%m/%Y' or '%m/%d/%Y': pass that as time_f"),
        (["ds;y", "1;999,5", "2;1.234"], "line 3, column 'y': '1.234' may be thousands or decimal"),
        (["ds;y", "1;1.999,5", "2;1.5"], "line 3, column 'y': '1.5' is not a number"),
        (["ds;y", "1;1.999,5", "2;0.500"], "line 3, column 'y': '0.500' is not a number"),
        (["ds,y", "2024-01-01T00+01:00,1", "2024-01-02T00,1"], "line 3, column 'ds': '2024"),
        (["ds,yy", "2024-01-01,x"], "line 1: no column 'y', and 0 of the others hold numbers"),
        (["ds,y,y", "2024-01-01,1,1"], "line 1: 2 columns 'y'; the columns are 'ds', 'y', 'y'"),
        (LINES[:1], "there is a header but no data"),
        (b"", "the file is empty"),
        (b"ds,y\n2024-01-01,\xff", "line 2, column 'y': byte 0xff is not UTF-8"),
        (b"ds,y\n2024-01-01,\0", "line 2, column 'y': a NUL byte"),
    ],
)
def test_errors_name_line_and_column(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as error:
        read_frame(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_later_errors_name_the_line_too(tmp_path):
    path = write(tmp_path, [*LINES, "b,2024-01-02,5"])
    with pytest.raises(DataError, match=r"sales.csv: line 6, column 'ds': series 'b' at 2024-01-0"):
        panel_from_frame(read_frame(path).frame)
    with pytest.raises(DataError, match=r"no column 'yy'; the columns are .*Did you mean 'y'"):
        read_frame(path, target_column="yy")
    with pytest.raises(DataError, match="there is no such file"):
        read_frame(tmp_path / "none.csv")


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    frame = read_frame(write(tmp_path, LINES)).frame.reset_index(drop=True)
    if importlib.util.find_spec("pyarrow") is not None:
        frame.to_parquet(path)
        table = read_frame(path)
        found, expected = panel_from_frame(table.frame)[0], panel_from_frame(frame)[0]
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.grid.equals(expected.grid)
        frame.assign(ds=frame["ds"].dt.date).to_parquet(path)  # dates without a time
        assert read_frame(path).frame["ds"].tolist() == frame["ds"].tolist()
        for form in ("%Y%m%d", "%Y%m"):  # whole numbers are the dates that they are in a CSV
            months = pd.date_range("2023-11-01", periods=4, freq="MS")
            pd.DataFrame({"date": months.strftime(form).astype(int), "y": 1}).to_parquet(path)
            table = read_frame(path, time_column="date")
            assert table.frame["date"].tolist() == months.tolist()
            assert "whole numbers such as 202311" in table.notes[0]
    path.write_bytes(b"no Parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"a.parquet: Parquet needs pyarrow: pip install pyarrow"):
        read_frame(path)
