import io
import math

import pytest
from rich.console import Console

from seqjax.report import Row, print_table, table_of

ROWS = [
    Row("net", "model", "test", "rmse", (3.0, 5.0), 1, 1234, 61.2),
    Row("net", "model", "test", "mae", (2.0, 2.0), 1, 1234, 61.2),
    Row("naive, y[t-12]", "baseline", "test", "rmse", (1.5,), 1),
]


def test_a_row_in_json():
    row = ROWS[0].as_json()
    assert row["mean"] == 4.0
    assert row["sd"] == math.sqrt(2)
    assert row["seeds"] == [3.0, 5.0]
    assert ROWS[2].as_json()["sd"] is None
    assert set(row) == {
        "model", "kind", "split", "metric", "horizon", "mean", "sd", "seeds", "parameters",
        "seconds",
    }  # fmt: skip


def test_a_network_that_loses_is_seen_to_lose():
    out = io.StringIO()
    print_table(ROWS, title="t", unit="pounds", console=Console(file=out, width=100))
    text = out.getvalue()
    assert text.index("naive, y[t-12]") < text.index("net")
    assert "4.00 ± 1.41" in text
    assert "1,234" in text


@pytest.mark.parametrize(
    ("best", "lines"),
    [
        ("lowest", ["naive, y\\[t-12]", "net", "late"]),
        ("highest", ["net", "naive, y\\[t-12]", "late"]),
        (None, ["late", "net", "naive, y\\[t-12]"]),
    ],
)
def test_the_best_stands_first_and_what_has_no_figure_last(best, lines):
    rows = [Row("late", "published", "test", "mae", (0.5,), seconds=2.0), *ROWS]
    rows.append(Row("late", "published", "test", "mape", (7.0,), seconds=3.0))
    cells = [(row.model, row.metric, row) for row in rows]
    found = table_of(cells, ["rmse", "mae"], corner="%", best=best)
    columns = {str(column.header): list(column.cells) for column in found.columns}
    assert list(columns) == ["%", "rmse", "mae", "parameters", "s/seed"]
    assert columns["%"] == lines
    net, late = lines.index("net"), lines.index("late")
    assert (columns["rmse"][net], columns["mae"][net]) == ("4.0 ± 1.4", "2.0 ± 0.0")
    assert (columns["rmse"][late], columns["mae"][late]) == ("", "0.5")
    assert (columns["s/seed"][net], columns["s/seed"][late]) == ("61", "2 / 3")  # each once
    assert [row.style for row in found.rows].index("bold") == net
