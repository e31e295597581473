"""What a training is given, to be known again: by a later call, and by a resumed run.

JAX compiles for a function object; a closure made anew is another one, though it says the
same. `same` gives back the earlier of two functions of equal code and settings.
"""

import dataclasses
import enum
import functools
import hashlib
import types
from collections import OrderedDict
from typing import Any, TypeVar

import jax
import numpy as np

from seqjax.storage.trees import checksum

T = TypeVar("T")

_PLAIN = (int, float, complex, str, bytes, type(None), enum.Enum, np.dtype, np.generic)
# What their modules hold does not change while a program runs.
_LIBRARIES = {"jax", "jaxlib", "numpy", "optax", "flax", "seqjax", "math", "functools", "operator"}
_KEPT = 64
_known: OrderedDict[Any, Any] = OrderedDict()


class _UnknownError(Exception):
    """Something that may change, or cannot be compared."""


def same(value: T) -> T:
    """`value`, or what came here before and does the same.

    That is decided for functions, and named tuples of them, whose closures and globals hold
    nothing but numbers, strings, layers, library modules, and such functions again. Anything
    else, an array say, may change: then it is `value` itself.

    Example:
        >>> def scaled(factor):
        ...     return lambda x: factor * x
        >>> same(scaled(2.0)) is same(scaled(2.0)), same(scaled(2.0)) is same(scaled(3.0))
        (True, False)
    """
    try:
        key = _key(value, ())
        found = _known.setdefault(key, value)
    except (_UnknownError, TypeError):  # TypeError: not hashable
        return value
    _known.move_to_end(key)
    if len(_known) > _KEPT:
        _known.popitem(last=False)
    return found


def _key(value: Any, within: tuple[int, ...]) -> Any:
    if id(value) in within:
        raise _UnknownError
    within = (*within, id(value))
    if isinstance(value, _PLAIN):
        return type(value), value, repr(value) if isinstance(value, float) else None  # 0.0, -0.0
    if isinstance(value, type | types.BuiltinFunctionType | np.ufunc):
        return value
    if isinstance(value, types.ModuleType) and _root(value.__name__) in _LIBRARIES:
        return value
    if isinstance(value, tuple):
        return type(value), *(_key(one, within) for one in value)
    if dataclasses.is_dataclass(value):  # a layer
        names = [field.name for field in dataclasses.fields(value)]
        return type(value), *(_key(getattr(value, name, None), within) for name in names)
    if isinstance(value, dict):
        return dict, *((_key(k, within), _key(v, within)) for k, v in value.items())
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return functools.partial, *(_key(part, within) for part in parts)
    if isinstance(value, types.MethodType):
        return types.MethodType, _key(value.__func__, within), _key(value.__self__, within)
    wrapped = getattr(value, "__wrapped__", None)
    if isinstance(value, types.FunctionType):
        if wrapped is not None and "jaxtyping" in value.__code__.co_filename:
            return _key(wrapped, within)  # a check of types around it
        return _function_key(value, within)
    if wrapped is not None and _root(type(value).__module__) in _LIBRARIES:  # jitted
        return type(value), _key(wrapped, within)
    raise _UnknownError


def _function_key(function: types.FunctionType, within: tuple[int, ...]) -> Any:
    cells = tuple(_key(cell.cell_contents, within) for cell in function.__closure__ or ())
    defaults = _key((function.__defaults__, function.__kwdefaults__), within)
    read = ()
    if _root(function.__module__) not in _LIBRARIES:
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        # A function that reads itself does so by name: its code says the rest.
        values = [(name, function.__globals__[name]) for name in names]
        read = tuple((n, _key(v, within)) for n, v in values if id(v) not in within)
    return function.__code__, cells, defaults, read


def _names(code: types.CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


# -- for people, and for files -------------------------------------------------------


def settings_of(value: Any) -> str:
    """The numbers and names that a function or a tuple of them closes over, ``name=value``.

    Example:
        >>> import optax
        >>> settings_of(optax.constant_schedule(0.5))
        'value=0.5'
    """
    found: dict[str, None] = {}
    _collect(value, "", found, [])
    return " ".join(found)


def _collect(value: Any, name: str, found: dict[str, None], seen: list[Any]) -> None:
    if isinstance(value, bool | int | float | str):
        found[f"{name}={value!r}"] = None
    elif isinstance(value, jax.Array | np.ndarray):
        found[f"{name}={checksum(value)[:8]}"] = None
    elif isinstance(value, functools.partial):
        _collect((value.func, value.args, value.keywords), name, found, seen)
    elif isinstance(value, types.FunctionType) and not any(value is one for one in seen):
        seen.append(value)  # itself, not its id, which would soon be another's
        for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            _collect(cell.cell_contents, free, found, seen)
    elif isinstance(value, tuple | list):
        for one in value:
            _collect(one, name, found, seen)
    elif isinstance(value, dict):
        for key, one in value.items():
            _collect(one, str(key), found, seen)


def digest(tree: Any) -> str:
    """A checksum of every leaf of a tree, with its place."""
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        found.update(f"{jax.tree_util.keystr(path)} {checksum(leaf)}".encode())
    return found.hexdigest()[:16]
