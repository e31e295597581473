"""The contestants of section "layers", each in a process of its own (`seqjax.bench.worker`).

`prepare` compiles a group of cases at once, in threads; `seconds` times one program.
Dimensions: B batch, T time, I input features, H features.
"""

import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.cases import Arrays, Case, kernel_norm, make_arrays
from seqjax.bench.gpu.measure import Calls, calls_within, compiled, side_by_side
from seqjax.bench.gpu.rows import problem
from seqjax.bench.peers import linen, ours
from seqjax.bench.peers.jax_layer import Apply, gradient_of

PROGRAMS: tuple[str, ...] = ("forward", "forward + backward")


class Ready(NamedTuple):
    """One case, compiled.

    Attributes:
        programs: by name, of `PROGRAMS`.
        outputs: to agree on: some steps of y and dx, and the norm of the kernels' gradients.
        facts: what compiling took, and memory.
    """

    programs: dict[str, Calls]
    outputs: dict[str, Any]
    facts: dict[str, Any]


_ready: dict[int, Ready] = {}


def prepare(
    entry: str, cases: list[dict[str, Any]], dtype: str, folder: str, threads: int, **how: Any
) -> list[dict[str, Any]]:
    """Compile and run every case once.

    Args:
        entry: "ours", "linen" or "torch".
        cases: fields of `Case`.
        dtype: of inputs and parameters.
        folder: where the outputs of case number k are written, as ``k.npz``.
        threads: that compile.
        **how: further arguments of the contestant.

    Returns:
        For each case its facts, or its status and note.
    """
    _ready.clear()  # the group before: its memory is wanted
    make = {"ours": _ours, "linen": _linen, "torch": _torch}[entry]
    jobs = {k: partial(make, Case(**case), dtype, **how) for k, case in enumerate(cases)}
    answers: list[dict[str, Any]] = [{}] * len(cases)
    for k, result in side_by_side(jobs, threads):
        if isinstance(result, Exception):
            row = problem({}, result)
            answers[k] = {"status": row.status, "note": row.note}
            continue
        _ready[k] = result
        np.savez(Path(folder) / f"{k}.npz", allow_pickle=False, **result.outputs)
        answers[k] = {"facts": result.facts}
    return answers


def seconds(case: int, program: str, at_least: float) -> float:
    """Seconds a call, over as many as take `at_least` together."""
    run = _ready[case].programs[program]
    calls = calls_within(run, at_least)
    return run(calls) / calls


def _ours(case: Case, dtype: str, implementation: str | None = None) -> Ready:
    arrays = make_arrays(case)
    weights = {name: jnp.asarray(value, dtype) for name, value in arrays.weights.items()}
    return _on_jax(*ours.apply_and_params(case, weights, implementation), arrays, dtype)


def _linen(case: Case, dtype: str) -> Ready:
    """Flax's, told to keep its carry in the dtype, too: by default it promotes all to float32."""
    arrays = make_arrays(case)
    apply, params = linen.apply_and_params(case, arrays.weights)
    cells = {"rnn": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}
    if case.kind in cells:
        kind = jnp.dtype(dtype)
        draw = nn.initializers.zeros  # in place of a QR, which bfloat16 has not; never drawn
        types: Any = {"dtype": kind, "param_dtype": kind, "recurrent_kernel_init": draw}
        module = nn.RNN(cells[case.kind](case.features, **types))

        def narrow(params: Any, x: jax.Array) -> Any:
            return module.apply({"params": params}, x)

        apply = narrow
    return _on_jax(apply, jax.tree.map(lambda a: a.astype(dtype), params), arrays, dtype)


def _on_jax(apply: Apply, params: Any, arrays: Arrays, dtype: str) -> Ready:
    x, cotangent = jnp.asarray(arrays.x, dtype), jnp.asarray(arrays.cotangent, dtype)
    forward = compiled(apply, params, x)
    backward = compiled(gradient_of(apply), params, x, cotangent)
    d_params, d_x = backward.result
    norm = kernel_norm([np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(d_params)])
    programs = dict(zip(PROGRAMS, (forward.run, backward.run), strict=True))
    return Ready(programs, _outputs(forward.result, d_x, norm), backward.facts)


def _outputs(y: Any, d_x: Any, norm: Any) -> dict[str, Any]:
    """Some 16 steps of each, the last among them: all would be gigabytes for the disk."""

    def some(array: Any) -> Any:
        every = max(1, array.shape[1] // 16)
        return np.asarray(array[:, every - 1 :: every], np.float32)

    return {"y": some(y), "dx": some(d_x), "norm of the kernels' gradients": norm}


def _torch(case: Case, dtype: str, steps: int = 0, backend: str = "inductor") -> Ready:
    """PyTorch: cuDNN's layers, or (`steps` > 0) a loop of which so many steps are compiled."""
    torch: Any = importlib.import_module("torch")
    peer = importlib.import_module("seqjax.bench.peers.torch")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arrays = make_arrays(case)
    module = peer._module(case, arrays.weights).to(device, getattr(torch, dtype))
    x, cotangent = (
        torch.from_numpy(a).to(device, getattr(torch, dtype)) for a in (arrays.x, arrays.cotangent)
    )
    x.requires_grad_()
    wanted = [x, *module.parameters()]
    layer = module if not steps else _loop(torch, module, steps, backend)

    def apply() -> Any:
        y = layer(x)
        return y[0] if isinstance(y, tuple) else y

    def forward() -> Any:
        with torch.no_grad():
            return apply()

    def backward() -> Any:
        return torch.autograd.grad(apply(), wanted, cotangent, allow_unused=bool(steps))

    runs = (_blocked(torch, forward), _blocked(torch, backward))
    programs = dict(zip(PROGRAMS, runs, strict=True))
    facts: dict[str, Any] = {"first run s": sum(run(1) for run in runs)}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        programs["forward + backward"](1)
        facts["temporary bytes"] = float(torch.cuda.max_memory_allocated() - before)
        facts["cuDNN"] = bool(torch.backends.cudnn.is_acceptable(x)) and not steps
    d_x, *d_params = (g if g is None else g.float().cpu().numpy() for g in backward())
    norm = kernel_norm([g for g in d_params if g is not None])
    y = forward().float().cpu().numpy()
    return Ready(programs, _outputs(y, d_x, norm), facts)


def _blocked(torch: Any, run: Callable[[], Any]) -> Calls:
    """As `seqjax.bench.gpu.measure.calls_of`."""

    def calls(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return calls


def _loop(torch: Any, module: Any, steps: int, backend: str) -> Callable[[Any], Any]:
    """An LSTM as a plain loop with ``torch.compile``, which unrolls: so many steps at a time."""
    kernel, recurrent, bias = module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0

    def some(x: Any, h: Any, c: Any) -> Any:
        projected = torch.nn.functional.linear(x, kernel, bias)
        outputs = []
        for t in range(x.shape[1]):
            gates = projected[:, t] + torch.nn.functional.linear(h, recurrent)
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1), h, c

    fast = torch.compile(some, backend=backend, dynamic=False)

    def layer(x: Any) -> Any:
        h = c = x.new_zeros(x.shape[0], recurrent.shape[1])
        pieces = []
        for piece in x.split(steps, dim=1):
            y, h, c = fast(piece, h, c)
            pieces.append(y)
        return torch.cat(pieces, dim=1)

    return layer
