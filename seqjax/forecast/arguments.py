"""Names of arguments: one that does not exist is told which does."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from seqjax.storage.strict_json import nearest

# What users of Nixtla's libraries type, and what it is here.
_THEIRS = {
    "df": "frame",
    "h": "horizon",
    "id_col": "id_column",
    "input_size": "window",
    "max_steps": "steps",
    "random_seed": "seed",
    "season_length": "season",
    "target_col": "target_column",
    "time_col": "time_column",
    "X_df": "futr_df",
}

_OF = {"frame": "of fit(...)", "futr_df": "of predict(...)"}

_P = ParamSpec("_P")
_R = TypeVar("_R")


def names_told(also: Iterable[str] = ()) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A decorator: an unknown argument is a TypeError that names the one that is meant.

    Args:
        also: names that stand for the function's ``**arguments``.

    Example:
        >>> @names_told()
        ... def predict(frame, horizon): ...
        >>> predict(frame=None, h=3)
        Traceback (most recent call last):
        TypeError: predict has no argument 'h': say horizon.
        >>> predict(frame=None, horzon=3)
        Traceback (most recent call last):
        TypeError: predict has no argument 'horzon'. Did you mean 'horizon'? It has frame, horizon.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        named = inspect.signature(function).parameters.values()
        known = {one.name for one in named if one.kind != inspect.Parameter.VAR_KEYWORD}
        known = sorted((known | set(also)) - {"self"})
        where = function.__name__
        if where == "__init__":
            where = function.__qualname__.split(".")[-2]

        @functools.wraps(function)
        def checked(*args: _P.args, **arguments: _P.kwargs) -> _R:
            if unknown := sorted(arguments.keys() - known):
                raise TypeError(_sentence(where, unknown[0], known))
            return function(*args, **arguments)

        return checked

    return decorate


def _sentence(where: str, name: str, known: list[str]) -> str:
    fault, ours = f"{where} has no argument {name!r}", _THEIRS.get(name)
    if ours in known:
        return f"{fault}: say {ours}."
    if ours is not None:
        return f"{fault}: say {ours}, {_OF.get(ours, 'of Forecaster(...)')}."
    return f"{fault}.{nearest(name, known)} It has {', '.join(known)}."
