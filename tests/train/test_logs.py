import io
import json

import pytest
from rich.console import Console

from seqjax.train import CheckpointError, MetricsLog, Progress


def test_rewinding_drops_own_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    other, mine = MetricsLog(path, seed=0), MetricsLog(path, seed=1)
    other.write({"step": 9, "loss": 0.5})
    for step in (3, 6):
        mine.write({"step": step, "loss": 1 / step})
    with path.open("a") as file:
        file.write('{"seed": 1, "step": 9, "lo')
    assert [line["step"] for line in mine.rewind(3)] == [3]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["seed"], line["step"]) for line in lines] == [(0, 9), (1, 3)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"3",
        b"[1]",
        b"{",
        b'{"loss": 1}',
        b'{"step": "1"}',
        b'{"step": NaN}',
        b"\xff\0",
        b"[" * 99999,
    ],
)
def test_a_line_of_something_else_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    log = MetricsLog(path)
    for read in (log.holds_lines, lambda: log.rewind(1)):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: line 2 is no"):
            read()
    path.write_bytes(b'{"step": 1}\n' + line[:1])  # but a kill may tear the last
    assert log.rewind(1) == [{"step": 1}]


def test_a_line_holds_what_was_logged(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsLog(str(path), seed=1).write({"step": 3, "loss": 0.1})
    assert path.read_text() == '{"seed": 1, "step": 3, "loss": 0.1}\n'


def test_one_plain_line_an_epoch_where_there_is_no_terminal():
    out = io.StringIO()
    with Progress("seed 0", 2, console=Console(file=out)) as progress:
        progress.epoch(1, {"loss": 0.25, "validation loss": 0.5}, 123.4)
        progress.epoch(2, {"loss": 0.125, "validation loss": 0.5}, 123.4)
    assert out.getvalue().splitlines() == [
        "seed 0 epoch 1/2 loss 0.25 validation loss 0.5 123 steps/s",
        "seed 0 epoch 2/2 loss 0.125 validation loss 0.5 123 steps/s",
    ]


def test_a_bar_on_a_terminal():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=140)
    with Progress("seed 0", 2, console=console) as progress:
        progress.epoch(2, {"loss": 0.25}, 123.4)
    text = out.getvalue()
    for part in ("seed 0", "2/2", "loss 0.25", "123 steps/s"):
        assert part in text
