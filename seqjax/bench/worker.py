"""The child process of a benchmark: prepares what it is told to, runs it on request.

``python -m seqjax.bench.worker`` reads one JSON object a line from stdin and answers
each with one on stdout; `seqjax.bench.turns` is the other end. What a contestant's
library prints goes to stderr.
"""

import importlib
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class NoSuchLayerError(LookupError):
    """A contestant's library does not have the layer of the case; the row says so."""


def find(library: str, layers: dict[str, Any], kind: str) -> Any:
    """A library's layer of that kind, or NoSuchLayerError."""
    if kind not in layers:
        raise NoSuchLayerError(f"{library} has no layer for {kind!r}")
    return layers[kind]


class Prepared(NamedTuple):
    """What a contestant's entry returns.

    Attributes:
        programs: by name; each call runs one program to its end and blocks.
        outputs: the arrays to agree on with the other contestants.
        facts: what else it has to say: a JSON object.
    """

    programs: dict[str, Callable[[], object]]
    outputs: Callable[[], dict[str, np.ndarray]]
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed


def call_entry(entry: str, arguments: dict[str, Any]) -> Any:
    """``package.module:function`` called with keyword arguments."""
    module, _, function = entry.partition(":")
    return getattr(importlib.import_module(module), function)(**arguments)


def seconds_of_calls(run: Callable[[], object], at_least: float) -> list[float]:
    """Seconds of each call; as many calls as take `at_least` seconds together."""
    found: list[float] = []
    while sum(found) < at_least:
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return found


def _answer(request: dict[str, Any], prepared: list[Prepared]) -> dict[str, Any]:
    if request["do"] == "call":
        return {"value": call_entry(request["entry"], request["arguments"])}
    if request["do"] == "prepare":
        prepared.clear()  # the case before: its memory is wanted
        begun = time.perf_counter()
        prepared.append(call_entry(request["entry"], request["arguments"]))
        for run in prepared[0].programs.values():
            run()  # compiles
        np.savez(request["outputs"], allow_pickle=False, **prepared[0].outputs())
        return {
            "seconds": time.perf_counter() - begun,
            "facts": prepared[0].facts,
            "programs": list(prepared[0].programs),
        }
    found = seconds_of_calls(prepared[0].programs[request["program"]], request["seconds"])
    return {"median": statistics.median(found), "calls": len(found)}


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepared: list[Prepared] = []
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), prepared)
        except ModuleNotFoundError as error:
            answer = {"missing": f"{error.name} is not installed"}
        except NoSuchLayerError as error:
            answer = {"missing": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
