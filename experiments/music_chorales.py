"""Chorales in four parts, drawn by the rules of voice leading."""

import functools
import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import logsumexp

from experiments.music_rules import ALL_KEYS, DOMINANTS, NAMES, Key, candidates, closes, reachable
from seqjax.data.music import KEYS, LOWEST, Music

Slot = Literal[
    "first", "strong", "weak", "dominant", "close", "held", "last dominant", "last close"
]

_MIDDLE = np.array([48, 57, 65, 71])  # where a piece begins, about
_EFFORT = np.array([0.18, 0.5, 0.5, 0.33])  # of a semitone
# After a chord (line) within a phrase, these (column, in the order of NAMES).
_NEXT = np.array(
    [
        [0.10, 0.20, 0.25, 0.20, 0.05, 0.20],
        [0.05, 0.10, 0.00, 0.55, 0.30, 0.00],
        [0.25, 0.25, 0.10, 0.25, 0.15, 0.00],
        [0.55, 0.00, 0.00, 0.10, 0.15, 0.20],
        [0.80, 0.00, 0.00, 0.00, 0.00, 0.20],
        [0.05, 0.35, 0.35, 0.20, 0.00, 0.05],
    ]
)
_HELD = {"strong": 0.05, "weak": 0.25}  # how often a whole chord sounds on
_SHARES: Mapping[str, Mapping[str, float]] = {  # of the chords at the other slots
    "first": {"I": 0.7, "V": 0.15, "vi": 0.15},
    "dominant": {"V": 0.4, "V7": 0.3, "ii": 0.1, "IV": 0.1, "vi": 0.1},
    "last dominant": {"V": 0.5, "V7": 0.5},
    "close": {"I": 0.8, "vi": 0.2},
    "last close": {"I": 1.0},
}


class Plan(NamedTuple):
    """The form of a piece: its phrases end alike, on the first beat of their last bars.

    Attributes:
        meter: beats (steps) in a bar.
        bars: in a phrase.
        phrases: in the piece.
    """

    meter: int
    bars: int
    phrases: int

    @property
    def steps(self) -> int:
        """Of the piece: its last chord stands for two beats."""
        return self.meter * (self.bars * self.phrases - 1) + 2

    def slot(self, step: int) -> Slot:
        """What a step is for."""
        place = step % (self.meter * self.bars) - self.meter * (self.bars - 1)
        last = step >= self.steps - 3
        if step == 0:
            return "first"
        if place == -1:
            return "last dominant" if last else "dominant"
        if place == 0:
            return "last close" if last else "close"
        if place == 1:
            return "held"
        return "strong" if step % self.meter == 0 else "weak"


PLANS = tuple(map(Plan._make, itertools.product((3, 4), (2, 3, 4), (2, 3, 4, 5, 6))))


@functools.cache
def successors(key: Key, slot: Slot, before: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What may follow a chord.

    Args:
        key: of the piece.
        slot: of the step.
        before: the pitches of the step before; () at the first.

    Returns:
        The chords [choices, 4] and their probabilities [choices]; none where `before` is no
        chord of the key.
    """
    pitches, chords, root = candidates(key)
    if slot == "first":
        fit = -0.15 * np.abs(pitches - _MIDDLE).sum(axis=1)
        return _drawn(pitches, chords, np.where(root, fit, -np.inf), _shares(_SHARES[slot]))
    at = np.flatnonzero((pitches == before).all(axis=1))
    if not len(at):
        return pitches[:0], np.zeros(0)
    if slot == "held":
        return pitches[at], np.ones(1)
    shares, allowed = _NEXT[chords[at[0]]], np.ones(len(pitches), bool)
    if slot not in _HELD:  # a cadence, authentic, deceptive or half
        half = slot == "close" and chords[at[0]] not in DOMINANTS
        shares, allowed = _shares({"V": 1.0} if half else _SHARES[slot]), root
    if slot in ("dominant", "last dominant"):
        allowed = allowed & (closes(key) | ~np.isin(chords, DOMINANTS))
    allowed = allowed & reachable(key, at[0])
    move = pitches - before
    fit = -np.abs(move) @ _EFFORT - 0.8 * (move[:, 3] == 0) - 0.7 * ~root
    fit = np.where(allowed, fit, -np.inf)
    return _drawn(pitches, chords, fit, shares, (_HELD.get(slot, 0.0), at[0]))


def _shares(of: Mapping[str, float]) -> np.ndarray:
    return np.array([of.get(name, 0.0) for name in NAMES])


def _drawn(
    pitches: np.ndarray,
    chords: np.ndarray,
    fit: np.ndarray,
    shares: np.ndarray,
    held: tuple[float, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """First a chord by its share (of those that can be reached), then a voicing by its fit."""
    found = np.zeros(len(pitches))
    for number, share in enumerate(shares):
        own = fit[chords == number]
        if share and np.isfinite(own).any():
            found[chords == number] = share * np.exp(own - logsumexp(own))
    if held is not None:
        stays, at = held
        if not found.any():  # nothing can be reached by the rules
            stays, found[at] = 1.0, 1.0
        found *= (1 - stays) / found.sum()
        found[at] += stays
    found /= found.sum()
    some = found > 0
    return pitches[some], found[some]


def chorale(rng: np.random.Generator) -> np.ndarray:
    """One piece, MIDI numbers [steps, 4] from the bass up: a key, a form, then chord by chord."""
    key, plan = ALL_KEYS[rng.integers(len(ALL_KEYS))], PLANS[rng.integers(len(PLANS))]
    found: list[tuple[int, ...]] = []
    for step in range(plan.steps):
        chords, shares = successors(key, plan.slot(step), found[-1] if found else ())
        found.append(tuple(chords[rng.choice(len(chords), p=shares)].tolist()))
    return np.array(found)


def roll_of(pitches: np.ndarray) -> np.ndarray:
    """The piano roll [steps, 88] of pitches [steps, voices]."""
    roll = np.zeros((len(pitches), KEYS), np.uint8)
    np.put_along_axis(roll, pitches - LOWEST, 1, axis=1)
    return roll


@functools.cache
def chorales(counts: tuple[int, int, int], seed: int = 0) -> Music:
    """Generated pieces.

    Args:
        counts: in training, validation and test.
        seed: of the draws.

    Returns:
        Their piano rolls.
    """
    rng = np.random.default_rng(seed)
    parts = [tuple(roll_of(chorale(rng)) for _ in range(count)) for count in counts]
    return Music(*parts, source="generated chorales")
