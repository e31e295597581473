"""How well the generated chorales can be predicted at best."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from experiments.music_chorales import PLANS, successors
from experiments.music_rules import ALL_KEYS
from seqjax.data.music import KEYS, LOWEST


class Bound(NamedTuple):
    """The least negative log-likelihood of a step that anyone can expect, nats, first one aside.

    Attributes:
        joint: of all keys, by the distribution of the generator.
        independent: of the keys, each by its own probability (no model with independent keys has
            less).
    """

    joint: float
    independent: float


def bound(rolls: Sequence[np.ndarray]) -> Bound:
    """What someone would measure who knows the generator, but not the key and form of a piece.

    Keys and forms that what was heard leaves possible are weighed by Bayes' rule.

    Args:
        rolls: of `chorales`.

    Returns:
        Means over their steps.
    """
    joint, independent = zip(*(surprises(roll) for roll in rolls), strict=True)
    return Bound(*(float(np.concatenate(one).mean()) for one in (joint, independent)))


def surprises(roll: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nats of each step but the first, of a generated piece: joint, and independent."""
    heard = [tuple((np.flatnonzero(frame) + LOWEST).tolist()) for frame in roll]
    belief = np.full((len(ALL_KEYS), len(PLANS)), 1 / len(ALL_KEYS) / len(PLANS))
    found: list[tuple[float, float]] = []
    for step, frame in enumerate(heard):
        belief *= np.array([plan.steps > step for plan in PLANS])  # it goes on
        belief /= belief.sum()
        marginal, seen = np.zeros(KEYS), np.zeros_like(belief)
        slots = np.array([plan.slot(step) for plan in PLANS])
        for number, key in enumerate(ALL_KEYS):
            for slot in np.unique(slots[belief[number] > 0]):
                of = slots == slot
                chords, shares = successors(key, slot, heard[step - 1] if step else ())
                at = chords - LOWEST
                np.add.at(marginal, at, belief[number, of].sum() * shares[:, None])
                seen[number, of] = shares[(chords == frame).all(axis=1)].sum()
        belief *= seen
        if step:
            marginal = np.minimum(marginal, 1)
            on = xlogy(roll[step], marginal) + xlogy(1 - roll[step].astype(float), 1 - marginal)
            found.append((-float(np.log(belief.sum())), -float(on.sum())))
        belief /= belief.sum()
    joint, independent = np.array(found).T
    return joint, independent
