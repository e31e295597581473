import jax
import numpy as np

from seqjax.forecast.arrays import place, scales, windows_at
from seqjax.forecast.fitting import _drawing
from seqjax.forecast.panel import Panel, panel_of
from seqjax.forecast.settings import Settings


def a_panel() -> Panel:
    series = {"a": np.arange(10.0) ** 2, "b": [5.0, np.nan, 7.0], "c": np.full(6, 3.0)}
    panel = panel_of(series)
    columns = np.arange(len(panel.values), dtype=np.float32)[:, None]
    return panel._replace(past=columns, known=-columns, static=np.eye(3, dtype=np.float32))


def around(panel: Panel, series: int, last: int, history: int, horizon: int) -> np.ndarray:
    """By definition: what stands there, NaN outside of the series."""
    steps = np.arange(last - history + 1, last + horizon + 1)
    inside = (steps >= panel.starts[series]) & (steps < panel.stops[series])
    found = np.full(len(steps), np.nan)
    found[inside] = panel.values[steps[inside]]
    return found


def test_windows_are_what_stands_around_them():
    panel = a_panel()
    shift, width = scales(panel)
    calendar = np.arange(12.0)[:, None]
    arrays = place(panel, calendar)
    series, last = np.array([0, 0, 1, 2]), np.array([4, 9, 11, 13])
    windows, targets = windows_at(arrays, series, last, 4, 3)
    jax.tree.map(  # NumPy's, and those of a program
        np.testing.assert_array_equal,
        (windows, targets),
        jax.jit(windows_at, static_argnums=(3, 4))(arrays, series, last, 4, 3),
    )
    for row, (one, end) in enumerate(zip(series, last, strict=True)):
        expected = (around(panel, one, end, 4, 3) - shift[one]) / width[one]
        found = np.concatenate([windows.history[row], targets[row]])
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    # The times and covariates of each step, of those outside the nearest within.
    assert windows.ahead[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert windows.ahead[2, :, 0].tolist() == [0, 0, 0, 1, 2, 3, 4]
    assert windows.ahead[0, :, 1].tolist() == [-1, -2, -3, -4, -5, -6, -7]
    assert windows.past[1, :, 0].tolist() == [6, 7, 8, 9]
    assert windows.static.tolist() == np.eye(3)[series].tolist()


def test_the_last_steps_alone_give_the_same_forecasts():
    panel, calendar = a_panel(), np.arange(12.0)[:, None]
    series = np.arange(3)
    future = np.full((3, 2, 1), 0.5, np.float32)
    whole = place(panel, calendar)
    tail = place(panel, calendar, room=(4, 2), future=future)
    expected, _ = windows_at(whole, series, whole.stops - 1, 4, 2)
    found, targets = windows_at(tail, series, tail.stops - 1, 4, 2)
    np.testing.assert_array_equal(found.history, expected.history)
    np.testing.assert_array_equal(found.past, expected.past)
    np.testing.assert_array_equal(found.ahead[..., 0], expected.ahead[..., 0])
    np.testing.assert_array_equal(found.ahead[:, :4, 1], expected.ahead[:, :4, 1])
    assert (found.ahead[:, 4:, 1] == 0.5).all()  # the future's, and not the next series'
    assert np.isnan(targets).all()


def test_nothing_is_read_behind_a_cut():
    panel = a_panel()
    spoilt = panel._replace(values=np.where(np.arange(19) % 10 > 6, 1e30, panel.values))
    stops = panel.starts + 2
    cuts = [place(one._replace(stops=stops), np.zeros((12, 0))) for one in (panel, spoilt)]
    for first, second in zip(*cuts, strict=True):
        np.testing.assert_array_equal(first, second)


def test_counts_stay_where_zero_is():
    arrays = place(panel_of({"a": [0.0, 3.0, 4.0, 5.0]}), np.zeros((4, 0)), centred=False)
    assert float(arrays.shift[0]) == 0
    assert float(arrays.values[0]) == 0


def test_a_batch_needs_the_memory_of_its_windows_however_long_the_series():
    """What the compiled program takes besides its arguments."""
    arrays = place(panel_of({"a": np.arange(100.0), "b": np.arange(50.0)}), np.zeros((100, 1)))
    plan, batch = _drawing(Settings("gru", 4, (7,), window=12), 3)

    def drawn(arrays, key):
        return batch(arrays, jax.tree.map(lambda rows: rows[0], plan(arrays, key)))

    def temporary(times):
        def longer(name, one):
            shape = (one.shape[0] * times, *one.shape[1:]) if name in grown else one.shape
            return jax.ShapeDtypeStruct(shape, one.dtype)

        grown = ("values", "calendar", "past", "known")
        shapes = arrays._replace(**{n: longer(n, one) for n, one in arrays._asdict().items()})
        compiled = jax.jit(drawn).lower(shapes, jax.random.key(0)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(1000) == temporary(1) > 0
