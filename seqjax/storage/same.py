"""Functions that do the same, known again.

JAX compiles for a function object; a closure made anew is another one, though it says the
same. `same` gives back the earlier of two functions of equal code and settings.
"""

import dataclasses
import enum
import functools
import types
import weakref
from collections import OrderedDict
from typing import Any

import jax
import numpy as np

_PLAIN = (int, float, complex, str, bytes, type(None), enum.Enum, np.dtype, np.generic)
# What their modules and classes hold does not change while a program runs.
_LIBRARIES = {"jax", "jaxlib", "numpy", "optax", "flax", "seqjax", "math", "functools", "operator"}
_JITTED = type(jax.jit(lambda: 0))
_KEPT = 64
_known: OrderedDict[Any, Any] = OrderedDict()
_first: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class _UnknownError(Exception):
    """Something that may change, or cannot be compared."""


def same(value: Any) -> Any:
    """`value`, or what came here before and does the same.

    That is decided for functions, and named tuples of them, whose closures and globals hold
    nothing but numbers, strings, this library's layers, library modules, and such functions
    again. Anything else, an array say, may change: then it is `value` itself.

    Example:
        >>> def scaled(factor):
        ...     return lambda x: factor * x
        >>> same(scaled(2.0)) is same(scaled(2.0)), same(scaled(2.0)) is same(scaled(3.0))
        (True, False)
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(same, value))
    try:
        key = _key(value, (), [])
        # A function whose closure has changed since: JAX may hold the program of what it was.
        if _first.setdefault(value, key) != key:
            return value
        found = _known.get(key)
        if found is None or _loose(_key(found, (), [])) != _loose(key):
            found = _known[key] = value
    except (_UnknownError, TypeError, ValueError):  # not hashable; a cell that is empty yet
        return value
    _known.move_to_end(key)
    if len(_known) > _KEPT:
        _known.popitem(last=False)
    return found


def _loose(key: Any) -> Any:
    """A key in which 60 is 60.0: Optax's schedules make the one of the other when they run."""
    if isinstance(key, tuple):
        if len(key) == 2 and key[0] in (int, float):
            return "number", float(key[1])
        return tuple(map(_loose, key))
    return key


def _key(value: Any, within: tuple[int, ...], seen: list[Any]) -> Any:
    if id(value) in within:
        raise _UnknownError
    within = (*within, id(value))
    if isinstance(value, _PLAIN):
        exact = isinstance(value, int | str | bytes | enum.Enum)
        return type(value), value if exact else repr(value)  # 0.0 is not -0.0
    if isinstance(value, tuple):
        return type(value), *(_key(one, within, seen) for one in value)
    if isinstance(value, dict):
        return dict, *((_key(k, within, seen), _key(v, within, seen)) for k, v in value.items())
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return functools.partial, *(_key(part, within, seen) for part in parts)
    if isinstance(value, types.FunctionType):
        if "jaxtyping" in value.__code__.co_filename:  # a check of types around it
            return _key(value.__wrapped__, within, seen)  # type: ignore[attr-defined]
        return _function_key(value, within)
    if isinstance(value, types.MethodType):
        parts = value.__func__, value.__self__
        return types.MethodType, *(_key(part, within, seen) for part in parts)
    if isinstance(value, _JITTED):
        return _JITTED, _key(getattr(value, "__wrapped__", None), within, seen)
    if isinstance(value, types.BuiltinFunctionType):  # of a module, as `len`; no method
        if isinstance(value.__self__, types.ModuleType):
            return value
    elif _of_a_library(value):
        if isinstance(value, type | types.ModuleType | np.ufunc):
            return value
        if dataclasses.is_dataclass(value):  # a layer
            # The same one twice shares its parameters; an equal one does not.
            again = [place for place, one in enumerate(seen) if one is value]
            if again:
                return "again", again[0]
            seen.append(value)
            names = [field.name for field in dataclasses.fields(value)]
            return type(value), *(_key(getattr(value, name, None), within, seen) for name in names)
    raise _UnknownError


def _of_a_library(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return _root(value.__name__) in _LIBRARIES
    kind = value if isinstance(value, type) else type(value)
    return kind.__module__ == "builtins" or _root(kind.__module__) in _LIBRARIES


def _function_key(function: types.FunctionType, within: tuple[int, ...]) -> Any:
    seen: list[Any] = []  # a function's own: only what it puts together can be shared
    cells = tuple(_key(cell.cell_contents, within, seen) for cell in function.__closure__ or ())
    defaults = _key((function.__defaults__, function.__kwdefaults__), within, seen)
    read = ()
    if _root(function.__module__) not in _LIBRARIES:
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        # A function that reads itself does so by name: its code says the rest.
        values = [(name, function.__globals__[name]) for name in names]
        read = tuple((n, _key(v, within, seen)) for n, v in values if id(v) not in within)
    return function.__code__, function.__module__, cells, defaults, read


def _names(code: types.CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]
