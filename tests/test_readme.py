"""The Python of the README and of the docs runs as it stands."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent


def names_of(page, blocks):
    found = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert len(found) == blocks
    names = {}
    for block in found:
        exec(compile(block, str(page), "exec"), names)
    return names, found


def test_the_examples_of_the_readme():
    names, _ = names_of(ROOT / "README.md", 2)
    assert names["future"].shape == (10, 5)
    assert names["y"].shape == (16, 100, 32)


def test_the_examples_of_the_library_run_one_after_the_other(capsys):
    names, _ = names_of(ROOT / "docs" / "library.md", 9)
    assert names["y"].shape == (16, 100, 1)
    assert names["error"] < 47.34  # the last value's
    assert names["forecasts"].shape == (7, 1)


def test_the_examples_of_the_experiments():
    """Those that need no finished run."""
    names, _ = names_of(ROOT / "docs" / "digits.md", 1)
    assert names["logits"].shape == (8, 5)
    names, _ = names_of(ROOT / "docs" / "caption_digits.md", 1)
    assert names["found"].tokens.shape == (8, 4, 11)


def test_the_examples_of_training(capsys):
    names, blocks = names_of(ROOT / "docs" / "training.md", 4)
    assert names["accuracy"] > 0.9
    assert names["bits"] < 3.5  # of 8; 4.4 by the frequencies alone
    np.testing.assert_allclose(names["fitted"].params, np.arange(16), atol=0.05)
    assert all(len(block.splitlines()) <= 26 for block in blocks)


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
