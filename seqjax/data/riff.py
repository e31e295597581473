"""The chunks of WAV files, and short files out of long ones."""

import io
import struct
from math import ceil
from pathlib import Path
from typing import NamedTuple


class Layout(NamedTuple):
    """What stands where in a WAV file.

    Attributes:
        order: of its bytes, "<" or ">".
        form: its chunk "fmt ".
        start: where its samples begin, bytes from the file's begin.
        said: bytes of samples by the header.
        there: bytes that follow the header.
    """

    order: str
    form: bytes
    start: int
    said: int
    there: int

    @property
    def rate(self) -> int:
        """Samples a second."""
        return struct.unpack_from(f"{self.order}I", self.form, 4)[0]

    @property
    def width(self) -> int:
        """Bytes of a sample of all channels."""
        return struct.unpack_from(f"{self.order}H", self.form, 12)[0]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return min(self.said, self.there) / max(self.rate * self.width, 1)


def layout_of(path: Path) -> Layout | None:
    """What the header of a WAV file says; None of what is no WAV file."""
    with path.open("rb") as file:
        head, form = file.read(12), b""
        order = ">" if head[:4] == b"RIFX" else "<"
        while head[8:] == b"WAVE" and len(chunk := file.read(8)) == 8:
            name, size = struct.unpack(f"{order}4sI", chunk)
            if name == b"data" and len(form) >= 16:
                return Layout(order, form, file.tell(), size, path.stat().st_size - file.tell())
            if name == b"fmt ":
                form = file.read(min(size, 1024))
                size -= len(form)
            file.seek(size + size % 2, 1)
    return None


def begin_of(path: Path, layout: Layout, seconds: float) -> io.BytesIO:
    """The first seconds of a WAV file, as one."""
    with path.open("rb") as file:
        file.seek(layout.start)
        body = file.read(ceil(seconds * layout.rate) * layout.width)
    sizes = f"{layout.order}4sI"
    chunks = struct.pack(sizes, b"fmt ", len(layout.form)) + layout.form
    chunks = b"WAVE" + chunks + struct.pack(sizes, b"data", len(body)) + body
    name = b"RIFX" if layout.order == ">" else b"RIFF"
    return io.BytesIO(struct.pack(sizes, name, len(chunks)) + chunks)
