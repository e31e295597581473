"""Polyphonic music, step by step: which keys of a piano sound next?

    python -m experiments.music                             # generated chorales, 3 seeds
    python -m experiments.music --quick                     # a look: 1 seed, 2 epochs
    python -m experiments.music --data JSB_Chorales.mat     # the benchmark's files
    python -m experiments.music --midi FOLDER --steps-per-beat 2
    python -m experiments.music --out runs/music --generate 64

Many-to-many over pieces of unequal length: RNN, LSTM, GRU, TCN, a GRU under a NADE, and one for
each key, all of the same weights. By default four-part chorales made by the rules of voice
leading, whose best possible score is known. Negative log-likelihood of a step (sum over its
keys), beside logistic regression and the step before; what the networks compose is drawn, written
as MIDI and sound, and held to the rules. Two CPU cores: 15 minutes. Scores: docs/music.md.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from experiments import music_models as networks, music_report as report
from experiments.music_pieces import compose, look_at, read, tally
from experiments.music_tied import keys_of, most_at_once
from seqjax import launch, study, train
from seqjax.data.music import Music
from seqjax.train.fingerprint import digest

NAME = "experiments.music"
_DRAWN = 24, 64  # pieces, and their steps, that are held to the rules


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the music."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="FILE.mat")] = None
    """Piano rolls: cell arrays traindata, validdata and testdata of matrices [steps, 88]."""
    midi: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """MIDI files; 60 % of them train, 20 % are chosen on, 20 % test."""
    steps_per_beat: int = 1
    """Steps in a quarter note of --midi."""
    epochs: int | None = None
    """Epochs to train; by default each row's own."""
    learning_rate: float | None = None
    """Of AdamW at its height; by default each row's own."""
    dropout: float | None = None
    """Rate below the head and in residual blocks; by default 0.1, and 0.4 of rows whose pieces are
    not moved."""
    transpose: int | None = None
    """Semitones by which pieces are moved up or down at random in training, at most; by default 6,
    and 0 for --data, whose published figures are of the pieces as they are. Rows that share their
    weights among keys are not moved."""
    generate: int = 0
    """Write so many steps by a network of the run in --out as MIDI and sound, and end."""

    titles: ClassVar = {name: recipe.title for name, recipe in networks.RECIPES.items()}
    look: ClassVar[tuple[str, ...]] = ("gru-tied-nade",)
    may_differ: ClassVar = (*study.TableConfig.may_differ, "generate")
    not_swept: ClassVar = ("data", "midi", "steps_per_beat", "generate")

    def resolved(self) -> dict[str, Any]:
        """The settings; raises for bad options."""
        if self.data is not None and self.midi is not None:
            raise launch.RunError("--data and --midi: give one of them.")
        for name, least in (("steps_per_beat", 1), ("transpose", 0), ("generate", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                option = name.replace("_", "-")
                raise launch.RunError(f"--{option} must be at least {least}, not {value}.")
        self.check_numbers(above_zero=("learning_rate",), rates=("dropout",))
        return {"settings": {name: self.settings(name)._asdict() for name in networks.RECIPES}}

    def preview(self) -> str | None:
        """The files of --generate, or the list of rows."""
        if not self.generate:
            return super().preview()
        folder = self.out or launch.RUNS / "music"
        return "\n".join(map(str, compose(folder, self.only, self.generate, self.seed)))

    def settings(self, name: str) -> networks.Settings:
        """How a row is trained."""
        recipe = networks.RECIPES[name]
        transpose = (0 if self.data else 6) if self.transpose is None else self.transpose
        transpose = 0 if recipe.tied else transpose  # which would change nothing
        dropout = (0.1 if transpose else 0.4) if self.dropout is None else self.dropout
        epochs = self.epochs_of(recipe.epochs)
        return networks.Settings(epochs, recipe.batch_size, dropout, transpose)


def trial_of(music: Music, config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    recipe, settings = networks.RECIPES[name], config.settings(name)
    if config.learning_rate is not None:
        recipe = recipe._replace(learning_rate=config.learning_rate)
    keys, parts = keys_of(music.train), music.parts()
    model, law = networks.make_model(recipe, settings.dropout, config.cast, keys), recipe.law(keys)
    most = most_at_once(parts.values()) if recipe.tied else 32
    settings = settings._replace(batch_size=min(settings.batch_size, most))
    batches = networks.batches_of(music.train, settings.batch_size)
    held = {  # the test part is for finished rows, not for a look
        name: networks.batches_of(rolls, min(32, most), shuffle=False)
        for name, rolls in parts.items()
        if name == "validation" or (name == "test" and not config.quick)
    }

    def measure(params: Any) -> dict[str, Any]:
        loss = networks.loss_of(model, law)
        found = {part: train.evaluate_metrics(loss, params, one) for part, one in held.items()}
        scores = {part: figures["nll"] for part, figures in found.items()}
        pieces = list(networks.drawn(model, law, params, *_DRAWN))
        return scores | {"drawn": tally(pieces)._asdict()}

    return study.Trial(
        recipe.title,
        settings._asdict()
        | {"learning_rate": recipe.learning_rate, "data": music.source, "pieces": digest(parts)},
        model,
        functools.partial(
            networks.fit_seeds,
            recipe=recipe,
            settings=settings,
            model=model,
            law=law,
            parts=(batches, held["validation"]),
        ),
        measure,
        every=10 * batches.steps,
        extra={"steps_per_beat": config.steps_per_beat, "keys": list(keys)},
    )


def run(config: Config, folder: Path) -> launch.Result:
    """Train what is missing, write the table, the picture and a piece."""
    music = read(config.data, config.midi, config.steps_per_beat)
    music = look_at(music) if config.quick else music
    outcomes = study.run(NAME, config, folder, functools.partial(trial_of, music))
    generated = config.data is None and config.midi is None
    rows = report.rows_of(outcomes, music, test=not config.quick, generated=generated)
    files = report.write(folder, outcomes, music, "validation" if config.quick else "test")
    return launch.Result(rows, "nats", files, report.table_of(rows))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nMany-to-many")[0])
