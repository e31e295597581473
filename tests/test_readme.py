"""The Python of the README, of the docs and of the notebooks runs as it stands."""

import ast
import contextlib
import io
import json
import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")]

# Pages of which every block needs what a test has not; their blocks parse.
FRAGMENTS = {
    "char_lm.md": "a finished run, and a text",
    "gpu-kernels.md": "a GPU",
    "music.md": "a finished run",
    "scaling.md": "eight devices",
    "sentences.md": "a finished run",
    "tones.md": "a finished run, and a recording",
}


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


EXAMPLES = {page.name: page for page in sorted(PAGES) if blocks_of(page)}


def check_readme(names):
    assert len(names["future"]) == 10
    assert {"unique_id", "ds", "GRU", "GRU-lo-80", "GRU-hi-80"} < set(names["future"])
    assert names["y"].shape == (16, 100, 32)


def check_start(names):
    assert names["error"] < 0.03  # the last value's is 0.05 and more
    guess = names["model"].apply(names["done"].params, names["x"][:1])
    np.testing.assert_allclose(names["guess"], guess, atol=1e-5)


def check_library(names):
    assert names["y"].shape == (16, 100, 1)
    assert names["error"] < 47.34  # the last value's


def check_training(names):
    assert names["accuracy"] > 0.9
    assert names["bits"] < 3.5  # of 8; 4.4 by the frequencies alone
    np.testing.assert_allclose(names["fitted"].params, np.arange(16), atol=0.05)


def check_data(names):
    assert names["accuracy"] > 0.9
    assert {"lengths", "label"} < names["parts"][1].keys()


def check_cell(names):
    """By its equations, step by step."""
    x, y = np.asarray(names["x"][0]), np.asarray(names["y"][0])
    kernel, recurrent, bias = (np.asarray(leaf) for leaf in names["params"])
    h = np.zeros(8)
    for t, x_t in enumerate(x[::-1]):
        z, r = x_t @ kernel + bias, h @ recurrent
        f = 1 / (1 + np.exp(-z[:8] - r[:8]))
        h = (1 - f) * h + f * np.tanh(z[8:] + f * r[8:])
        np.testing.assert_allclose(y[t], h, atol=1e-5)
    assert names["out"].shape == (4, 20, 1)


def check_devices(names):
    assert names["apart"] < 1e-5
    assert names["seeds"].keys() == set(range(4))


def check_resuming(names):
    assert names["same"]
    assert "resume" in names["message"] or "saved" in names["message"]


def check_exporting(names):
    assert names["forecasts"].shape == names["same"].shape == (7, 1)
    assert len(names["future"]) == 7


def check_newton(names):
    loop = names["ops"].gru(names["params"], names["x"])
    np.testing.assert_allclose(names["y"], loop, atol=1e-4)
    assert not names["solution"].fallbacks.any()


CHECKS = {
    "README.md": check_readme,
    "start.md": check_start,
    "library.md": check_library,
    "training.md": check_training,
    "data.md": check_data,
    "cell.md": check_cell,
    "newton.md": check_newton,
    "devices.md": check_devices,
    "resuming.md": check_resuming,
    "exporting.md": check_exporting,
    "forecast.md": lambda names: len(names["future"]) == 7,
    "digits.md": lambda names: names["logits"].shape == (8, 5),
    "caption_digits.md": lambda names: names["found"].tokens.shape == (8, 4, 11),
    "translate_dates.md": lambda names: names["words"] == ["drei", "vier", "fünf", "sechs"],
}


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - FRAGMENTS.keys()))
def test_the_examples_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks_of(EXAMPLES[name]):
        assert len(block.splitlines()) <= 30
        exec(compile(block, name, "exec"), names)
    if name in CHECKS:
        assert CHECKS[name](names) in (None, True)


def test_fragments_are_python_and_every_page_is_known():
    assert FRAGMENTS.keys() | CHECKS.keys() <= EXAMPLES.keys()
    for name in FRAGMENTS:
        for block in blocks_of(EXAMPLES[name]):
            ast.parse(block)


def check_chapter15(names):
    errors = names["errors"]
    assert errors["linear, least squares"] < errors["last value"]
    assert all(errors[name] < errors["last value"] for name in names["networks"])
    short, long = (names["lags"][name][25:].sum() for name in ("SimpleRNN", "LSTM"))
    assert short > 0
    assert long > 0


def check_milk(names):
    errors = names["errors"]
    assert errors["seasonal LSTM"] < 5 < errors["last value"]
    assert np.isfinite(errors["textbook LSTM"])
    assert len(names["future"]) == 24


@pytest.mark.parametrize("check", [check_chapter15, check_milk])
def test_a_notebook_runs_and_shows_what_it_did(check, monkeypatch):
    """Cell by cell, without a kernel, a tenth of the training; what is stored came from all."""
    path = DOCS / "notebooks" / f"{check.__name__.removeprefix('check_')}.ipynb"
    assert path.stat().st_size < 300_000
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    matplotlib.use("Agg")
    names = {}
    for cell in cells:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            source = re.sub(
                r"(epochs|steps)=(\d+)",
                lambda found: f"{found[1]}={int(found[2]) // 10}",
                "".join(cell["source"]),
            )
            exec(compile(source, path.name, "exec"), names)
        stored = [output for output in cell["outputs"] if output["output_type"] == "stream"]
        text = "".join(line for output in stored for line in output["text"])
        # The same words; figures are those of another machine.
        was, is_now = (
            sorted(re.findall(r"[a-z]+", one.lower())) for one in (text, printed.getvalue())
        )
        assert was == is_now
        pictures = [output for output in cell["outputs"] if "image/png" in output.get("data", {})]
        assert len(pictures) == len(plt.get_fignums())
        plt.close("all")
    check(names)


def test_links_lead_somewhere():
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
