"""The kernels without a GPU: interpreted on a CPU, and lowered for CUDA.

Against "scan" in float32 on the same bfloat16 numbers. A kernel rounds to bfloat16 (a relative
2^-9 each) z, h, what it keeps for the backward pass and the gates' gradients: a few such
roundings a step, of a few steps that each shrink what came before, stay below TOLERANCE of an
array's largest number.
"""

import functools
import itertools
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn, ops
from seqjax.ops import both_directions, sequence
from seqjax.ops.backends import BACKENDS, Call, choose
from seqjax.ops.cell import Loop
from seqjax.ops.layout import choices, choose_layout
from seqjax.ops.pallas import shapes
from tests.ops.cells import CASES, Case

TOLERANCE = 0.016  # 2^-6
ELEMENTWISE = {
    name: case
    for name, case in CASES.items()
    if isinstance(case.cell.form, ops.Elementwise) and not case.cell.form.diagonal
}
lacks_pallas = jax.__version_info__ < (0, 11)
needs_pallas = pytest.mark.skipif(
    lacks_pallas, reason="the kernels need jax 0.11 (Python 3.12); its refusal is tested"
)


# -- who gets them ---------------------------------------------------------------


def call(cell=None, features=64, dtype="bfloat16", shape=(2, 5, 3), **options):
    cell = cell or ops.LSTMCell()
    return Call(cell.name, cell.form, shape, features, jnp.dtype(dtype), options)


def test_what_the_kernels_cannot_run_is_refused_with_its_reason(monkeypatch):
    pallas = BACKENDS["pallas"]
    asked = call(implementation="pallas")
    linear = ops.LRUCell()
    assert "elementwise" in pallas.reason(call(linear))
    assert "elementwise" in pallas.reason(call(ops.GRUCell(reset_after=False)))
    if lacks_pallas:
        reason = f"it needs jax 0.11 or newer (Python 3.12), and this is {jax.__version__}"
        assert pallas.reason(asked) == reason
        monkeypatch.setattr(jax, "__version_info__", (0, 11, 2))
    assert pallas.reason(asked) == "its kernels are for GPUs, and this runs on a CPU"
    with pytest.raises(ValueError, match="lstm: implementation 'pallas' cannot run this: its ker"):
        choose(asked)

    device = types.SimpleNamespace(compute_capability="8.0")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert "compute capability 9.0), not 8.0" in pallas.reason(asked)
    device.compute_capability = "9.0"
    assert pallas.reason(asked) is None
    assert choose(asked) == "pallas"
    for refused, reason in (
        ({"dtype": "float32"}, r"bfloat16 (dtype=jnp.bfloat16), not float32"),
        ({"features": 512}, "width of 512 is too much for the shared memory of 16 multiprocessors"),
        ({"features": 512}, f"295936 bytes of {227 * 1024} in each"),
        ({"cell": ops.RNNCell(), "features": 528, "shape": (33, 5, 3)}, "width of 528 is too much"),
        ({"features": 384, "recurrent_mask": jnp.ones((2, 384))}, "width of 384 is too much"),
        ({"cell": ops.RNNCell(layer_norm=True), "features": 40}, "across the features"),
        ({"shape": (object(), 5, 3)}, "known batch"),
    ):
        assert reason in pallas.reason(call(**refused))
    assert choose(call()) != "pallas"  # None never picks it


def test_a_plan_holds_all_features_in_shared_memory():
    for case in ELEMENTWISE.values():
        for features, batch in itertools.product(range(1, 500, 13), (16, 64)):
            plan = shapes.plan(case.cell.form, features, batch)
            if isinstance(plan, str):
                continue
            assert plan.part * plan.groups * plan.blocks == plan.padded >= features
            assert max(plan.forward_bytes, plan.backward_bytes) <= 227 * 1024
            assert plan.columns * 2 % plan.part == 0
            assert plan.chunks * plan.columns == plan.blocks * plan.part
            assert plan.blocks <= 16
            assert plan.groups <= 4
            assert plan.shape[0] == shapes.ROWS
            few = batch == 16 and 16 < features <= 320 and not case.cell.form.across_features
            assert plan.transposed >= few


