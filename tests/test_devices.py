"""Compiled programs are executed: they lie where nobody else can write."""

import os
import subprocess
import sys

import pytest

from seqjax import devices


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_cache_is_the_users_alone_and_of_this_jaxlib(home):
    folder = devices.private_cache()
    assert folder == devices.private_cache()
    assert folder.parent == home / "seqjax"
    for path in (folder, folder.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    import jaxlib

    assert jaxlib.__version__ in folder.name


def test_a_cache_that_others_can_write_is_refused(home):
    devices.private_cache().chmod(0o770)
    with pytest.raises(PermissionError, match="is open to others; chmod 700"):
        devices.private_cache()


def test_a_link_in_its_place_is_refused(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (home / "seqjax").symlink_to(elsewhere)
    with pytest.raises(OSError, match="is no folder"):
        devices.private_cache()


def test_a_cache_of_another_user_is_refused(home, monkeypatch):
    devices.private_cache()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PermissionError, match="is open to others"):
        devices.private_cache()


PROGRAM = """
import jax
from seqjax import devices
print(devices.set_up("cpu"))
print(jax.device_count(), devices.settings()["compilation_cache"])
"""


def set_up(**environment):
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    words, (count, _, cache) = (
        done.stdout.splitlines()[0],
        done.stdout.splitlines()[1].partition(" "),
    )
    return words, int(count), cache, done.stderr


def test_set_up_makes_a_device_of_every_core_and_uses_the_private_cache(home):
    words, count, cache, _ = set_up(XDG_CACHE_HOME=str(home))
    assert "CPU" in words
    assert count == devices.cpu_cores()
    assert cache.startswith(str(home / "seqjax"))


@pytest.mark.parametrize("chosen", ["", "/tmp/seqjax-chosen-by-the-user"])
def test_what_the_user_chose_is_left_alone(home, chosen):
    _, _, cache, _ = set_up(XDG_CACHE_HOME=str(home), JAX_COMPILATION_CACHE_DIR=chosen)
    assert cache == chosen
    assert not (home / "seqjax").exists()


def test_without_a_safe_place_there_is_no_cache(home):
    (home / "file").write_text("")
    _, _, cache, said = set_up(XDG_CACHE_HOME=str(home / "file"))
    assert cache == ""
    assert "without a cache" in said


# -- huge pages --------------------------------------------------------------------


@pytest.fixture
def restarts(monkeypatch):
    """What Python would start again; run as ``python -m experiments.milk --seeds 1``."""
    found = []
    monkeypatch.setattr(os, "execv", lambda *command: found.append(command))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.milk", "--seeds", "1"])
    monkeypatch.setattr(devices, "_on_glibc", lambda: True)
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that it is put back afterwards
    monkeypatch.delenv("GLIBC_TUNABLES")
    return found


def test_an_experiment_starts_once_more_with_huge_pages(restarts):
    devices.restart_with_huge_pages()
    assert restarts == [
        (sys.executable, [sys.executable, "-m", "experiments.milk", "--seeds", "1"])
    ]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    devices.restart_with_huge_pages()  # in the process started again
    assert len(restarts) == 1


@pytest.mark.parametrize("setting", ["", "glibc.malloc.check=1"])
def test_a_setting_of_the_users_own_is_left_alone(restarts, monkeypatch, setting):
    monkeypatch.setenv("GLIBC_TUNABLES", setting)
    devices.restart_with_huge_pages()
    assert not restarts


def test_elsewhere_nothing_is_started_again(restarts, monkeypatch):
    monkeypatch.setattr(devices, "_on_glibc", lambda: False)
    devices.restart_with_huge_pages()
    assert not restarts


def test_importing_an_experiment_restarts_nothing():
    code = "import os; os.execv = None; import experiments.milk"
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
