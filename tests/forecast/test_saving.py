import datetime
import json

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.frequencies import to_offset

from seqjax.data import DataError
from seqjax.forecast import Forecaster, saving

HOLIDAYS = pd.offsets.CustomBusinessDay(holidays=["2024-01-01"])


@pytest.mark.parametrize(
    "freq",
    [
        *("MS", pd.offsets.MonthEnd(2), 2 * pd.DateOffset(months=1), pd.DateOffset(hours=36)),
        *(pd.Timedelta("90min"), datetime.timedelta(hours=36), pd.offsets.CustomBusinessDay()),
    ],
)
def test_a_frequency_comes_back(freq):
    saved = json.loads(json.dumps(saving.freq_to_json(freq)))
    assert to_offset(saving.freq_from_json(saved)) == to_offset(freq)


def test_steps_and_none_come_back():
    for freq in (None, 2, np.int64(2)):
        assert saving.freq_from_json(json.loads(json.dumps(saving.freq_to_json(freq)))) == freq


@pytest.mark.parametrize("freq", [HOLIDAYS, pd.offsets.MonthEnd(normalize=True)])
def test_what_could_not_be_saved_is_told_before_training(freq):
    times = pd.date_range("2024-01-02", periods=30, freq=freq)
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": np.arange(30.0)})
    with pytest.raises(DataError, match="cannot be saved, as no alias of pandas tells all of it"):
        Forecaster("linear", horizon=3, freq=freq).fit(frame)
