import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqjax.storage.files import write_atomically, write_json


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, fails):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_or_cannot_be_written_is_told(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist.*none/file"):
        write_atomically(tmp_path / "none" / "file", b"")

    def read_only(temporary, mode):  # a folder's mode does not stop root
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(PermissionError, match=r"denied: '.*/file'"):
        write_atomically(tmp_path / "file", b"")


KILLED = """
import os, pathlib, signal, sys
from seqjax.storage.files import write_atomically
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(pathlib.Path(sys.argv[1]), b"new")
"""


def test_a_kill_leaves_the_old_file_and_a_later_write_clears_up(tmp_path):
    path = tmp_path / "a[1].json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, path])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = set(tmp_path.iterdir()) - {path}
    theirs = tmp_path / ".a[1].json.mine.tmp"
    theirs.touch()
    write_atomically(path, b"newer")  # the other write could be under way
    assert left.exists()
    for file in (left, theirs):
        os.utime(file, (time.time() - 9999,) * 2)
    write_atomically(path, b"newest")
    assert path.read_bytes() == b"newest"
    assert set(tmp_path.iterdir()) == {path, theirs}
