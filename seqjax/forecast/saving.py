"""A trained forecaster in a folder: settings as JSON, everything else as arrays by name."""

import dataclasses
import io
import json
import zipfile
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from seqjax.data import DataError
from seqjax.forecast.network import Sizes, network_of
from seqjax.forecast.panel import Panel
from seqjax.forecast.settings import Settings
from seqjax.forecast.trained import Covariates, Trained, sizes_of
from seqjax.io.trees import named_leaves, nested
from seqjax.storage.files import on_disk, write_atomically, write_json

FORMAT = 3  # raised with every change of the network, whose parameters would mean something else
SETTINGS, ARRAYS = "forecaster.json", "arrays.npz"
_PANEL = ("starts", "stops", "origins", "values", "past", "known", "static")


def save(folder: Path, trained: Trained, tail: Panel, more: dict[str, Any]) -> None:
    """Write a forecaster, the arrays first: without its settings there is none.

    Args:
        folder: made where it does not exist.
        trained: the forecaster.
        tail: what is kept of the series, to forecast from.
        more: JSON.
    """
    on_disk(folder).mkdir(parents=True, exist_ok=True)
    arrays = {f"panel/{name}": getattr(tail, name) for name in _PANEL}
    arrays |= {f"covariates/{name}": one for name, one in trained.covariates._asdict().items()}
    arrays["residuals"] = trained.residuals
    if trained.exceedances is not None:
        arrays["exceedances"] = trained.exceedances
    for number, params in enumerate(trained.params):
        leaves, _ = named_leaves(params)
        arrays |= {f"params/{number}/{name}": np.asarray(one) for name, one in leaves.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(folder / ARRAYS, buffer.getvalue())
    write_json(
        folder / SETTINGS,
        {
            "format": FORMAT,
            "settings": dataclasses.asdict(trained.settings),
            "nonnegative": trained.nonnegative,
            "sizes": sizes_of(tail)._asdict(),
            "grid": _grid_to_json(tail.grid),
            "ids": _ids_to_json(tail.ids),
            "names": [tail.past_names, tail.known_names, tail.static_names],
            "more": more,
        },
    )


def load(folder: Path) -> tuple[Trained, Panel, dict[str, Any]]:
    """What `save` wrote: the forecaster, its series, and the JSON.

    Raises:
        DataError: where there is none, or it is damaged or of another version.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise DataError(f"{folder}: there is no forecaster (no {path.name}).")
    try:
        saved = json.loads(path.read_text())
        if saved["format"] != FORMAT:
            raise DataError(
                f"{path}: of another version of seqjax (format {saved['format']}, this one reads"
                f" {FORMAT}): fit it again, or use the version that saved it."
            )
        given: dict[str, Any] = saved["settings"]
        for name in ("seasons", "features", "level"):
            given[name] = tuple(given[name])
        settings = Settings(**given)
        arrays = dict(np.load(io.BytesIO((folder / ARRAYS).read_bytes())))
        names = (tuple(one) for one in saved["names"])
        tail = Panel(
            np.array(saved["ids"]["values"], dtype=saved["ids"]["dtype"]),
            grid=_grid_from_json(saved["grid"]),
            **{name: arrays[f"panel/{name}"] for name in _PANEL},
            **dict(zip(("past_names", "known_names", "static_names"), names, strict=True)),
        )
        scales = Covariates(*(arrays[f"covariates/{name}"] for name in Covariates._fields))
        params = _params(folder, settings, Sizes(**saved["sizes"]), arrays)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder}: this forecaster is damaged: {error!r}.") from error
    trained = Trained(
        settings,
        params,
        scales,
        saved["nonnegative"],
        arrays["residuals"],
        arrays.get("exceedances"),
        (),
    )
    return trained, tail, saved["more"]


def _params(
    folder: Path, settings: Settings, sizes: Sizes, arrays: dict[str, np.ndarray]
) -> tuple[Any, ...]:
    """The parameters of each seed, with the shapes that the settings ask for."""
    like = jax.eval_shape(network_of(settings, sizes).init, jax.random.key(0))
    expected = {name: (one.shape, one.dtype) for name, one in named_leaves(like)[0].items()}
    found = []
    for number in range(settings.seeds):
        prefix = f"params/{number}/"
        leaves = {
            key.removeprefix(prefix): one for key, one in arrays.items() if key.startswith(prefix)
        }
        if {name: (one.shape, one.dtype) for name, one in leaves.items()} != expected:
            raise DataError(
                f"{folder}: the parameters of network {number} are of another version of seqjax, or"
                " not of these settings: fit it again, or use the version that saved it."
            )
        found.append(jax.tree.map(jax.numpy.asarray, nested(leaves)))
    return tuple(found)


def _grid_to_json(grid: pd.Index) -> dict[str, Any]:
    if isinstance(grid, pd.RangeIndex):
        return {"start": grid.start, "step": grid.step, "length": len(grid)}
    assert isinstance(grid, pd.DatetimeIndex)
    freq: Any = grid.freq
    first: Any = grid[0]
    return {
        "start": first.isoformat(),
        "length": len(grid),
        "freq": freq_to_json(freq),
        "zone": None if grid.tz is None else str(grid.tz),
        "unit": grid.unit,
    }


def _grid_from_json(saved: dict[str, Any]) -> pd.Index:
    start, length = saved["start"], saved["length"]
    if "step" in saved:
        return pd.RangeIndex(start, start + length * saved["step"], saved["step"])
    first: Any = pd.Timestamp(start)
    if saved["zone"] is not None:
        first = first.tz_convert(saved["zone"])
    freq = freq_from_json(saved["freq"])
    return pd.date_range(first, periods=length, freq=freq, unit=saved["unit"])


def freq_to_json(freq: Any) -> Any:
    """An alias, a step, an offset of pandas or a time span as JSON.

    Raises:
        DataError: for an offset that JSON has no words for, such as one of business days that
            knows holidays.

    Example:
        >>> freq_to_json(pd.offsets.MonthEnd()), freq_to_json(2 * pd.DateOffset(months=1))
        ('ME', {'n': 2, 'months': 1})
    """
    if freq is None or isinstance(freq, str):
        return freq
    if isinstance(freq, Integral):
        return int(freq)
    offset: Any = to_offset(freq)
    saved = {"n": offset.n} | offset.kwds if type(offset) is pd.DateOffset else offset.freqstr
    try:
        same = to_offset(freq_from_json(json.loads(json.dumps(saved)))) == offset
    except (TypeError, ValueError):
        same = False
    if not same:  # the alias leaves a part of it out
        raise DataError(
            f"freq {offset!r} cannot be saved, as no alias of pandas tells all of it; pass an"
            " alias: of business days with holidays B, and leave the holidays missing."
        )
    return saved


def freq_from_json(saved: Any) -> Any:
    """What `freq_to_json` wrote: an alias, a step, or an offset that has no alias."""
    return pd.DateOffset(**saved) if isinstance(saved, dict) else saved


def _ids_to_json(ids: np.ndarray) -> dict[str, Any]:
    kind = "object" if ids.dtype.kind not in "iuf" else str(ids.dtype)
    return {"values": ids.tolist(), "dtype": kind}
