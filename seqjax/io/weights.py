"""Weights in a safetensors file, with the configuration that they belong to."""

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.io.errors import WeightsError
from seqjax.io.trees import named_leaves, nested
from seqjax.storage.files import write_atomically
from seqjax.storage.strict_json import parse_object
from seqjax.storage.trees import (
    Leaf,
    checksum,
    described,
    differences,
    leaves_from_json,
    leaves_to_json,
)
from seqjax.storage.versions import version

FORMAT = 1

# One entry holds all of ours: safetensors writes several in an order that changes from run
# to run, and the same weights should give the same file.
_ENTRY = "seqjax"

# What safetensors both writes from NumPy and reads into it; others are kept as bytes.
_NATIVE = {"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
_NATIVE |= {"float16", "bfloat16", "float32", "float64", "complex64"}


class _Header(NamedTuple):
    config: dict[str, Any]
    leaves: dict[str, Leaf]


def save_weights(path: str | Path, params: Any, config: dict[str, Any] | None = None) -> None:
    """Write parameters and their configuration as one safetensors file, atomically.

    Leaves have slash-joined names ("layers_0/kernel"): keys of dicts, fields of named
    tuples, places in lists. The header's metadata holds one JSON, "seqjax": ``{"format",
    "version", "config", "config_sha256", "leaves": {name: {"dtype", "shape", "sha256"}}}``.
    Any reader of safetensors can read the file; dtypes that NumPy's reader lacks
    (complex128, float8, int4) are stored as bytes, with a last axis of their size.

    Args:
        path: the file; its folder must exist. A file that is there is replaced.
        params: a pytree of arrays, of any shapes and dtypes.
        config: anything that JSON keeps as it is (a tuple becomes a list); by default {}.

    Raises:
        WeightsError: for leaves that are no arrays of numbers, names that could not be
            told apart, or a configuration that JSON would change.
        FileNotFoundError: where the folder does not exist.
        ImportError: without safetensors (the extra "weights").

    Example:
        >>> import tempfile
        >>> params = {"dense": {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(f"{folder}/dense.safetensors", params, {"outputs": 1})
        ...     loaded, config = load_weights(f"{folder}/dense.safetensors")
        >>> config, jax.tree.map(jnp.shape, loaded)
        ({'outputs': 1}, {'dense': {'bias': (1,), 'kernel': (3, 1)}})

    Source: the format, https://huggingface.co/docs/safetensors.
    """
    safetensors = _safetensors()
    path = Path(path)
    text = _config_json(path, {} if config is None else config)
    try:
        named, _ = named_leaves(params)
        arrays = {name: _to_numpy(name, leaf) for name, leaf in named.items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    about = {
        "format": FORMAT,
        "version": version(),
        "config": json.loads(text),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "leaves": leaves_to_json(arrays),
    }
    stored = {name: _to_stored(array) for name, array in arrays.items()}
    # Not `save_file`, which makes a file that its owner alone can read and does not sync it.
    data = safetensors.numpy.save(stored, metadata={_ENTRY: json.dumps(about)})
    write_atomically(path, data)


def load_weights(path: str | Path, like: Any = None) -> tuple[Any, dict[str, Any]]:
    """Parameters and configuration from a file of `save_weights`, bit for bit.

    Names, shapes and dtypes are compared before any array is read; then every leaf's
    checksum.

    Args:
        path: the file.
        like: a pytree of arrays or `jax.ShapeDtypeStruct` whose structure, shapes and
            dtypes the parameters must have (`jax.eval_shape` of an initialiser makes one
            for nothing); None for nested dicts, in which lists and named tuples have
            become dicts and what holds no arrays is missing.

    Returns:
        ``(params, config)``, the parameters as `jax.Array` on the default device.

    Raises:
        WeightsError: for a file that is missing, damaged, of another program or of a newer
            format; for parameters that do not fit `like`; for 64-bit leaves without
            ``jax_enable_x64``, which JAX would narrow.
        ImportError: without safetensors (the extra "weights").

    Example:
        >>> import tempfile
        >>> from seqjax import ops
        >>> params = ops.RNNParams(jnp.ones((1, 2)), jnp.zeros((2, 2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(f"{folder}/rnn.safetensors", params)
        ...     loaded, _ = load_weights(f"{folder}/rnn.safetensors", like=params)
        >>> type(loaded).__name__, loaded.bias
        ('RNNParams', None)
    """
    path = Path(path)
    with _open(path) as file:
        header = _read_header(path, file)
        structure = None
        order = list(header.leaves)
        if like is not None:
            named, structure = named_leaves(like)
            if wrong := differences(
                header.leaves, described(named), here="in the file", there="in `like`"
            ):
                raise WeightsError(f"{path} does not fit: {wrong}")
            order = list(named)
        for name, leaf in header.leaves.items():
            if jax.dtypes.canonicalize_dtype(leaf.dtype) != jnp.dtype(leaf.dtype):
                raise WeightsError(
                    f"{path}: {name} is {leaf}, which JAX would narrow; set jax_enable_x64."
                )
        leaves = {name: jnp.array(_read(path, file, name, header.leaves[name])) for name in order}
    if structure is None:
        return nested(leaves), header.config
    return jax.tree.unflatten(structure, list(leaves.values())), header.config


def load_config(path: str | Path) -> dict[str, Any]:
    """The configuration alone, without reading an array.

    Args:
        path: a file of `save_weights` or `save_model`.

    Returns:
        The configuration.

    Raises:
        WeightsError: for a file that is missing, damaged, of another program or of a newer
            format.
        ImportError: without safetensors (the extra "weights").

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(f"{folder}/w.safetensors", {"w": jnp.ones(2)}, {"lags": [1, 12]})
        ...     load_config(f"{folder}/w.safetensors")
        {'lags': [1, 12]}
    """
    path = Path(path)
    with _open(path) as file:
        return _read_header(path, file).config


# -- the header ----------------------------------------------------------------


def _safetensors() -> ModuleType:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "seqjax.io needs safetensors for files of weights: pip install 'seqjax[weights]'"
        ) from error
    return safetensors


def _open(path: Path) -> Any:
    safetensors = _safetensors()
    if not path.is_file():
        raise WeightsError(
            f"{path}: {'is a folder' if path.is_dir() else 'there is no such file'}."
        )
    try:
        return safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path} is no safetensors file, or is cut off or damaged: {error}."
        ) from error


