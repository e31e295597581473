import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.bench import generation, generators
from seqjax.bench.report import Figure
from seqjax.bench.turns import Rounds

CASES = [
    generators.Case("rnn", samples=30, features=4),
    generators.Case("lstm", samples=5, features=4),
    generators.Case("wavenet", samples=30, receptive_field=8, features=4, batch=2),
    generators.Case("wavenet", samples=3, receptive_field=16, features=4),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("entry", [generators.cached, generators.recomputed])
def test_samples(entry, case):
    """The model over the finished sequence tells what each sample was drawn around."""
    prepared = entry(dataclasses.asdict(case))
    samples = prepared.outputs()["samples"]
    assert samples.shape == (case.batch, case.samples, 1)
    model = generators.make_model(case)

    @jax.jit
    def expected(params, samples):
        x = jax.random.normal(jax.random.key(1), (case.batch, case.context, 1))
        y = model.apply(params, jnp.concatenate([x, samples], axis=1))[:, case.context - 1 : -1]
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(2), number))
        noise = jax.vmap(lambda key: jax.random.normal(key, (case.batch, 1)), out_axes=1)
        return y + generators.NOISE * noise(keys(jnp.arange(case.samples)))

    params = model.init(jax.random.key(0))
    np.testing.assert_allclose(samples, expected(params, samples), atol=1e-5)
    first = np.asarray(prepared.programs["first sample"]())
    np.testing.assert_allclose(first, samples[:, :1], atol=1e-6)


@pytest.mark.parametrize(("field", "layers"), [(8, 3), (16, 4), (1024, 10)])
def test_receptive_field_doubles_with_each_layer(field, layers):
    case = generators.Case("wavenet", samples=2, receptive_field=field)
    generators.make_model(case)  # checks the field
    assert case.layers == layers


def test_cases():
    config = generation.Generate(receptive_fields=(8, 16), samples=(2, 4, 6), lengths=(8, 16))
    found = generation.cases(config)
    assert [case.samples for case in found if case.kind == "rnn"] == [8, 16]
    fields = [(c.receptive_field, c.samples) for c in found if c.kind == "wavenet"]
    assert fields == [(8, 2), (8, 4), (8, 6), (16, 2), (16, 4), (16, 6)]
    assert len(found) == 2 + 2 + 6


def test_first_sample_stands_apart(monkeypatch):
    """What reading the context takes is no part of a later sample's figure."""
    rounds = {
        "cached": Rounds({"first sample": [3.0], "all samples": [5.0]}),
        "recomputed": Rounds({}, problem="output samples differs"),
    }
    monkeypatch.setattr(generation, "take_turns", lambda *_, **__: rounds)
    case = generators.Case("wavenet", samples=5, receptive_field=8)
    first, later, problem = generation.measure(case, {}, rounds=1, seconds=0.1)
    assert (first.labels["program"], first.rounds) == ("first sample", [3.0])
    assert (later.labels["program"], later.rounds) == ("sample", [0.5])
    assert later.labels["layers"] == 3
    assert problem.problem == "output samples differs"


def figures(kind, field, layers, samples, cached, recomputed):
    labels = {"kind": kind, "receptive_field": field, "layers": layers, "samples": samples}
    labels["program"] = "sample"
    return [
        Figure("cached", labels, [cached * 1e-6] * 3),
        Figure("recomputed", labels, [recomputed * 1e-6] * 3),
    ]


def rows(table):
    return list(zip(*(list(column.cells) for column in table.columns), strict=True))


def test_tables():
    found = [
        *figures("rnn", None, 2, 64, 2.0, 5.0),
        *figures("rnn", None, 2, 128, 1.0, 10.0),
        *figures("wavenet", 8, 3, 64, 6.0, 9.0),
    ]
    assert rows(generation.make_table(found)) == [
        ("rnn", "all so far", "2", "64", "2", "5", "2.50"),
        ("rnn", "all so far", "2", "128", "1", "10", "10.00"),
        ("wavenet", "8", "3", "64", "6", "9", "1.50"),
    ]
    assert rows(generation.make_constancy_table(found)) == [
        ("rnn", "all so far", "2", "64 to 128", "1", "2", "2.00", "0.50"),
        ("wavenet", "8", "3", "64 to 64", "6", "6", "1.00", "2.00"),
    ]


def test_table_tells_problems():
    cached, recomputed = figures("lstm", None, 2, 64, 2.0, 5.0)
    failed = recomputed._replace(rounds=[], problem="its process ended")
    (row,) = rows(generation.make_table([cached, failed]))
    assert row == ("lstm", "all so far", "2", "64", "2", "its process ended", "")
