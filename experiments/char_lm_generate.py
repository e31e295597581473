"""Text out of a finished run of `experiments.char_lm`, as it comes."""

import codecs
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import data, launch, models, runs
from seqjax.data.text import PADDING

_CHUNK = 16  # characters at a time


def row_in(folder: Path, asked: str | None) -> str:
    """The row to generate with: the one asked for, "best", or the only one.

    Raises:
        RunError: where there are several.
    """
    rows = sorted(path.parent.name for path in (folder / "rows").glob("*/model.json"))
    if asked is not None or not rows:
        return asked or ""
    if "best" in rows or len(rows) == 1:
        return "best" if "best" in rows else rows[0]
    raise launch.RunError(f"{folder}: say --only ROW to generate with: {', '.join(rows)}.")


def generate(
    folder: Path,
    row: str,
    prompt: str,
    count: int,
    *,
    sample: Callable[[jax.Array, jax.Array], jax.Array],
    seed: int,
) -> float:
    """Print a text and what a model continues it by, some characters at a time.

    Args:
        folder: the run's.
        row: which of its rows, with its first seed.
        prompt: what the text begins with; "" begins a document.
        count: how many characters (bytes) to make.
        sample: see `seqjax.models.sampler`.
        seed: of the draws.

    Returns:
        Characters per second, after the compilation.

    Raises:
        RunError: where there is no such run.
    """
    run = runs.load(folder, row)
    vocabulary = data.Vocabulary.from_json(run.extra["vocabulary"])
    known = np.concatenate([np.array([PADDING], np.int32), vocabulary.encode(prompt)])
    pieces = models.stream(
        run.model,
        run.params,
        jnp.asarray(known)[None],
        count,
        key=jax.random.key(seed),
        sample=sample,
        chunk=_CHUNK,
    )
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")  # a character's bytes may be apart
    print(prompt, end="", flush=True)
    begun, done = time.perf_counter(), 0
    for number, piece in enumerate(pieces):
        if vocabulary.unit == "byte":
            first = vocabulary.size - 256
            made = utf8.decode(bytes(int(n) - first for n in piece[0] if n >= first))
        else:
            made = vocabulary.decode(piece[0])
        print(made, end="", flush=True)
        if number == 0:
            begun = time.perf_counter()
        else:
            done += piece.shape[1]
    return done / max(time.perf_counter() - begun, 1e-9)
