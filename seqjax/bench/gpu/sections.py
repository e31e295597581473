"""The sections: what each does, whose ``run`` it is, and how long it may take."""

from typing import NamedTuple


class Section(NamedTuple):
    """One section.

    Attributes:
        entry: ``module:function``, of ``(dry, emit)``.
        seconds: after which its process is ended; what it found is kept.
        what: in words, for ``--help``.
    """

    entry: str
    seconds: int
    what: str


def _here(module: str, seconds: int, what: str, function: str = "run") -> Section:
    return Section(f"seqjax.bench.gpu.{module}:{function}", seconds, what)


SECTIONS = {
    "device": _here("limits", 45, "what it is; a large product, a large copy, a loop's step"),
    "checks": _here("checks", 120, "every op and implementation against float64 on the CPU"),
    "kernels": _here("checks", 75, "the same of our own kernels", "run_kernels"),
    "layers": _here("layers", 190, "RNN, LSTM, GRU, WaveNet beside PyTorch with cuDNN and Flax"),
    "training": _here("training", 70, "resumed bit for bit; bfloat16 of every architecture"),
    "choices": _here("choices", 80, "each rule of seqjax.ops.layout either way; what won"),
    "newton": _here("layers", 75, "parallel over time beside the loop", "run_newton"),
    "epochs": _here("epochs", 60, "models of chapter 15, beside PyTorch"),
    "generation": _here("generation", 40, "samples one by one"),
    "flags": _here("flags", 70, "command buffers, by XLA_FLAGS"),
    "torch.compile": _here("layers", 60, "a plain loop, compiled, beside ours", "run_compiled"),
}
"""In the order of their worth: a run that is cut off has the first of them."""