def classes(form, batch):
    """The widest H of each way to cut a recurrence, a multiple of 16."""
    found = {}
    for features in range(16, 513, 16):
        plan = shapes.plan(form, features, batch)
        if not isinstance(plan, str) and plan.transposed == (batch == 16):
            found[plan.blocks, plan.groups, plan.part] = features
    return list(found.values())


def test_the_tables_of_the_docs_are_what_is_computed():
    text = (Path(__file__).parents[2] / "docs" / "gpu-kernels.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.count("|") == 10]
    second = [line[0] for line in lines].index("cell", 1)
    for batch, rows in ((64, lines[2:second]), (16, lines[second + 2 :])):
        found = {}
        for name, *numbers in rows:
            features, blocks, groups, part, *shared = (int(n.replace(",", "")) for n in numbers[:6])
            plan = shapes.plan(ELEMENTWISE[name].cell.form, features, batch)
            assert (blocks, groups, part) == (plan.blocks, plan.groups, plan.part)
            assert shared == [plan.forward_bytes, plan.backward_bytes]
            assert all(f" of {plan.registers}" in each for each in numbers[6:])
            found.setdefault(name, []).append(features)
        assert len(found) >= 5
        for name, widths in found.items():
            assert widths == classes(ELEMENTWISE[name].cell.form, batch), name


# -- the cell's step -------------------------------------------------------------


ACTIVATIONS = {
    f"rnn activation={name}": Case(ops.RNNCell(activation=name))
    for name in ("gelu", "elu", "softplus", "silu", "sigmoid")
}


@needs_pallas
@pytest.mark.parametrize("name", [*ELEMENTWISE, *ACTIVATIONS])
def test_a_traced_step_is_the_step(name):
    """Forwards and backwards, own parameters hoisted, calls opened, in other words; transposed."""
    from seqjax.ops.pallas import elementwise

    cell = {**ELEMENTWISE, **ACTIVATIONS}[name].cell
    params, _, carry = draw(cell, 16, shapes.ROWS)
    _, own = cell.weights(params, jnp.float32)
    leaves, tree = jax.tree.flatten(carry)
    derivative, count = cell.form.derivative(), cell.form.gates + cell.form.split
    rng = np.random.default_rng(0)
    gates = [jnp.asarray(rng.normal(size=(shapes.ROWS, 16)), jnp.float32) for _ in range(count)]

    def forwards(own, *tiles):
        carry, saved = derivative.forward(own, tree.unflatten(tiles[:-count]), tiles[-count:])
        return [*jax.tree.leaves(carry), *saved]

    saved = forwards(own, *leaves, *gates)[len(leaves) :]

    def backwards(own, *tiles):
        before, d_carry = (tree.unflatten(t) for t in (tiles[: len(leaves)], tiles[-len(leaves) :]))
        saved = tiles[len(leaves) : -len(leaves)]
        _, d_before, d_gates = derivative.backward(own, before, saved, d_carry)
        return [*jax.tree.leaves(d_before), *d_gates]

    for function, tiles in (
        (forwards, [*leaves, *gates]),
        (backwards, [*leaves, *saved, *leaves[::-1]]),
    ):
        wanted = jax.jit(function)(own, *tiles)
        for transposed in (False, True):
            traced = elementwise.trace(function, own, len(tiles), 16, transposed=transposed)
            turn = jnp.transpose if transposed else jnp.asarray

            def inside(own, *tiles, traced=traced, turn=turn):
                rows = [row[0] for row in traced.outside(own)]
                used = [turn(t) if use else None for t, use in zip(tiles, traced.uses, strict=True)]
                return [turn(out) for out in traced.inside(rows, used)]

            got = jax.jit(inside)(own, *tiles)
            assert len(got) == traced.outputs
            for a, b in zip(got, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


@needs_pallas
def test_a_step_that_no_kernel_can_run_is_refused():
    from seqjax.ops.pallas import elementwise

    table = jnp.arange(16.0)
    for step, own, reason in (
        (lambda own, h: [h * table[None]], (), "closes over an array"),
        (lambda own, h: [h @ own], jnp.ones((16, 16)), "feature by feature"),
    ):
        with pytest.raises(ValueError, match=reason):
            elementwise.trace(step, own, 1, 16)


# -- interpreted -----------------------------------------------------------------


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(shapes, "INTERPRET", True)


def draw(cell, features, batch, steps=3, inputs=5, seed=0):
    """Parameters, inputs and a carry in float32, of numbers that bfloat16 has."""
    keys = jax.random.split(jax.random.key(seed), 3)
    count = 0

    def declare(name, shape, init, *, keep_dtype=False):
        nonlocal count
        count += 1
        drawn = jax.random.normal(jax.random.fold_in(keys[0], count), shape)
        return drawn / np.sqrt(features if name.endswith("kernel") else 2)

    params = cell.parameters(declare, inputs, features)
    x = jax.random.normal(keys[1], (batch, steps, inputs))
    zeros = cell.initial_carry(batch, features, jnp.float32)
    carry = jax.tree.map(lambda zero: jax.random.normal(keys[2], zero.shape), zeros)
    params, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(a.dtype), (params, x))
    return params, x, carry


def narrow(tree):
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)


