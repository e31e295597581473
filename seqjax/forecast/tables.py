"""A table that becomes a long one: the names of its columns, and what is done to it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data.cells import short

_LISTED = 8


class Names(NamedTuple):
    """The columns of a long table: as asked for, or the usual ones."""

    id: str
    time: str
    target: str


class Layout(NamedTuple):
    """How a table becomes a long one.

    Attributes:
        change: of all its rows; the index of lines is kept.
        notes: what was understood, a sentence each; whole once the table is changed.
    """

    change: Callable[[pd.DataFrame], pd.DataFrame]
    notes: list[str]


def parts_of(name: str, header: Sequence[str]) -> list[str]:
    """The columns that a name joins: of store/item both, where no column is called so.

    Example:
        >>> parts_of("store/item", ["store", "item"]), parts_of("kg/m", ["kg/m"])
        (['store', 'item'], ['kg/m'])
    """
    parts = name.split("/")
    return parts if name not in header and all(part in header for part in parts) else [name]


def is_nameless(name: str) -> bool:
    """Whether a column is what pandas writes of an index.

    Example:
        >>> is_nameless(""), is_nameless("Unnamed: 0"), is_nameless("shop")
        (True, True, False)
    """
    return not name or name.startswith("Unnamed: ")


def unread(columns: Iterable[str]) -> list[str]:
    """A sentence on columns that are left out, where there are any.

    Example:
        >>> unread(["zone", "", "colour"])
        ["not read: columns 'zone', 'colour'"]
    """
    named = [short(name) for name in columns if not is_nameless(name)]
    more = f" and {len(named) - _LISTED:,} more" if len(named) > _LISTED else ""
    return [f"not read: columns {', '.join(named[:_LISTED])}{more}"] if named else []


def joined(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Columns as one name.

    Example:
        >>> joined(pd.DataFrame({"store": ["a"], "item": [7]}), ["store", "item"]).tolist()
        ['a/7']
    """
    names: Any = frame[columns[0]].astype(str)
    for column in columns[1:]:
        names = names + "/" + frame[column].astype(str)
    return names
