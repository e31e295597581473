"""Section "device": which it is, and its own limits: a large product, a large copy, a loop."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.bench.gpu.measure import compiled, in_turns
from seqjax.bench.gpu.rows import Emit, Row, problem


def run(dry: bool, emit: Emit) -> None:
    """Rows: the device; TFLOP/s by dtype; GB/s read and written; microseconds of a loop's step."""
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    emit(
        Row(
            {"what": "device"},
            {
                "name": device.device_kind,
                "platform": device.platform,
                "devices": jax.device_count(),
                "memory GB": round(memory / 1e9, 1),
                "client": device.client.platform_version.splitlines()[0],
            },
        )
    )
    size, bytes_copied, steps = (128, 2**20, 50) if dry else (8192, 2**31, 1000)
    for dtype, precision in (("bfloat16", None), ("float32", None), ("float32", "highest")):
        labels = {"what": "product", "dtype": dtype, "precision": precision or "default"}
        try:
            keys = jax.random.split(jax.random.key(0))
            a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)
            with jax.default_matmul_precision(precision):
                seconds = _seconds(jnp.matmul, a, b, dry=dry)
            emit(Row(labels, {"TFLOP/s": 2e-12 * size**3 / seconds}))
        except Exception as error:
            emit(problem(labels, error))
    x = jax.random.normal(jax.random.key(0), (bytes_copied // 4,))
    seconds = _seconds(jnp.negative, x, dry=dry)
    emit(Row({"what": "copy, read + write"}, {"GB/s": 2e-9 * bytes_copied / seconds}))

    def loop(x: Array) -> Array:
        return lax.scan(lambda x, _: (0.999 * x, None), x, None, length=steps)[0]

    seconds = _seconds(loop, x[: 64 * 64], dry=dry)
    emit(Row({"what": "step of a lax.scan that does nothing"}, {"us": 1e6 * seconds / steps}))


def _seconds(program, *arguments: Array, dry: bool) -> float:
    run = compiled(program, *arguments).run
    return in_turns({"only": run}, 2 if dry else 7, 0.0 if dry else 0.1)["only"]