def loss(cell, params, x, carry, **options):
    """Linear in the results: what is left are the cell's own derivatives."""
    end, y = ops.run(cell, params, x, carry, return_carry=True, **options)
    parts = [y.astype(jnp.float32), *jax.tree.leaves(end)]
    weights = [jnp.sin(1.0 + jnp.arange(part.size)).reshape(part.shape) for part in parts]
    return sum(jnp.vdot(w, part) for w, part in zip(weights, parts, strict=True)), (end, y)


def differentiate(cell, params, x, carry, **options):
    """``((end, y), gradients)``."""
    of = functools.partial(loss, cell, **options)
    of_what = (0, 1) if carry is None else (0, 1, 2)
    (_, results), gradients = jax.value_and_grad(of, of_what, has_aux=True)(params, x, carry)
    return results, gradients


def assert_near(got, wanted, tolerance=TOLERANCE):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def compare(cell, features, batch, *, zeros=False, **options):
    params, x, carry = draw(cell, features, batch)
    carry = None if zeros else carry
    run = functools.partial(differentiate, cell, **options)
    wanted = jax.jit(run)(params, x, carry)
    run = functools.partial(run, implementation="pallas")
    assert_near(jax.jit(run)(narrow(params), narrow(x), carry), wanted)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(wanted[1]))


@needs_pallas
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("name", "features", "rows"),
    [
        *((name, 34, "features") for name in sorted(ELEMENTWISE.keys() - {"rnn activation=relu"})),
        *((name, 34, "sequences") for name in ("lstm", "gru", "peephole_lstm")),
        ("gru", 66, "features"),
    ],
)
def test_a_kernel_is_the_scan_to_bfloat16(name, features, rows):
    """Values and gradients of every cell; padding in both dimensions, groups of warps.

    What the rows of a tile are, features or sequences.
    """
    cell, lengths = ELEMENTWISE[name].cell, np.array([3, 0, 1, 2])
    if cell.form.across_features:
        compare(cell, 16, 4, seq_lengths=lengths)
        return
    mask = np.array([[2.0], [0.5], [1.0], [2.0]]) * (np.arange(features) % 3 > 0)
    mask = mask.astype(np.float32)
    with choose_layout(choices()._replace(small_batch=32 if rows == "features" else 0)):
        compare(cell, features, 4, seq_lengths=lengths, reverse=True, recurrent_mask=mask)


