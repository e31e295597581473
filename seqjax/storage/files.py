"""Files that are whole or not there."""

import contextlib
import errno
import glob
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_ABANDONED = 3600  # seconds without a byte


def on_disk(path: str | Path) -> Path:
    """A path of this machine's; an address such as ``gs://bucket/run`` is none.

    Taken for a path it would be the folder "gs:" of the current one.

    Raises:
        ValueError: for an address.

    Example:
        >>> on_disk("runs/milk").parts
        ('runs', 'milk')
    """
    path = Path(path)
    scheme = path.parts[0].removesuffix(":") if path.parts else ""
    if len(scheme) > 1 and path.parts[0] == f"{scheme}:":  # one letter: a disk of Windows
        raise ValueError(
            f"{scheme}://{'/'.join(path.parts[1:])}: seqjax writes to folders of this machine, not"
            " to addresses; mount the bucket and name a folder in it."
        )
    return path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a kill or a power cut leaves the old one or the new one, whole.

    The temporary file stands in the same folder: a rename between disks is a copy.

    Args:
        path: the file; its folder must exist. A file that is there is replaced.
        data: all that it is to hold.

    Raises:
        FileNotFoundError: where the folder does not exist.
        OSError: for a full disk or a folder that cannot be written; it names `path`, and
            the old file is as it was.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"the folder {path.parent} does not exist", str(path))
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or the new name could reach the disk before the data
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write names no file, and nobody knows the temporary one
        raise
    # The rename, too, is data: the folder's. Not every file system lets a folder be synced.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_leftovers(path: Path) -> None:
    """Delete what writes of this file left that were killed; one under way is younger."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 32}.tmp"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _ABANDONED:
                left.unlink()


def lock_folder(folder: Path) -> int | None:
    """A lock of a folder that ends with the process, however that ends.

    Returns:
        A file descriptor, to be closed; None where the system or the file system has none.

    Raises:
        BlockingIOError: where another process (or another call) holds it.
    """
    if fcntl is None:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    except OSError:  # a file system without locks
        pass
    return lock


def write_json(path: Path, value: Any) -> None:
    """Write JSON as `write_atomically` does.

    Args:
        path: the file; its folder must exist.
        value: what `json.dumps` takes, and paths.

    Raises:
        OSError: from `write_atomically`.
    """
    write_atomically(path, (json.dumps(value, indent=2, default=os.fspath) + "\n").encode())
