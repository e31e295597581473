import matplotlib.image
import numpy as np
import pandas as pd

from seqjax.forecast import plots


def colours(path):
    """How many colours of ink a picture has, white and greys apart."""
    pixels = matplotlib.image.imread(path)[..., :3].reshape(-1, 3)
    vivid = pixels[pixels.max(1) - pixels.min(1) > 0.3]
    return len({tuple(np.round(pixel, 1)) for pixel in vivid})


def test_curves_show_a_line_for_each_column(tmp_path):
    table = pd.DataFrame({"a": [1.0, 0.5, 0.0], "b": [np.nan, 2.0, 1.0]}, index=[1, 2, 3])
    words = {"title": "Errors", "x": "epoch", "y": "error", "log_y": True}
    plots.plot_curves(tmp_path / "two.png", table, **words)
    plots.plot_curves(tmp_path / "one.png", table[["a"]], **words)
    assert colours(tmp_path / "two.png") > colours(tmp_path / "one.png") > 0


def test_more_curves_than_colours_are_told_apart(tmp_path):
    table = pd.DataFrame(np.arange(1.0, 43.0).reshape(2, 21))
    plots.plot_curves(tmp_path / "many.png", table, title="t", x="x", y="y")
    assert (tmp_path / "many.png").stat().st_size > 10_000


def test_examples_show_every_forecast(tmp_path):
    inputs, actual = np.zeros((3, 20)), np.ones((3, 5))
    forecasts = {"one": actual + 0.5, "two": actual - 0.5}
    plots.plot_examples(tmp_path / "a.png", inputs, actual, forecasts, title="t")
    plots.plot_examples(tmp_path / "b.png", inputs, actual, {"one": actual + 0.5}, title="t")
    assert colours(tmp_path / "a.png") > colours(tmp_path / "b.png") > 0
