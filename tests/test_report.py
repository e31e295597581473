import io
import math

from rich.console import Console

from seqjax.report import Row, print_table

ROWS = [
    Row("net", "model", "test", "rmse", (3.0, 5.0), 1, 1234),
    Row("net", "model", "test", "mae", (2.0, 2.0), 1, 1234),
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
