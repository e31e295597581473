"""cuDNN's LSTM as far as no GPU is needed: packing, lengths, directions, refusals.

`jax.experimental.rnn.lstm_ref` stands in for the library: JAX's own reading of it, which JAX
tests against cuDNN on GPUs. `./scripts/gpu --only checks` holds the library itself to "scan".
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from seqjax import ops
from seqjax.ops import cudnn
from seqjax.ops.backends import BACKENDS
from tests.ops.cells import CASES, LENGTHS, MASK, H, I, assert_close, make, total


@pytest.fixture
def stand_in(monkeypatch):
    """The library's reference in its place, on a platform that calls itself a GPU."""

    def lstm(x, h, c, weights, lengths, inputs, features, layers, dropout, bidirectional):
        unpacked = rnn.unpack_lstm_weights(weights, inputs, features, layers, bidirectional)
        sizes = inputs, features, layers, dropout, bidirectional
        return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seq_lengths": LENGTHS},
        {"seq_lengths": LENGTHS, "reverse": True},
        {"reverse": True, "keep_order": True, "time_major": True},
    ],
    ids=lambda options: ", ".join(options) or "plain",
)
def test_values_and_gradients_are_those_of_scan(stand_in, options, bias):
    """With a sequence of no steps among them, whose carry is the first one."""
    params, x, carry = make(CASES["lstm"], np.float32)
    params = params if bias else params._replace(bias=None)
    x = jnp.swapaxes(x, 0, 1) if options.get("time_major") else x

    def of(implementation):
        def value(*arguments):
            result = ops.lstm(
                *arguments, return_carry=True, implementation=implementation, **options
            )
            return total(result), result

        return jax.jit(jax.value_and_grad(value, (0, 1, 2), has_aux=True))(params, x, carry)

    assert_close(of("cudnn"), of("scan"), 3e-5)


def test_weights_are_packed_as_cudnn_reads_them():
    """W_ih [4H, I], W_hh [4H, H], b_ih, b_hh: the layout in `jax.experimental.rnn`."""
    params, *_ = make(CASES["lstm"], np.float32)
    packed = np.asarray(cudnn.pack(ops.Weights(*params)))
    assert len(packed) == rnn.get_num_params_in_lstm(I, H, 1, False)
    ends = np.cumsum([4 * H * I, 4 * H * H, 4 * H])
    kernel, recurrent, bias, second = np.split(packed, ends)
    for k, gate in enumerate("ifgo"):
        for flat, ours in ((kernel, params.kernel), (recurrent, params.recurrent_kernel)):
            block = flat.reshape(4, H, -1)[k]
            np.testing.assert_array_equal(block, ours[:, k * H : (k + 1) * H].T, err_msg=gate)
    np.testing.assert_array_equal(bias, params.bias)
    assert not second.any()


def test_what_cudnn_cannot_run_has_a_reason(monkeypatch):
    def refused(match, name="lstm", dtype=np.float32, platform="gpu", steps=5, **options):
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        params, x, _ = make(CASES[name], dtype, steps=steps)
        with pytest.raises(ValueError, match=f"implementation 'cudnn' cannot run this: .*{match}"):
            ops.run(CASES[name].cell, params, x, implementation="cudnn", **options)

    refused("the LSTM alone", "gru")
    refused("the LSTM alone", "peephole_lstm")
    refused("the LSTM alone", "min_lstm")
    refused("float32, not bfloat16", dtype=jnp.bfloat16)
    refused("no recurrent dropout", recurrent_mask=MASK)
    refused("a piece of a sequence", chunk_size=2)
    refused("a piece of a sequence", truncation=2)
    refused("an NVIDIA GPU, and this runs on cpu", platform="cpu")
    refused("no empty sequence", steps=0)
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:2]), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    refused("does not split a batch", mesh=mesh)
    with jax.default_matmul_precision("bfloat16"):
        refused("no products in bfloat16")
    assert BACKENDS["cudnn"].loops.keys() == {ops.Elementwise}
