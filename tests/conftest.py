import gc
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

# Before Keras is imported: the backend, and a home of its own (it writes a file at import).
os.environ["KERAS_BACKEND"] = "jax"
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-")
# The tests' own cache of compiled programs: a fifth faster, and from the second run on several
# times as fast. Nobody else can write in it; processes that tests start share it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # where an operation stands
# Nearly all the time goes to compiling small programs, here and in processes that tests start;
# XLA's costliest passes are a third of it, and in jaxlib 0.10, which still has a choice, the
# emitters of fusions another, and a fifth of the rest that a program is split for threads to
# compile. CONTRIBUTING tells how to test with all.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    flags = os.environ.get("XLA_FLAGS", "").split()
    if version("jaxlib").startswith("0.10."):
        flags += [
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_cpu_parallel_codegen_split_count=1",
        ]
    os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))

import jax
import pytest

if folder := os.environ["JAX_COMPILATION_CACHE_DIR"]:
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)  # for the tests of meshes


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Thousands of small compiled programs would otherwise fill gigabytes."""
    yield
    jax.clear_caches()


def pytest_collection_finish():
    """What is imported stays: a collection of garbage takes a fifth of a second to look at it.

    And tracing makes thousands of objects that stay for a while.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_terminal_summary(terminalreporter):
    """The figures of the guarantees (docs/reliability.md)."""
    figures = [
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "figure" and getattr(report, "when", "") == "call"
    ]
    if figures:
        terminalreporter.section("guarantees")
        for text in sorted(figures, key=lambda text: (len(text.partition(" ")[0]), text)):
            terminalreporter.write_line(text)
