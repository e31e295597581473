"""What `import seqjax` does, in a process of its own."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

PROBE = """
import os, sys
import jax, flax.linen
before, environment = set(sys.modules), dict(os.environ)
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(args))
import seqjax
new = {name.partition(".")[0] for name in set(sys.modules) - before}
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a device was touched"
assert dict(os.environ) == environment, "the environment was touched"
written = [a for a in opened if isinstance(a[1], str) and set(a[1]) & set("wax+")]
written = [a for a in written if "__pycache__" not in str(a[0])]
assert not written, f"the disk was touched: {written}"
heavy = new & {"pandas", "orbax", "tensorstore", "matplotlib", "tyro", "beartype", "scipy", "optax"}
heavy |= new & {"safetensors", "flatbuffers", "msgspec"}
assert not heavy, f"heavy imports: {heavy}"
pallas = {"jax.experimental.pallas.mosaic_gpu", "seqjax.ops.pallas.recurrence"}
assert len(seqjax.ops.CELLS) > 5 and not pallas & set(sys.modules), "Pallas was imported"
assert seqjax.train.fit and seqjax.data.read_series and seqjax.forecast.rmse
assert seqjax.losses.bits and seqjax.forecast.naive and "matplotlib" not in sys.modules
assert {"ops", "nn", "models", "data", "train"} <= set(dir(seqjax))
"""


def test_importing_is_light_and_has_no_effects():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    import seqjax

    assert seqjax.__version__.count(".") == 2
    assert not hasattr(seqjax, "transformer")
    assert not hasattr(seqjax.forecast, "plot")


def test_every_part_is_an_attribute():
    import seqjax

    parts = {module.name for module in pkgutil.iter_modules(seqjax.__path__)}
    commands = {"__main__", "cli"}  # which another test may have imported
    assert parts - commands == parts & set(dir(seqjax)) - commands
    assert seqjax.forecast.plots.plot_losses is seqjax.forecast.plot_losses
    assert {"plots", "plot_losses", "DataError", "naive", "conformal"} <= set(dir(seqjax.forecast))


def test_a_type_checker_is_told_every_part():
    import seqjax

    body = ast.parse(Path(seqjax.__file__).read_text()).body
    told = next(one for one in body if isinstance(one, ast.If)).body[0]
    assert tuple(alias.name for alias in told.names) == seqjax._LAZY
