"""What a section finds: rows, one at a time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Status = Literal["ok", "FAILED", "refused", "missing"]


class Row(NamedTuple):
    """One finding.

    Attributes:
        labels: what was checked or timed, by column.
        values: what came out, by column.
        status: "ok"; "FAILED", a check that does not hold or an error; "refused", what an
            implementation says it cannot run; "missing", what the machine lacks.
        note: why it is not "ok".
        section: whose it is.
    """

    labels: Mapping[str, Any]
    values: Mapping[str, Any] = {}
    status: Status = "ok"
    note: str = ""
    section: str = ""


Emit = Callable[[Row], None]
"""Takes a row, from any thread, and hands it on at once: what follows may crash."""


def problem(labels: Mapping[str, Any], error: BaseException) -> Row:
    """The row of what did not run.

    Example:
        >>> problem({"op": "gru"}, ModuleNotFoundError("", name="torch")).note
        'torch is not installed'
        >>> problem({}, ValueError("gru: implementation 'x' cannot run this: too wide.")).status
        'refused'
    """
    if isinstance(error, ModuleNotFoundError):
        return Row(labels, status="missing", note=f"{error.name} is not installed")
    _, refused, reason = str(error).partition("cannot run this: ")
    if refused:
        return Row(labels, status="refused", note=reason.rstrip("."))
    first = (str(error).strip().splitlines() or [""])[0]
    return Row(labels, status="FAILED", note=f"{type(error).__name__}: {first}"[:300])
