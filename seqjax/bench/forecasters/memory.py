"""The memory of `seqjax.forecast` on a panel that is made in place, as `seqjax.bench` asks it."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from seqjax.forecast import Forecaster


def frame_of(series: int, length: int) -> pd.DataFrame:
    """Daily series with a week's season and noise, 20 bytes a row, hardly more on the way."""
    codes = np.repeat(np.arange(series, dtype=np.int32), length)
    names = [f"s{number:07d}" for number in range(series)]
    days = pd.date_range("2020-01-01", periods=length, freq="D").to_numpy()
    values = np.random.default_rng(0).standard_normal(series * length)
    values.reshape(series, length)[:] += 10 + 3 * np.sin(np.arange(length) * 2 * np.pi / 7)
    columns = {
        "unique_id": pd.Categorical.from_codes(codes, names),  # pyright: ignore[reportArgumentType]
        "ds": np.tile(days, series),
        "y": values,
    }
    return pd.DataFrame(columns, copy=False)


def peak() -> int:
    """Bytes of this process that were resident at once, at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(request: dict) -> dict:
    """Fit and forecast a panel: bytes and seconds."""
    start = peak()  # of Python and the libraries
    frame = frame_of(request["series"], request["length"])
    found = {"libraries": start, "frame": int(frame.memory_usage(deep=False).sum())}
    begun = time.perf_counter()
    model = Forecaster(request["model"].lower(), horizon=request["horizon"], **request["settings"])
    model.fit(frame)
    forecasts = model.predict(level=[80, 95])
    seconds = time.perf_counter() - begun
    assert len(forecasts) == request["series"] * request["horizon"]
    return found | {"peak": peak(), "seconds": seconds, "steps": model.settings.steps}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
