"""What follows from the data where it is not given."""

import numpy as np
import pytest

from seqjax.forecast.panel import panel_of
from seqjax.forecast.settings import FEWEST_STEPS, MOST_READ, PASSES, Settings, resolved


def panel(series: int, length: int):
    return panel_of({str(i): np.ones(length) for i in range(series)})


@pytest.mark.parametrize(
    ("seasons", "window"), [((24, 168), 72), ((52,), 104), ((104,), 104), ((365,), 24), ((), 24)]
)
def test_a_window_is_three_of_the_shortest_season_or_fewer(seasons, window):
    found = resolved(Settings("gru", 14, seasons), panel(3, 600))
    assert found.window == window
    assert found.read == window + max(seasons, default=1) - 1 <= found.history
    short = resolved(Settings("gru", 14, seasons), panel(3, 40))
    assert short.window <= 40 - 14
    assert all(one < 40 for one in short.seasons)


def test_little_data_are_read_few_times_and_much_data_within_a_bound():
    one, some, many = (
        resolved(Settings("gru", 6, (12,)), panel(count, 128)) for count in (1, 40, 4000)
    )
    assert one.steps == FEWEST_STEPS
    assert some.steps * some.batch_size == PASSES * 40 * 128
    assert many.steps == MOST_READ // many.window
    assert resolved(Settings("gru", 6, steps=7, learning_rate=1.0), panel(1, 20)).steps == 7
    rates = [resolved(Settings(name, 6), panel(1, 20)).learning_rate for name in ("linear", "gru")]
    assert rates[0] < rates[1]
