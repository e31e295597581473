import jax
import jax.numpy as jnp
import pytest

from seqjax import ops
from seqjax.ops import backends
from seqjax.ops.backends import BACKENDS, Backend, Call, choose


def asked(form, **options):
    return Call("op", form, (2, 5, 3), 4, jnp.dtype("float32"), options)


def test_the_best_implementation_depends_on_the_platform(monkeypatch):
    for backend, best in (("cpu", "scan"), ("gpu", "associative"), ("tpu", "associative")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert choose(asked(ops.Linear(None))) == best


def test_a_backend_answers_for_a_call_with_its_reason(monkeypatch):
    """A fused kernel's like: narrow layers of a dtype, without recurrent dropout."""

    def refuses(call):
        if call.dtype != jnp.bfloat16:
            return f"it computes in bfloat16, not {call.dtype}"
        if call.features > 8:
            return f"its kernels hold 8 features, not {call.features}"
        if call.options.get("recurrent_mask") is not None:
            return "it has no recurrent dropout"
        return None

    ran = []

    def over_time(*arguments):
        ran.append(arguments)
        return BACKENDS["scan"].loops[ops.Elementwise](*arguments)

    fused = Backend({ops.Elementwise: over_time}, "it runs elementwise cells", refuses)
    monkeypatch.setitem(BACKENDS, "fused", fused)
    monkeypatch.setitem(backends._ORDER, "cpu", ("fused", "scan"))

    def run(cell, dtype="bfloat16", features=4, **options):
        params = ops.init(cell, jax.random.key(0), 3, features, dtype)
        ran.clear()
        y = ops.run(cell, params, jnp.ones((2, 5, 3), dtype), **options)
        assert y.shape == (2, 5, features)
        return bool(ran)

    mask = {"recurrent_mask": jnp.ones((2, 4))}
    for cell, given, reason in (
        (ops.LSTMCell(), {}, None),
        (ops.LSTMCell(), {"dtype": "float32"}, "it computes in bfloat16, not float32"),
        (ops.UGRNNCell(), {"features": 9}, "its kernels hold 8 features, not 9"),
        (ops.RNNCell(), mask, "it has no recurrent dropout"),
        (ops.GRUCell(reset_after=False), {}, "it runs elementwise cells"),
    ):
        assert run(cell, **given) == (reason is None)  # None goes on to the next
        if reason is not None:
            with pytest.raises(ValueError, match=f"{cell.name}: .*'fused' cannot .*: {reason}"):
                run(cell, **given, implementation="fused")
