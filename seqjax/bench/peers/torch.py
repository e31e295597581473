"""PyTorch, eager: nn.RNN, nn.LSTM, nn.GRU (on a GPU: cuDNN), nn.Conv1d padded on the left."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, kernel_norm, make_arrays
from seqjax.bench.worker import Prepared, find


class _Convolutions(torch.nn.Module):
    """[B, T, I] to [B, T, H]; PyTorch's convolutions want the features before the time."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(features if k else inputs, features, CONV_TAPS, dilation=2**k)
            for k in range(CONV_LAYERS)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        for k, conv in enumerate(self.layers):
            padded = torch.nn.functional.pad(x, ((CONV_TAPS - 1) * 2**k, 0))
            x = torch.relu(conv(padded))
        return x.transpose(1, 2)


def layer(case: dict[str, Any], threads: int | None = None) -> Prepared:
    """The case on PyTorch, on a GPU where there is one."""
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = Case(**case)
    arrays = make_arrays(found)
    module = _module(found, arrays.weights).to(device)
    x, cotangent = (torch.from_numpy(a).to(device) for a in (arrays.x, arrays.cotangent))
    x.requires_grad_()
    wanted = [x, *module.parameters()]

    def run(x: torch.Tensor) -> torch.Tensor:
        y = module(x)
        return y[0] if isinstance(y, tuple) else y

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return run(x)

    def backward() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(run(x), wanted, cotangent)

    def outputs() -> dict[str, np.ndarray]:
        d_x, *d_params = (gradient.cpu().numpy() for gradient in backward())
        return {
            "y": forward().cpu().numpy(),
            "dx": d_x,
            "norm of the kernels' gradients": kernel_norm(d_params),
        }

    def blocked(run: Callable[[], object]) -> Callable[[], object]:
        def finish() -> object:
            done = run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            return done

        return finish

    return Prepared({"forward": blocked(forward), "forward + backward": blocked(backward)}, outputs)


def _module(case: Case, weights: dict[str, FloatArray]) -> torch.nn.Module:
    def copy(parameter: torch.Tensor, value: FloatArray) -> None:
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    if case.kind == "conv":
        stack = _Convolutions(case.inputs, case.features)
        for k, conv in enumerate(stack.layers):
            assert isinstance(conv, torch.nn.Conv1d)
            assert conv.bias is not None
            copy(conv.weight, weights[f"kernel {k}"].transpose(2, 1, 0))
            copy(conv.bias, weights[f"bias {k}"])
        return stack
    kinds = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    module = find("PyTorch", kinds, case.kind)(case.inputs, case.features, batch_first=True)
    copy(module.weight_ih_l0, weights["kernel"].T)
    copy(module.weight_hh_l0, weights["recurrent_kernel"].T)
    copy(module.bias_ih_l0, weights["bias"])
    copy(module.bias_hh_l0, np.zeros_like(weights["bias"]))
    return module
