"""`seqjax.forecast`, as `seqjax.bench.forecasting` runs it."""

import json
import sys
import time
from pathlib import Path

import jax
import pandas as pd

from seqjax.forecast import Forecaster
from seqjax.storage.versions import version


def main(path: Path) -> None:
    """Fit a forecaster with its defaults, forecast, write."""
    request = json.loads(path.read_text())
    frame = pd.read_csv(request["train"], parse_dates=["ds"])
    model = Forecaster(
        request["model"].lower(),
        horizon=request["horizon"],
        freq=request["freq"],
        seed=request["seed"],
        **request["settings"],
    )
    begun, busy = time.perf_counter(), time.process_time()
    model.fit(frame)
    fitted = time.perf_counter()
    found = model.predict()
    forecast, done = time.perf_counter(), time.process_time()
    found = found.rename(columns={model.name: "forecast"})
    found[["unique_id", "ds", "forecast"]].to_csv(request["forecasts"], index=False)
    assert model._trained is not None
    params = jax.tree.leaves(model._trained.params)
    names = ("seasons", "window", "steps", "batch_size", "seeds", "learning_rate")
    answer = {
        "fit": fitted - begun,
        "predict": forecast - fitted,
        "processors": done - busy,  # seconds of them
        "parameters": sum(one.size for one in params),
        "settings": {name: getattr(model.settings, name) for name in names},
        "versions": {name: version(name) for name in ("seqjax", "jax")},
    }
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
