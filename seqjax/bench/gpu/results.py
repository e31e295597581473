"""The file of a run: everything found so far, whole at every moment."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqjax.bench.gpu.rows import Row
from seqjax.bench.gpu.tables import render
from seqjax.ops.layout import Choices
from seqjax.storage.files import write_atomically, write_json

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
NONE = "None: this has not run on a GPU yet.\n"


def slug(name: str) -> str:
    """A device's name in a file's.

    Example:
        >>> slug("NVIDIA H100 80GB HBM3")
        'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def measured_choices(folder: Path, device: str) -> Choices | None:
    """What won on a kind of device, over what is set there by reason; None where no file says.

    Args:
        folder: of ``gpu-NAME.json``.
        device: the kind's name, as JAX tells it.

    Raises:
        ValueError: for a file that holds something else; it names the file and the field.
    """
    path = folder / f"gpu-{slug(device)}.json"
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text())
        found = {} if value["dry"] else value["choices"]
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        chosen = Choices()._replace(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: its choices cannot be read: {error}") from None
    for name, default in Choices()._asdict().items():
        if type(getattr(chosen, name)) is not type(default):
            raise ValueError(f"{path}: {name} must be like {default!r}, not {fields[name]!r}")
    return chosen if fields else None


class Results:
    """A run's results, in one folder or two.

    Rows of sections that do not run this time stay as they are in the file.

    Args:
        folder: of ``gpu-NAME.json`` and ``gpu.md``; made where it is missing.
        device: its values, with its "name".
        facts: versions and settings.
    """

    def __init__(self, folder: Path, device: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.path = folder / f"gpu-{slug(str(device['name']))}.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.begun: set[str] = set()
        self._value: dict[str, Any] = {"sections": {}, "choices": {}, "rows": []}
        if self.path.is_file():
            self._value |= json.loads(self.path.read_text())
        self._value |= {"device": dict(device), **facts}
        self._value = {key: self._value.pop(key) for key in _ordered(self._value)}

    @property
    def value(self) -> dict[str, Any]:
        """As in the file."""
        return self._value

    def begin(self, section: str) -> None:
        """Forget what an earlier run found in this section."""
        self.begun.add(section)
        self._value["rows"] = [row for row in self._value["rows"] if row["section"] != section]
        self._note(section, "cut off", 0.0)

    def add(self, row: Row) -> None:
        """One row more, written at once."""
        self._value["rows"].append(row._asdict())
        if "choices" in row.values:
            self._value["choices"] = row.values["choices"]
        self._write()

    def end(self, section: str, status: str, seconds: float) -> None:
        """How a section ended; the tables are made anew."""
        self._note(section, status, seconds)
        update_page(self.path.parent)

    def _note(self, section: str, status: str, seconds: float) -> None:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        self._value["sections"][section] = {"status": status, "seconds": seconds, "UTC": when}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self._value)
        if out := os.environ.get("OUT"):  # of the tool that lends a device: what comes back
            write_json(Path(out) / self.path.name, self._value)


def _ordered(value: Mapping[str, Any]) -> list[str]:
    last = ("sections", "choices", "rows")
    return [*(key for key in value if key not in last), *last]


def update_page(folder: Path) -> Path:
    """The tables of every ``gpu-NAME.json`` of a folder, between the marks of its ``gpu.md``."""
    path = folder / "gpu.md"
    page = path.read_text() if path.is_file() else f"# On a GPU\n\n{BEGIN}\n{END}\n"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: between {BEGIN} and {END} the tables would stand; put them back")
    files = sorted(folder.glob("gpu-*.json"))
    tables = "\n".join(render(json.loads(file.read_text())) for file in files) or NONE
    write_atomically(path, f"{before}{BEGIN}\n{tables}{END}{after}".encode())
    if out := os.environ.get("OUT"):
        (Path(out) / path.name).write_bytes(path.read_bytes())
    return path
