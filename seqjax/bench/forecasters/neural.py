"""neuralforecast in an environment of its own; see `seqjax.bench.forecasting`."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd


def main(path: Path) -> None:
    """Fit one of its models with its own defaults, forecast, write."""
    request = json.loads(path.read_text())
    import neuralforecast as core
    import torch
    from neuralforecast import models

    torch.set_num_threads(request["threads"])
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    frame = pd.read_csv(request["train"], parse_dates=["ds"])
    folder = path.parent
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "default_root_dir": str(folder),
    }
    model = getattr(models, request["model"])(
        h=request["horizon"], random_seed=request["seed"] + 1, **request["settings"], **quiet
    )
    whole = core.NeuralForecast(models=[model], freq=request["freq"])
    begun, busy = time.perf_counter(), time.process_time()
    whole.fit(frame)
    fitted = time.perf_counter()
    found = whole.predict()
    forecast, done = time.perf_counter(), time.process_time()
    found = found.rename(columns={request["model"]: "forecast"})
    found[["unique_id", "ds", "forecast"]].to_csv(request["forecasts"], index=False)
    answer = {
        "fit": fitted - begun,
        "predict": forecast - fitted,
        "processors": done - busy,  # seconds of them
        "parameters": sum(one.numel() for one in model.parameters()),
        "settings": {
            name: model.hparams.get(name)
            for name in ("max_steps", "batch_size", "windows_batch_size", "learning_rate")
        }
        | {"input_size": model.input_size},
        "versions": {"neuralforecast": core.__version__, "torch": torch.__version__},
    }
    Path(request["answer"]).write_text(json.dumps(answer, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
