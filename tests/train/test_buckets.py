"""Sequences of unequal length: as few shapes and as little padding as there can be."""

import itertools

import jax
import numpy as np
import optax
import pytest

from seqjax import models, nn, train

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(0, 13, 37)
TOKENS = np.where(np.arange(12) < LENGTHS[:, None], RNG.integers(1, 9, (37, 12)), 0)
ARRAYS = {"tokens": TOKENS, "lengths": LENGTHS, "label": TOKENS.sum(1) % 2}
MODEL = models.classifier("gru", inputs=nn.Tokens(9), classes=2, features=(4,), embedding=3)


def loss(params, batch, key):
    y = MODEL.apply(params, batch["tokens"], key=key, seq_lengths=batch["lengths"])
    losses = optax.softmax_cross_entropy_with_integer_labels(y, batch["label"])
    return train.Losses(losses, metrics={"accuracy": y.argmax(-1) == batch["label"]})


def bucketed(arrays=ARRAYS, size=8, **how):
    how = {"along": ["tokens"], "buckets": 3} | how
    return train.bucketed_batches(arrays, arrays["lengths"], size, **how)


@pytest.mark.parametrize("buckets", [1, 2, 3, 5])
def test_the_limits_leave_the_least_padding(buckets):
    lengths = RNG.integers(1, 9, 30)
    found = train.length_buckets(lengths, buckets)

    def padded(limits):
        return sum(min(limit for limit in limits if limit >= length) for length in lengths)

    values = sorted(set(lengths.tolist()))
    chosen = itertools.combinations(values[:-1], min(buckets, len(values)) - 1)
    assert found.padded == min(padded((*some, values[-1])) for some in chosen)
    assert found.padded == padded(found.limits)
    assert len(found.limits) == buckets
    assert (found.valid, found.longest) == (lengths.sum(), 30 * lengths.max())


def test_many_lengths_and_more_buckets_than_lengths():
    assert train.length_buckets(np.arange(5000), 2).limits[-1] == 4999
    assert train.length_buckets([3, 3, 7], 9).limits == (3, 7)
    assert train.length_buckets([0, 0]).limits == (1,)


def test_an_epoch_holds_every_example_once_and_no_token_is_lost():
    batches = bucketed()
    assert len(batches.batch) == 3
    orders = []
    for epoch in range(2):
        which, rows = batches.plan(batches.data, jax.random.key(epoch))
        found, widths = [], []
        for step in range(batches.steps):
            row = jax.tree.map(lambda leaf, step=step: leaf[step], rows)
            batch, weights = batches.batch[int(which[step])](batches.data, row)
            tokens = np.asarray(batch["tokens"])[np.asarray(weights) > 0]
            found += [tuple(line[line > 0].tolist()) for line in tokens]
            widths.append(tokens.shape[1])
        assert sorted(found) == sorted(tuple(line[line > 0].tolist()) for line in TOKENS)
        assert len(set(widths)) == 3
        orders.append(found)
    assert orders[0] != orders[1]


def test_means_and_training_are_those_of_padded_batches():
    params = MODEL.init(jax.random.key(0))
    padded = train.array_batches(ARRAYS, 8, shuffle=False)
    means = train.evaluate_metrics(loss, params, padded)
    assert train.evaluate_metrics(loss, params, bucketed(shuffle=False)) == pytest.approx(
        means, rel=1e-6
    )
    # One batch of all: the same gradient, whatever the bucket.
    alone = {name: array[LENGTHS <= 4] for name, array in ARRAYS.items()}
    how = {"epochs": 3, "validation": bucketed(shuffle=False)}
    one = train.fit(loss, params, optax.sgd(0.5), bucketed(alone, 40, buckets=1), **how)
    other = train.fit(loss, params, optax.sgd(0.5), train.array_batches(alone, 40), **how)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one.params, other.params)


def test_seeds_together_on_one_device_and_batches_over_devices():
    how, batches = {"epochs": 2}, bucketed(buckets=2)
    alone = [
        train.fit(loss, MODEL.init(jax.random.key(s)), optax.sgd(0.5), batches, seed=s, **how)
        for s in (0, 1)
    ]
    assert [line["loss"] for line in alone[0].history] != [
        line["loss"] for line in alone[1].history
    ]
    together = train.fit_seeds(
        loss, MODEL.init, optax.sgd(0.5), batches, seeds=(0, 1), per_device=2, **how
    )
    over = train.fit(
        loss, MODEL.init(jax.random.key(0)), optax.sgd(0.5), batches,
        mesh=train.data_mesh(), **how,
    )  # fmt: skip
    for one, other in [*zip(alone, (done for _, done in together), strict=True), (alone[0], over)]:
        assert other.history[-1] == pytest.approx(one.history[-1], rel=1e-4)


@pytest.mark.parametrize("debug", [False, True])
def test_a_batch_that_is_not_finite_is_named(debug, caplog):
    arrays = ARRAYS | {"scale": np.where(np.arange(37) == 5, np.nan, 1.0)}

    def scaled(params, batch, key):
        return loss(params, batch, key).values * batch["scale"]

    def run():
        train.fit(
            scaled, MODEL.init(jax.random.key(0)), optax.sgd(0.5), bucketed(arrays), epochs=1,
            debug_nans=debug,
        )  # fmt: skip

    if debug:
        with pytest.raises(FloatingPointError, match=r"batch itself is not finite: batch\['scale'"):
            run()
    else:
        run()
        assert "in its batch, batch['scale'] is not finite" in caplog.text


def test_bad_arguments_are_refused():
    cases = {
        r"'x' has \(2,\) examples, but there are 37 lengths": {"x": np.zeros(2)},
        "a sequence has 12 steps, but the arrays have 11": {"tokens": TOKENS[:, :11]},
    }
    for match, change in cases.items():
        with pytest.raises(ValueError, match=match):
            bucketed(ARRAYS | change)
    with pytest.raises(ValueError, match="no array 'token'"):
        bucketed(along=["token"])
    with pytest.raises(ValueError, match="batch_size"):
        bucketed(size=0)
    with pytest.raises(ValueError, match="at least 1 bucket"):
        train.length_buckets([1], 0)
    for lengths in ([], [-1], [1.5]):
        with pytest.raises(ValueError, match="must be integers"):
            train.length_buckets(lengths)
