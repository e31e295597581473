"""What checks types in the tests (`--jaxtyping-packages`): beartype, where it pays."""

import typing

import beartype


def check(function):
    """The function, checked at every call, unless it stands in another and tells no shape.

    Such a one is made anew at every call of the other, and decorating it takes longer than most
    of what is traced: a third of the time of tracing, for no shape.
    """
    hints = getattr(function, "__annotations__", {}).values()
    if "<locals>" in function.__qualname__ and not any(map(_tells_a_shape, hints)):
        return function
    return beartype.beartype(function)


def _tells_a_shape(hint):
    return hasattr(hint, "dim_str") or any(map(_tells_a_shape, typing.get_args(hint)))
