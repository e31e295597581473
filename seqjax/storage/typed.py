"""Values out of JSON as the types of the fields that they are for; strict, by msgspec."""

import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal


def convert(value: Any, hint: Any) -> Any:
    """`value` as a field of that type has it.

    Args:
        value: out of JSON.
        hint: the field's type: int, float, bool, str, Path, None, Literal, unions, tuples;
            a number may be ``Annotated[int, bounds]`` with `ge`, `le` and `lt` (of
            `seqjax.ops.bounds`).

    Returns:
        The value; lists have become tuples, texts paths.

    Raises:
        ValueError: for anything else; half a sentence that says what it must be.

    Example:
        >>> convert([1, 2], tuple[int, ...])
        (1, 2)
        >>> convert(True, int | None)
        Traceback (most recent call last):
        ValueError: it must be a whole number or null
    """
    import msgspec  # not on machines that only run models

    try:
        found = msgspec.convert(value, _for_msgspec(hint), strict=True, dec_hook=_path)
    except msgspec.ValidationError:  # its words may hold a hostile value, at full length
        raise ValueError(f"it must be {words(hint)}") from None
    _check_range(value)
    return found


def _for_msgspec(hint: Any) -> Any:
    """The type with its bounds as msgspec has them."""
    import msgspec

    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        return Annotated[parts[0], msgspec.Meta(**parts[1]._asdict())]
    if kind in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_for_msgspec, parts))]  # noqa: UP007
    if kind is tuple:
        return tuple[tuple(part if part is ... else _for_msgspec(part) for part in parts)]  # type: ignore[misc]
    return hint


def words(hint: Any) -> str:
    """What a field of that type takes.

    Example:
        >>> words(Literal["tanh", "relu"] | None)
        "one of 'tanh', 'relu' or null"
    """
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        least, most, below = parts[1]
        end = f"at most {most}" if below is None else f"below {below}"
        return f"{words(parts[0])}, at least {least}, {end}"
    if kind in (typing.Union, types.UnionType):
        return " or ".join(map(words, parts))
    if kind is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if kind is tuple:
        return "a list of " + ", ".join(words(part) for part in parts if part is not ...)
    plain = {int: "a whole number", float: "a number", bool: "true or false"}
    plain |= {str: "a text", Path: "a path", types.NoneType: "null"}
    return plain.get(hint, str(hint))


def _path(kind: type, value: Any) -> Path:
    if kind is not Path:
        raise ValueError
    return Path(value)


def _check_range(value: Any) -> None:
    """ValueError for what fits a type, but neither XLA nor the file system."""
    if isinstance(value, list):
        for one in value:
            _check_range(one)
    elif type(value) is int and abs(value) >= 2**63:
        raise ValueError("a number must fit into 64 bits")
    elif isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise ValueError("a text must hold no NUL and no half of a surrogate pair")
