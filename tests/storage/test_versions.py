import platform

import jax
import numpy as np

from seqjax.storage.versions import version, versions


def test_versions_are_those_of_the_modules():
    found = versions()
    assert found["python"] == platform.python_version()
    assert (found["jax"], found["numpy"]) == (jax.__version__, np.__version__)
    assert found["seqjax"] == version()
    assert version("no-such-package") == "not installed"