@needs_pallas
@pytest.mark.usefixtures("interpreted")
def test_batches_wider_than_a_tile_and_no_options():
    compare(ops.LSTMCell(), 5, 65, zeros=True)
    compare(ops.LSTMCell(), 17, 17, zeros=True)  # transposed


def through_global_memory():
    """An exchange between the blocks of a cluster that the interpreter has, and its memory.

    In place of the stores into another block's memory: a store into an array of the kernel's,
    a barrier of the cluster, and a copy or load out of it.
    """
    import jax.experimental.pallas as pl
    import jax.experimental.pallas.mosaic_gpu as plgpu

    from seqjax.ops.pallas import exchange
    from seqjax.ops.pallas.grid import launch, split

    def forward_barriers(plan):
        return {
            "given": plgpu.ClusterBarrier(collective_axes=("block",), num_arrivals=plan.groups),
            "copied": plgpu.Barrier(num_arrivals=plan.parts),
        }

    def give(scratch, plan, place, h, h_tiles, slot):
        scratch["memory"].at[place.tile, slot, place.part][...] = h
        plgpu.barrier_arrive(scratch["given"])

    def take(scratch, plan, place, h_tiles, slot):
        plgpu.barrier_wait(scratch["given"])

        @pl.when(place.group == 0)
        def _():
            of_tile = scratch["memory"].at[place.tile, slot]
            for part in range(plan.parts):
                plgpu.copy_gmem_to_smem(of_tile.at[part], h_tiles.at[slot, part], scratch["copied"])

        plgpu.barrier_wait(scratch["copied"])

    def backward_barriers(plan):
        barrier = plgpu.ClusterBarrier(collective_axes=("block",), num_arrivals=plan.groups)
        return {"free": barrier, "summed": barrier}

    def total(scratch, plan, place, share, more):
        of_tile = scratch["memory"].at[place.tile]
        each = plan.columns // plan.part
        plgpu.barrier_wait(scratch["free"])
        for n in range(plan.chunks):
            for k, part in enumerate(split(plan, share(n).astype(jnp.bfloat16))):
                of_tile.at[n * each + k, place.block, place.group][...] = part
        plgpu.barrier_arrive(scratch["summed"])
        plgpu.barrier_wait(scratch["summed"])
        mine = [of_tile.at[place.block, block, place.group][...] for block in range(plan.blocks)]

        @pl.when(more)
        def _():
            plgpu.barrier_arrive(scratch["free"])

        return sum(part.astype(jnp.float32) for part in mine)

    def launch_with_memory(plan, body, inputs, out_type, scratch, batch, interpret):
        lead = (2, plan.parts) if "given" in scratch else (plan.blocks, plan.blocks, plan.groups)
        shape = (batch // plan.sequences, *lead, *plan.shape)
        with_memory = out_type, jax.ShapeDtypeStruct(shape, jnp.bfloat16)

        def of_both(inputs, outputs, scratch):
            body(inputs, outputs[0], {**scratch, "memory": outputs[1]})

        return launch(plan, of_both, inputs, with_memory, scratch, batch, interpret)[0]

    return launch_with_memory, exchange.Exchange(
        forward=forward_barriers,
        give=give,
        take=take,
        backward=backward_barriers,
        begin=exchange.CLUSTER.begin,
        total=total,
    )


@needs_pallas
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("cell", "blocks", "groups", "part", "sequences"),
    [
        (ops.LSTMCell(), 2, 2, 16, 64),
        (ops.GRUCell(), 3, 1, 16, 64),
        (ops.GRUCell(), 2, 1, 64, 16),
    ],
    ids=str,
)
def test_a_cluster_is_the_scan_but_for_the_exchange(
    cell, blocks, groups, part, sequences, monkeypatch
):
    from seqjax.ops.pallas import exchange, grid

    launch, swapped = through_global_memory()
    monkeypatch.setattr(exchange, "CLUSTER", swapped)
    monkeypatch.setattr(grid, "launch", launch)
    features = part * blocks * groups - 5
    plan = shapes.Plan(cell.form.summed, cell.form.split, features, part, groups, blocks)
    plan = plan._replace(sequences=sequences)
    monkeypatch.setattr(shapes, "plan", lambda *_, masked: plan._replace(masked=masked))
    mask = np.float32(1.5) * (np.arange(4 * features).reshape(4, -1) % 3 > 0)
    compare(cell, features, 4, seq_lengths=np.array([3, 0, 1, 2]), recurrent_mask=mask)


