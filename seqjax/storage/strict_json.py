"""JSON that means one thing: every key once, every number finite."""

import difflib
import json
import math
import reprlib
from collections.abc import Iterable
from typing import Any

_brief = reprlib.Repr()  # a hostile value may have any size
_brief.maxstring = 200
show = _brief.repr
"""A value in words, of bounded length, on one line."""


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint for a name that is none of the known ones, in whatever case; "" where none is near.

    Example:
        >>> nearest("Feature", ["features", "dropout"])
        " Did you mean 'features'?"
    """
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(str(name)[:100].lower(), by_lower, 1)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Args:
        text: the JSON; bytes are UTF-8, with or without a mark of it.

    Returns:
        The object; no key stood there twice, all its floating-point numbers are finite.

    Raises:
        ValueError: for everything else; the message is half a sentence.

    Example:
        >>> parse_object('{"lags": [1, 12]}')
        {'lags': [1, 12]}
        >>> parse_object('{"lag": 1, "lag": 12}')
        Traceback (most recent call last):
        ValueError: not readable as JSON: the key 'lag' stands there twice
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        found = json.loads(
            decoded, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite
        )
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"not readable as JSON: {error}") from None
    except RecursionError:
        raise ValueError("not readable as JSON: nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON object {{...}}, not {show(found)}")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {show(key)} stands there twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{show(text)} is not a finite number")
    return value
