"""A trained model as a file that runs without this package."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import Array, export
from jaxtyping import DTypeLike

from seqjax import models, nn
from seqjax.storage.files import write_atomically


def export_model(
    path: str | Path,
    model: models.Model | Callable[[Any, Array], Any],
    params: Any,
    *,
    steps: int,
    inputs: nn.Inputs,
    dtype: DTypeLike | None = None,
    platforms: Sequence[str] | None = None,
) -> export.Exported:
    """Write a model with its parameters as one StableHLO program, for any batch size.

    The file takes x [batch, steps, inputs], or tokens [batch, steps]. JAX alone runs it (with
    flatbuffers, which `jax.export` reads files with)::

        import jax, pathlib
        model = jax.export.deserialize(pathlib.Path(path).read_bytes())
        y = jax.jit(model.call)(x)     # compiled once for each batch size
        model.in_avals, model.out_avals, model.platforms   # what it takes

    JAX promises that a file runs for six months after the version that wrote it, and on
    versions of up to three weeks before; newer versions refuse files past that. So it is for
    serving, not for keeping: keep `seqjax.io.save_model`'s file and export again.

    Dropout does not act. Which form of a layer is exported is chosen for the platform that
    exports; the numbers are the same on all, only the speed may suffer.

    Args:
        path: the file; its folder must exist. A file that is there is replaced.
        model: a model, or a function ``(params, x) -> y``, such as one that scales x,
            calls `seqjax.models.generate`, and scales back.
        params: its parameters; they become constants of the program.
        steps: length of the sequences.
        inputs: number of input features, or ``nn.Tokens(vocab_size)``.
        dtype: of x; by default float32, of tokens int32.
        platforms: those that it is to run on, of "cpu", "cuda", "rocm" and "tpu"; by
            default the one here.

    Returns:
        What was written, to look at or call.

    Raises:
        TypeError: for anything else than a model or a function, such as a `Forecaster`.
        ValueError: for no steps or inputs.
        FileNotFoundError: where the folder does not exist.
        ImportError: without flatbuffers (the extra "export").

    Example:
        >>> import pathlib, tempfile
        >>> model = models.make("gru", inputs=1, features=(4,), outputs=1, last=True)
        >>> params = model.init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "gru.jax")
        ...     _ = export_model(file, model, params, steps=12, inputs=1)
        ...     reloaded = export.deserialize(file.read_bytes())
        >>> reloaded.in_avals[0].str_short(), reloaded.out_avals[0].str_short()
        ('float32[batch,12,1]', 'float32[batch,1]')

    A function reads what a model takes besides, such as sentences with their lengths out of one
    array of tokens (`seqjax.data.PADDING` is 0): ``lambda params, tokens: model.apply(params,
    tokens, seq_lengths=(tokens > 0).sum(axis=1))``.

    Source: https://docs.jax.dev/en/latest/export/export.html, "Compatibility guarantees".
    """
    if isinstance(model, nn.Layer) or not (isinstance(model, models.Model) or callable(model)):
        raise TypeError(
            "export_model: the model must be one of seqjax.models (of a layer: models.from_layer),"
            f" or a function (params, x) -> y, not {type(model).__name__}. A Forecaster is saved by"
            " Forecaster.save."
        )
    tokens = isinstance(inputs, nn.Tokens)
    if steps < 1 or (inputs.vocab_size if tokens else inputs) < 1:
        raise ValueError(f"export_model: steps ({steps}) and inputs ({inputs}) must be at least 1.")
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            "seqjax.io.export_model needs flatbuffers, which jax.export writes with:"
            " pip install 'seqjax[export]'"
        )
    function = model.apply if isinstance(model, models.Model) else model
    (batch,) = export.symbolic_shape("batch")
    shape = (batch, steps) if tokens else (batch, steps, inputs)
    x = jax.ShapeDtypeStruct(shape, dtype or ("int32" if tokens else "float32"))
    exported = export.export(jax.jit(lambda x: function(params, x)), platforms=platforms)(x)
    write_atomically(Path(path), bytes(exported.serialize()))
    return exported