@needs_pallas
@pytest.mark.usefixtures("interpreted")
def test_sequences_and_weights_under_vmap():
    """Shared weights: one larger batch. Weights of their own, as seeds have: the kernel's grid."""
    cell = ops.UGRNNCell()
    params, x, carry = draw(cell, 20, 6)
    params, x = narrow(params), narrow(x)

    def run(params, x, carry):
        return ops.run(cell, params, x, carry, implementation="pallas")

    def total(*given):
        return jnp.sum(run(*given).astype(jnp.float32))

    halves = jax.tree.map(lambda a: a.reshape(2, 3, *a.shape[1:]), (x, carry))
    by_half = jax.vmap(jax.value_and_grad(total), (None, 0, 0))
    whole = jax.jit(jax.value_and_grad(total))(params, x, carry)
    apart = jax.jit(by_half)(params, *halves)
    assert_near(jax.tree.map(lambda a: jnp.sum(a.astype(jnp.float32), 0), apart), whole)

    seeds = jax.tree.map(lambda a: jnp.stack([a, -a]), params)
    both = jax.jit(jax.vmap(run, (0, None, None)))(seeds, x, carry)
    for k in range(2):
        alone = run(jax.tree.map(lambda a, k=k: a[k], seeds), x, carry)
        np.testing.assert_array_equal(both[k], alone)


@needs_pallas
@pytest.mark.usefixtures("interpreted")
def test_both_directions_of_a_layer_are_one_kernel(monkeypatch):
    """Lengths, carries, and a recurrent mask each; `last` has each direction's own end."""
    plain = nn.Bidirectional(nn.GRU(20, recurrent_dropout=0.5))
    fused = nn.Bidirectional(
        nn.GRU(20, recurrent_dropout=0.5, dtype=jnp.bfloat16, implementation="pallas")
    )
    key = jax.random.key(0)
    x = jax.random.normal(key, (4, 3, 5)).astype(jnp.bfloat16).astype(jnp.float32)
    lengths, rngs = jnp.array([3, 0, 1, 2]), {"dropout": jax.random.key(1)}
    variables = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(a.dtype), plain.init(key, x))
    carries = tuple(jnp.full((4, 20), 0.1 * k) for k in (1, 2))

    def total(layer, variables, x, carries):
        options = {"seq_lengths": lengths, "rngs": rngs, "deterministic": False}
        ends, y = layer.apply(variables, x, carries, return_carry=True, **options)
        leaves = y.astype(jnp.float32), *ends
        weights = [jnp.sin(1.0 + jnp.arange(leaf.size)).reshape(leaf.shape) for leaf in leaves]
        return sum(jnp.vdot(w, leaf) for w, leaf in zip(weights, leaves, strict=True)), (y, ends)

    def run(layer):
        of = functools.partial(total, layer)
        return jax.value_and_grad(of, (0, 1, 2), has_aux=True)

    wanted = jax.jit(run(plain))(variables, x, carries)
    (_, got), gradients = jax.jit(run(fused))(variables, x, carries)
    assert_near((got, gradients), (wanted[0][1], wanted[1]))

    last = functools.partial(nn.Bidirectional.last, seq_lengths=lengths)
    wanted, got = (layer.apply(variables, x, method=last) for layer in (plain, fused))
    assert_near(got, wanted)

    monkeypatch.setattr(shapes, "INTERPRET", False)
    found = {jnp.bfloat16: "pallas", jnp.float32: "scan"}
    monkeypatch.setattr(both_directions, "choose", lambda call: found[jnp.dtype(call.dtype).type])
    assert kernels(run(fused), variables, x, carries) == 2
    with jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))):
        assert kernels(run(fused), variables, x, carries) == 2
    stored = nn.Bidirectional(nn.GRU(20, implementation="pallas"))  # in the parameters' own dtype
    assert kernels(stored.apply, narrow(variables), narrow(x)) == 1


