import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="session")
def start(tmp_path_factory, pytestconfig):
    """``(folder, *options, before=()) -> process`` of program.py; all share compiled programs."""
    environment = dict(os.environ)
    if "not soak" not in pytestconfig.option.markexpr:  # as users compile
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
        }

    def start(folder, *options, before=()):
        folder.mkdir(exist_ok=True)
        command = [*before, sys.executable, str(PROGRAM), str(folder), *options]
        with (folder / "output").open("a") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    return start
