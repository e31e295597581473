"""The README's Python runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_examples_run_one_after_the_other(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 9
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["y"].shape == (16, 100, 1)
    assert names["error"] < 47.34  # the last value's
    assert names["forecasts"].shape == (7, 1)