@needs_pallas
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("masked", [0, 1])
def test_one_direction_alone_may_have_a_mask(masked):
    cell = ops.RNNCell()
    params, x, _ = narrow(draw(cell, 5, 2, steps=2))
    masks = [None, None]
    masks[masked] = jnp.array([[2.0, 0.0, 2.0, 0.0, 2.0]] * 2)
    run = functools.partial(ops.bidirectional, cell, recurrent_mask=masks)
    given = (params, params), x
    got, wanted = (
        jax.jit(functools.partial(run, implementation=name)) for name in ("pallas", "scan")
    )
    assert_near(got(*given), wanted(*given))
    with pytest.raises(ValueError, match="counter: only with implementation='newton'"):
        run(*given, implementation="pallas", counter=jnp.zeros(2))


# -- lowered for CUDA ------------------------------------------------------------


def kernels(function, *arguments):
    """How many kernels there are in the program."""
    lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))
    return lowered.as_text().count("@mosaic_gpu_v2")


LOWERED = [
    # 1 and 3 groups; 2 and 12 blocks; transposed 2 groups, 4 blocks.
    *(("lstm", features, 64) for features in (16, 96, 128, 384)),
    *(("lstm", features, 16) for features in (128, 256)),
    *(
        (name, classes(case.cell.form, batch)[-1], batch)
        for name, case in ELEMENTWISE.items()
        for batch in (64, 16)
        if name not in ("lstm", "rnn", "rnn activation=relu")
        if batch == 64 or not case.cell.form.across_features
    ),
    *((f"rnn activation={name}", 16, 4) for name in ("relu", "elu", "softplus")),
]


@needs_pallas
@pytest.mark.parametrize(("name", "features", "batch"), LOWERED)
def test_both_kernels_lower_for_cuda(name, features, batch):
    """Layouts, copies and shared memory are checked; what an assembler says is not."""
    cell = {**ELEMENTWISE, **ACTIVATIONS}[name].cell
    given = jax.eval_shape(functools.partial(draw, cell, features, batch))
    params, x, carry = given

    def of(params, x, carry):
        from seqjax.ops.pallas import recurrence

        weights, own = cell.weights(params, jnp.float32)
        mask = jnp.arange(3)[:, None, None] < (jnp.arange(batch) % 4)[None, :, None]
        run = functools.partial(recurrence.scan, cell.form, Loop(reverse=True), mask=mask)
        results, transpose = jax.vjp(run, own, weights, jnp.swapaxes(x, 0, 1), carry)
        return transpose(results)

    params, x = jax.tree.map(lambda a: a.update(dtype=jnp.bfloat16), (params, x))
    assert kernels(of, params, x, carry) == 2


@needs_pallas
def test_a_split_batch_and_chunks_lower_for_cuda(monkeypatch):
    """The interpreter has neither several devices nor `jax.checkpoint`."""
    monkeypatch.setattr(sequence, "choose", lambda call: "pallas")
    params, x, carry = draw(ops.GRUCell(), 20, 4)
    options = {
        "mesh": jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        "chunk_size": 2,
        "seq_lengths": np.array([3, 0, 1, 2]),
    }
    # Each piece of time forwards, again for its backward pass, and backwards: two pieces.
    of = functools.partial(differentiate, ops.GRUCell(), **options)
    assert kernels(of, narrow(params), narrow(x), carry) == 6
