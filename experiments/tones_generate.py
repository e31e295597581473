"""Sound out of the networks of `experiments.tones`: made, measured, and written to WAV files."""

import functools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import tones_data as sounds
from experiments.tones_data import FRAME, LEVELS, RATE, VOWELS
from experiments.tones_measure import formants_of, pitch_of
from experiments.tones_models import Law, as_codes, as_inputs, context_of, sampler
from seqjax import launch, models, runs
from seqjax.data.sound import mu_law_decode, write_wav
from seqjax.report import Row

KNOWN = 480  # codes that a generated sound goes on from: of the silence before an utterance
_MEASURED = np.array([90.0, 120.0, 160.0])  # Hz, with every vowel
_FRAMES = 60  # of a vowel that is measured: the inner 40 of it
_SENTENCE = "aiuseoa"


class Spoken(NamedTuple):
    """What is to be said, or what was.

    Attributes:
        phones: [utterances, frames, 7].
        pitch: Hz, [utterances].
    """

    phones: np.ndarray
    pitch: np.ndarray


def vowels() -> Spoken:
    """Every vowel at three pitches."""
    each = np.concatenate([sounds.spoken(vowel, _FRAMES) for vowel in VOWELS])
    return Spoken(each.repeat(len(_MEASURED), axis=0), np.tile(_MEASURED, len(VOWELS)))


def sentence(text: str, pitch: float = 120.0) -> Spoken:
    """One utterance of phones.

    Raises:
        RunError: for a phone that there is not, or a pitch out of reach.
    """
    if unknown := sorted(set(text) - set(sounds.PHONES)):
        raise launch.RunError(
            f"--say {text!r}: there is no sound {unknown[0]!r}; they are"
            f" {', '.join(sounds.PHONES)} (s is a burst of noise, _ silence)."
        )
    low, high = sounds.PITCHES
    if not low <= pitch <= high:
        raise launch.RunError(f"--pitch must be from {low:.0f} to {high:.0f} Hz, not {pitch}.")
    return Spoken(sounds.spoken(text), np.array([pitch]))


def _phase(asked: Spoken) -> np.ndarray:
    """Of the voice that is asked for, [utterances, time]."""
    return sounds.phases(asked.pitch, asked.phones.shape[1])


@functools.lru_cache(maxsize=8)
def _program(model: models.Model, law: Law, temperature: float) -> Any:
    draw = sampler(law, temperature)

    def make(
        params: Any, known: Array, phones: Array, phase: Array, pitch: Array, key: Array
    ) -> Array:
        silent, steps = known.shape[1] - 1, phase.shape[1]
        context = context_of(model, phones, phase, pitch)
        if context is not None:
            # The one beside each input is that of the sample after it.
            local = context["local_condition"]
            ends = ((0, 0), (silent, 1), (0, 0))
            context = context | {"local_condition": jnp.pad(local, ends, mode="edge")}
        x = as_inputs(known)
        made = models.generate(model, params, x, steps, key=key, sample=draw, context=context)
        return as_codes(made)

    return jax.jit(make)


def generate(
    run: Any, asked: Spoken, *, seed: int = 0, temperature: float = 1.0
) -> tuple[np.ndarray, float]:
    """Sounds that a network makes, sample after sample, each at the cost of one step.

    Args:
        run: model, params and extra, such as `seqjax.runs.load` gives.
        asked: what to say; of models that are told nothing its length counts alone.
        seed: of the draws.
        temperature: see `seqjax.models.sampler`.

    Returns:
        Samples [utterances, time], and samples a second of each utterance, without compilation.
    """
    count = len(asked.pitch)
    known = jnp.asarray(np.tile(np.asarray(run.extra["known"], np.int32), (count, 1)))
    phones = jnp.asarray(asked.phones, jnp.float32)
    phase = jnp.asarray(_phase(asked)[..., None], jnp.float32)
    pitch = jnp.asarray(sounds.octaves(asked.pitch)[:, None], jnp.float32)
    program = _program(run.model, run.extra["law"], temperature)
    arguments = run.params, known, phones, phase, pitch, jax.random.key(seed)
    compiled = program.lower(*arguments).compile()
    begun = time.perf_counter()
    codes = np.asarray(compiled(*arguments))
    return mu_law_decode(codes, LEVELS), codes.shape[1] / (time.perf_counter() - begun)


def measured(samples: np.ndarray, asked: Spoken) -> dict[str, float]:
    """How far vowels are from what was asked for: medians, in per cent; 100 where none was found.

    Args:
        samples: of `vowels`, [utterances, time].
        asked: what was asked for.

    Returns:
        "pitch", "formant 1" and "formant 2".
    """
    middle = asked.phones.shape[1] * FRAME // 2
    inner = samples[:, middle - 20 * FRAME : middle + 20 * FRAME]
    which = asked.phones[:, asked.phones.shape[1] // 2].argmax(axis=-1)
    pitch = np.array([pitch_of(each) for each in inner])
    formants = np.array([formants_of(each) for each in inner])
    away = np.abs(formants / sounds.FORMANTS[which, : formants.shape[1]] - 1)
    found = {"pitch": np.abs(pitch / asked.pitch - 1)}
    found |= {f"formant {k + 1}": each for k, each in enumerate(away.T)}
    return {
        name: 100 * float(np.median(np.nan_to_num(each, nan=1.0))) for name, each in found.items()
    }


def of_generator(asked: Spoken) -> np.ndarray:
    """The same by the generator itself, samples [utterances, time]."""
    codes, _ = sounds.draw(asked.phones, _phase(asked), np.random.default_rng(0))
    return mu_law_decode(codes, LEVELS)


def generator_rows() -> list[Row]:
    """What is measured of the generator's own sounds: how exact measuring is."""
    found = measured(of_generator(vowels()), vowels())
    return [
        Row(sounds.GENERATOR, "baseline", "validation", name, (one,)) for name, one in found.items()
    ]


def sentences(folder: Path, rows: Iterable[str], told: bool) -> tuple[dict[str, Any], list[Row]]:
    """A sentence by every row's first seed and by the generator, written to `folder`/ROW.wav.

    Returns:
        Samples by row, the generator's first; and how fast each row makes them, one sound alone.
    """
    asked, found, speeds = sentence(_SENTENCE), {}, []
    if told:
        found["generator"] = of_generator(asked)[0]
    for row in rows:
        samples, speed = generate(runs.load(folder, row), asked)
        found[row] = samples[0]
        speeds.append(Row(row, "model", "validation", "speed", (speed / 1000,)))
    for name, samples in found.items():
        write_wav(folder / f"{name}.wav", samples, RATE)
    return found, speeds


def say(folder: Path, row: str, asked: Spoken, *, seed: int, temperature: float) -> str:
    """Write what a row of a finished run says to the next free file of the run's folder."""
    samples, speed = generate(runs.load(folder, row), asked, seed=seed, temperature=temperature)
    taken = {path.name for path in folder.glob("said-*.wav")}
    number = next(n for n in range(1, len(taken) + 2) if f"said-{n}.wav" not in taken)
    path = folder / f"said-{number}.wav"
    write_wav(path, samples[0], RATE)
    return f"{path}: {len(samples[0]) / RATE:.2f} s, {speed:,.0f} samples a second"
