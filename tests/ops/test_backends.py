import jax
import jax.numpy as jnp
import numpy as np
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


def test_a_call_outside_of_jit_is_compiled_once():
    x, params = jnp.ones((2, 5, 3)), ops.LSTMParams(jnp.ones((3, 16)), jnp.ones((4, 16)))
    compilations = []

    def listen(event, _, **more):
        if event.endswith("backend_compile_duration"):
            compilations.append(event)

    def differentiate():
        jax.grad(lambda params: jnp.sum(ops.lstm(params, x)))(params)

    differentiate()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        differentiate()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compilations


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
        def drawn_and_run(key, x):  # a choice is made where it is traced
            return ops.run(cell, ops.init(cell, key, 3, features, dtype), x, **options)

        ran.clear()
        x = jax.ShapeDtypeStruct((2, 5, 3), dtype)
        assert jax.eval_shape(drawn_and_run, jax.random.key(0), x).shape == (2, 5, features)
        return bool(ran)

    mask = {"recurrent_mask": np.ones((2, 4), np.float32)}
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
