"""What importing `experiments` does before JAX is there."""

import os
import sys

import pytest

import experiments


@pytest.fixture
def restarts(monkeypatch):
    """What Python would start again; run as ``python -m experiments.milk --seeds 1``."""
    found = []
    monkeypatch.setattr(os, "execv", lambda *command: found.append(command))
    monkeypatch.setattr(sys, "argv", ["-m", "--seeds", "1"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.milk", "--seeds", "1"])
    monkeypatch.setattr(experiments, "_on_glibc", lambda: True)
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that it is put back afterwards
    monkeypatch.delenv("GLIBC_TUNABLES")
    return found


def test_an_experiment_starts_once_more_with_huge_pages(restarts):
    experiments._restart_with_huge_pages()
    assert restarts == [
        (sys.executable, [sys.executable, "-m", "experiments.milk", "--seeds", "1"])
    ]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    experiments._restart_with_huge_pages()  # in the process started again
    assert len(restarts) == 1


@pytest.mark.parametrize("setting", ["", "glibc.malloc.check=1"])
def test_a_setting_of_the_users_own_is_left_alone(restarts, monkeypatch, setting):
    monkeypatch.setenv("GLIBC_TUNABLES", setting)
    experiments._restart_with_huge_pages()
    assert not restarts


def test_nobody_else_is_started_again(restarts, monkeypatch):
    monkeypatch.setattr(experiments, "_on_glibc", lambda: False)
    experiments._restart_with_huge_pages()
    monkeypatch.setattr(experiments, "_on_glibc", lambda: True)
    monkeypatch.setattr(sys, "argv", ["/somewhere/pytest"])
    experiments._restart_with_huge_pages()
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "another.package"])
    experiments._restart_with_huge_pages()
    assert not restarts
