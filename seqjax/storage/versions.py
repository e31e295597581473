"""Which versions wrote a file."""

import importlib.metadata
import platform

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pandas", "seqjax")
_IF_THERE = ("scikit-learn",)  # some experiments' baselines


def version(package: str = "seqjax") -> str:
    """The version of an installed package, or "not installed" (such as a bare checkout).

    Example:
        >>> version("no-such-package")
        'not installed'
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    found = {name: version(name) for name in (*_PACKAGES, *_IF_THERE)}
    there = {name: one for name, one in found.items() if name in _PACKAGES or one[0].isdigit()}
    return {"python": platform.python_version()} | there
