"""What devices say to each other in a compiled training step: read from its HLO text."""

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from seqjax import models, train
from seqjax.bench.worker import seconds_of_calls
from seqjax.train.mesh import replicate
from seqjax.train.steps import Place, Program, initial_state, train_steps

Kind = Literal["wavenet", "gru"]

_OPS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
# "-done" only waits for what "-start" sent.
_INSTRUCTION = re.compile(rf" = (?P<result>.*?) (?P<op>{_OPS})(?P<start>-start)?\(")
_SHAPE = re.compile(r"\b(?P<dtype>pred|[a-z]+\d+\w*)\[(?P<sizes>[\d,]*)\]")
_HEADER = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) .*\{$")
_CALLED = re.compile(r"\b(?:body|calls|to_apply|(?:true|false)_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')

# No machine code worth running: XLA's passes over the HLO, the partitioner's too, are the same.
_CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Collective(NamedTuple):
    """One collective instruction.

    Attributes:
        op: "all-reduce", "all-gather", ...
        size: bytes of its result on one device.
        times: that a step runs it, more than once where it is in a loop.
    """

    op: str
    size: int
    times: int = 1


def collectives(hlo: str) -> list[Collective]:
    r"""The collectives of an optimized HLO module, those of all branches of conditionals.

    Args:
        hlo: ``compiled.as_text()``. A loop whose number of turns it does not say counts as one.

    Example:
        >>> text = "ENTRY %main (p: f32[3]) -> f32[3] {\n %r = f32[3]{0} all-reduce(%p)\n}"
        >>> collectives(text)
        [Collective(op='all-reduce', size=12, times=1)]
    """
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in hlo.splitlines():
        if header := _HEADER.match(line):
            lines = computations.setdefault(header["name"], [])
            entry = header["name"] if header["entry"] else entry
        else:
            lines.append(line)

    def walk(name: str, times: int) -> Iterator[Collective]:
        for line in computations.get(name, ()):
            if found := _INSTRUCTION.search(line):
                # The result of an asynchronous start holds its operands, too.
                size = _bytes(found["result"]) // (2 if found["start"] else 1)
                yield Collective(found["op"], size, times)
                continue
            trips = _TRIPS.search(line)
            inner = times * (int(trips[1]) if trips else 1)
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += [branch.strip().lstrip("%") for branch in branches.split(",")]
            for one in called:
                yield from walk(one, inner)

    return list(walk(entry, 1))


def _bytes(result: str) -> int:
    total = 0
    for shape in _SHAPE.finditer(result):
        bits = 8 if shape["dtype"] == "pred" else int(re.findall(r"\d+", shape["dtype"])[0])
        count = 1
        for size in filter(None, shape["sizes"].split(",")):
            count *= int(size)
        total += count * bits // 8
    return total


def step_of(
    kind: Kind,
    devices: int,
    batch: int,
    steps: int,
    features: int,
    layers: int,
    measure: bool = False,
) -> dict[str, Any]:
    """Compile a training step of `seqjax.train`, the batch split over devices.

    Args:
        kind: "wavenet" (a stack of dilated causal convolutions) or "gru".
        devices: virtual CPU devices, of which none computes anything.
        batch: sequences of one step, on all devices together.
        steps: of each sequence.
        features: width of the layers.
        layers: how many.
        measure: take real devices, of whatever platform there is, and time the step.

    Returns:
        ``collectives``, rows of op, bytes of one and times a step; ``seconds`` to trace, lower
        and compile; ``weights``, the number of parameters; ``step``, the median seconds of one,
        where measured.

    Raises:
        ValueError: where there are fewer devices.
    """
    if not measure and jax.config.values["jax_num_cpu_devices"] < devices:
        jax.config.update("jax_num_cpu_devices", devices)
    there = jax.devices() if measure else jax.devices("cpu")
    if len(there) < devices:
        raise ValueError(f"--devices: {devices}, but this machine has {len(there)}.")
    mesh = train.data_mesh(there[:devices])
    model = models.make(
        "conv" if kind == "wavenet" else kind, inputs=1, features=(features,) * layers, outputs=1
    )

    def loss(params: Any, examples: dict[str, Array], key: Array | None) -> Array:
        return jnp.mean((model.apply(params, examples["x"]) - examples["y"]) ** 2, axis=(1, 2))

    def start(key: Array) -> Any:
        return initial_state(optimizer, False, False, model.init(key))

    examples = {name: np.zeros((batch, steps, 1), np.float32) for name in ("x", "y")}
    batches = train.array_batches(examples, batch, shuffle=False)
    optimizer = optax.adam(1e-3)
    update = optax.with_extra_args_support(optimizer).update
    key, zero = jax.random.key(0), jnp.int32(0)
    at = Place(epoch=zero, first=zero, fresh=jnp.bool_(True), limit=jnp.int32(10))
    state = jax.eval_shape(start, key)
    everywhere = NamedSharding(mesh, PartitionSpec())

    def described(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere)

    program = Program(loss, update, batches.plan, batches.batch)
    rest = batches.data, key, None, at
    begun = time.perf_counter()
    with jax.set_mesh(mesh):
        compiled = (
            jax.jit(train_steps, static_argnums=(0, 1))
            .lower(program, 1, *jax.tree.map(described, (state, *rest)))
            .compile(None if measure else _CHEAP)
        )
    found = {"seconds": time.perf_counter() - begun}
    counts = Counter(collectives(compiled.as_text() or ""))
    if measure:
        state, *rest = replicate(mesh, (start(key), *rest))
        run = partial(compiled, state, *rest)
        jax.block_until_ready(run())
        found["step"] = statistics.median(
            seconds_of_calls(lambda: jax.block_until_ready(run()), 1.0)
        )
    return found | {
        "collectives": [[one.op, one.size, one.times * n] for one, n in sorted(counts.items())],
        "weights": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
