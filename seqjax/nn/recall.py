"""What followed the same n-gram the last time: memories of tokens, as arrays of constant size."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import Array

_TOKEN = 2**20 - 1  # the bits of a remembered token; those above tell n-grams of one bucket apart
MOST_TOKENS = _TOKEN  # of a vocabulary; 0 is for none


def hashes(tokens: Array, steps: int, longest: int) -> Iterator[tuple[int, Array]]:
    """``(n, hash)`` for n of 2, ..., `longest`: of the n-grams that the last `steps` tokens end.

    Args:
        tokens: [batch, time], those before the n-grams' ends included.
        steps: how many.
        longest: of the n-grams; time is at least ``steps + longest - 1``.

    Yields:
        n, and 32 bits [batch, steps] that mix well.
    """
    last = tokens.shape[1] - steps
    found = tokens[:, last:].astype(jnp.uint32)
    for n in range(1, longest):
        before = tokens[:, last - n : last - n + steps].astype(jnp.uint32)
        found = found * jnp.uint32(0x9E3779B1) + before + jnp.uint32(1)
        mixed = (found ^ (found >> 15)) * jnp.uint32(0x85EBCA6B)
        yield n + 1, mixed ^ (mixed >> 13)


def recall(memory: Array, hashed: Array, following: Array, lengths: Array) -> tuple[Array, Array]:
    """What followed each n-gram when it stood there last.

    A memory is a hash table of a token for each n-gram: time goes in one call or in several, and
    nothing is compared with every step before. Sorted by bucket, an n-gram stands behind the one
    that wrote there last; only the first of a bucket looks into the memory, and only the last one
    writes.

    Args:
        memory: [batch, buckets] of uint32, zeros where nothing is remembered.
        hashed: [batch, 1 + steps], of the n-grams that end with the token before the first step
            (whose recollection is repeated), and with every step.
        following: [batch, steps], the tokens of the steps: what follows all but the last.
        lengths: [batch], valid steps.

    Returns:
        The memory, and for every entry of `hashed` 1 + the token, or 0 for none.
    """
    bucket = (hashed % jnp.uint32(memory.shape[1])).astype(jnp.int32)
    check = hashed & ~jnp.uint32(_TOKEN)
    values = check.at[:, :-1].add(following.astype(jnp.uint32) + 1)
    times = jax.lax.broadcasted_iota(jnp.int32, bucket.shape, 1)
    bucket, times, check, values = jax.lax.sort(
        (bucket, times, check, values), num_keys=1, is_stable=True
    )
    repeated = bucket[:, 1:] == bucket[:, :-1]
    written = times < lengths[:, None]
    kept = jnp.take_along_axis(memory, bucket, axis=1)
    before = kept.at[:, 1:].set(jnp.where(repeated, values[:, :-1], kept[:, 1:]))
    found = jnp.where(before & ~jnp.uint32(_TOKEN) == check, before & _TOKEN, 0)
    newest = written.at[:, :-1].set(written[:, :-1] & ~(repeated & written[:, 1:]))
    rows = jnp.arange(len(memory))[:, None]
    at = jnp.where(newest, bucket, memory.shape[1])
    memory = memory.at[rows, at].set(values, mode="drop")
    _, found = jax.lax.sort((times, found), num_keys=1)
    return memory, found.astype(jnp.int32)
