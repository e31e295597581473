"""Medians of calls in turns, and work spread over threads."""

import math
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple, TypeVar

import jax

Calls = Callable[[int], float]
"""So many calls, one after another without waiting in between: seconds of them all."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def calls_of(program: Callable[..., Any], *arguments: Any) -> Calls:
    """Calls of a JAX function; the device is waited for after the last.

    Example:
        >>> calls_of(jax.numpy.negative, 1.0)(3) > 0
        True
    """

    def run(calls: int) -> float:
        result = None
        begun = time.perf_counter()
        for _ in range(calls):
            result = program(*arguments)
        jax.block_until_ready(result)
        return time.perf_counter() - begun

    return run


class Compiled(NamedTuple):
    """A compiled program that has run once.

    Attributes:
        run: its calls.
        result: of the first.
        facts: seconds of tracing and compiling, and working memory in bytes.
    """

    run: Calls
    result: Any
    facts: dict[str, float]


def compiled(program: Callable[..., Any], *arguments: Any) -> Compiled:
    """Compile for these arguments, and run."""
    begun = time.perf_counter()
    executable = jax.jit(program).lower(*arguments).compile()
    facts = {"compile s": time.perf_counter() - begun}
    memory = executable.memory_analysis()
    if memory is not None:
        facts["temporary bytes"] = float(memory.temp_size_in_bytes)
    result = jax.block_until_ready(executable(*arguments))
    return Compiled(calls_of(executable, *arguments), result, facts)


def in_turns(programs: Mapping[Key, Calls], rounds: int, seconds: float) -> dict[Key, float]:
    """Seconds a call: the median of each program's rounds.

    Args:
        programs: already warm.
        rounds: how often each has its turn, forth and back.
        seconds: that a turn takes, about; one call at least.
    """
    calls = {key: calls_within(run, seconds) for key, run in programs.items()}
    found: dict[Key, list[float]] = {key: [] for key in programs}
    for number in range(rounds):
        for key in list(programs)[:: 1 if number % 2 == 0 else -1]:
            found[key].append(programs[key](calls[key]) / calls[key])
    return {key: statistics.median(values) for key, values in found.items()}


def calls_within(run: Calls, seconds: float) -> int:
    """How many calls take so many seconds, judged by one of them; 1 at least."""
    return max(1, math.ceil(seconds / max(run(1), 1e-7)))


def side_by_side(
    jobs: Mapping[Key, Callable[[], Result]], threads: int
) -> Iterator[tuple[Key, Result | Exception]]:
    """Results as they come, or what a job raised: XLA compiles without Python's lock."""

    def attempt(job: Callable[[], Result]) -> Result | Exception:
        try:
            return job()
        except Exception as error:
            return error

    with ThreadPoolExecutor(max(1, threads)) as pool:
        running = {pool.submit(attempt, job): key for key, job in jobs.items()}
        for future in as_completed(running):
            yield running[future], future.result()