def _read_header(path: Path, file: Any) -> _Header:
    metadata = file.metadata() or {}
    if _ENTRY not in metadata:
        raise WeightsError(
            f"{path} holds no weights of seqjax but another program's: read it with"
            " safetensors.numpy.load_file, and see seqjax.io.from_torch."
        )
    try:
        about = parse_object(metadata[_ENTRY])
        written = about["format"]
        if written != FORMAT:
            raise WeightsError(
                f"{path} has format {written!r}, written by seqjax {about.get('version')}; this"
                f" one reads format {FORMAT}. Is there a newer seqjax?"
            )
        unknown = about.keys() - {"format", "version", "config", "config_sha256", "leaves"}
        if unknown:
            raise ValueError(f"unknown {sorted(unknown)}")
        config = about["config"]
        if hashlib.sha256(json.dumps(config).encode()).hexdigest() != about["config_sha256"]:
            raise ValueError("the configuration does not have its checksum")
        if not isinstance(config, dict):
            raise ValueError("the configuration is no JSON object")
        saved = leaves_from_json(about["leaves"])
        leaves = {name: _of_numbers(leaf) for name, leaf in saved.items()}
        for name in leaves:
            if any(parent in leaves for parent in _parents(name)):
                raise ValueError(f"{name} lies within another leaf")
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: the header is damaged: {error!r}.") from error
    if set(leaves) != set(file.keys()):
        odd = sorted(set(leaves) ^ set(file.keys()))
        raise WeightsError(f"{path}: the header is damaged: {odd} stand in one of its two lists.")
    for name, leaf in leaves.items():
        stored = tuple(file.get_slice(name).get_shape())
        if stored != _stored_shape(leaf):
            raise WeightsError(
                f"{path}: the header is damaged: {name} is {leaf}, but stored as {list(stored)}."
            )
    return _Header(config, leaves)


def _of_numbers(leaf: Leaf) -> Leaf:
    if leaf.dtype.isidentifier():  # NumPy reads others, such as "(2,3", as Python
        dtype = jnp.dtype(leaf.dtype)
        if jnp.issubdtype(dtype, np.number) or dtype.kind == "b":
            return leaf._replace(dtype=dtype.name)
    raise ValueError(f"{leaf.dtype!r} is no dtype of numbers")


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _config_json(path: Path, config: dict[str, Any]) -> str:
    try:
        text = json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the configuration is no JSON: {error}.") from error
    if json.loads(text) != _with_lists(config):
        raise WeightsError(
            f"{path}: JSON would change the configuration {config}; keys must be strings."
        )
    return text


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value


# -- the arrays ----------------------------------------------------------------


def _to_numpy(name: str, leaf: Any) -> np.ndarray:
    """The leaf's very bits, in this machine's order of bytes, row by row."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise WeightsError(f"{name} is a random key; save jax.random.key_data of it.")
    array = np.asarray(leaf)
    if not (jnp.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise WeightsError(f"{name} holds {array.dtype}, which are no numbers.")
    if array.dtype.byteorder in "<>":  # safetensors asks for little-endian
        array = array.astype(array.dtype.newbyteorder("="))
    # safetensors takes the memory as it lies, whatever the strides.
    return np.asarray(array, order="C")


def _stored_shape(leaf: Leaf) -> tuple[int, ...]:
    if leaf.dtype in _NATIVE:
        return leaf.shape
    return *leaf.shape, jnp.dtype(leaf.dtype).itemsize


def _to_stored(array: np.ndarray) -> np.ndarray:
    if array.dtype.name in _NATIVE:
        return array
    shape = _stored_shape(Leaf(array.dtype.name, array.shape))
    return np.frombuffer(array.tobytes(), np.uint8).reshape(shape)


def _read(path: Path, file: Any, name: str, leaf: Leaf) -> np.ndarray:
    stored: np.ndarray = file.get_tensor(name)
    if checksum(stored) != leaf.sha256:
        raise WeightsError(f"{path}: {name} is damaged: it does not have the checksum of its save.")
    dtype = jnp.dtype(leaf.dtype)
    if stored.dtype != (dtype if leaf.dtype in _NATIVE else np.uint8):
        raise WeightsError(f"{path}: the header is damaged: {name} is stored as {stored.dtype}.")
    return np.frombuffer(stored.tobytes(), dtype).reshape(leaf.shape)
