"""Raw sound, 16,000 samples a second: WaveNets and an LSTM beside linear prediction.

    python -m experiments.tones                                # 3 networks, 3 seeds
    python -m experiments.tones --quick                        # a look: 1 network, not trained long
    python -m experiments.tones --wav FOLDER --seeds 1         # your own recordings
    python -m experiments.tones --out runs/tones --only wavenet --say aiuse --pitch 140

Generated speech, voiced vowels that change, bursts of noise and silence, is predicted sample by
sample in bits, by networks conditioned on vowel and pitch, and spoken by them. The generator's
own distribution is the bound: no network can be below it. Two CPU cores: 15 minutes. Scores to
expect: docs/tones.md.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from experiments import (
    tones_baselines as baselines,
    tones_data as sounds,
    tones_generate as speech,
    tones_pictures as pictures,
    tones_wav,
)
from experiments.tones_models import EPOCHS, RECIPES, Recipe, fit_seeds, loss_of, some_crops, whole
from seqjax import launch, runs, study, train

NAME = "experiments.tones"
_OF_SPEECH = ("say", "pitch", "temperature")


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the sounds."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    wav: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Learn from the WAV files of a folder and those below it, in place of generated sounds."""
    minutes: float = 10.0
    """Of --wav, to read at most, all files together; a fifth of them are held out."""
    samples: float | None = None
    """Millions to read in training, all passes together; by default each row's own."""
    learning_rate: float | None = None
    """Of AdamW, at its highest; by default each row's own."""
    say: str = ""
    """Let a model of the run in --out say this (letters of "ieaous_"; of recordings its length
    counts, 0.2 s a letter), write a WAV file, and end."""
    pitch: float = 120.0
    """Of what is said, Hz."""
    temperature: float = 1.0
    """Of what is said; below 1 with less noise."""

    titles: ClassVar = {name: recipe.title for name, recipe in RECIPES.items()}
    look: ClassVar[tuple[str, ...]] = ("wavenet",)
    may_differ: ClassVar = (*study.TableConfig.may_differ, *_OF_SPEECH)
    not_swept: ClassVar = ("wav", "minutes", *_OF_SPEECH)

    def resolved(self) -> dict[str, Any]:
        """Nothing to add; raises for bad options."""
        self.check_numbers(above_zero=("minutes", "samples", "learning_rate"))
        return {}

    def preview(self) -> str | None:
        """What is said, or the list of rows."""
        if not self.say:
            return super().preview()
        if not 0 <= self.temperature < float("inf"):
            raise launch.RunError(f"--temperature must be 0 or more, not {self.temperature}.")
        folder, asked = self.out or launch.RUNS / "tones", speech.sentence(self.say, self.pitch)
        how = {"seed": self.seed, "temperature": self.temperature}
        return speech.say(folder, self.only or "wavenet", asked, **how)

    def recipe(self, name: str) -> Recipe:
        """How a row is trained."""
        names = ("samples", "learning_rate")
        asked = {key: value for key in names if (value := getattr(self, key)) is not None}
        return RECIPES[name]._replace(**({"samples": 0.2} if self.quick else {}) | asked)

    def parts(self) -> sounds.Parts:
        """The sounds."""
        if self.wav is not None:
            return tones_wav.recorded(self.wav, self.minutes)
        return sounds.generated((24, 4, 1) if self.quick else sounds.SIZES)


def trial_of(parts: sounds.Parts, config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    recipe = config.recipe(name)
    told = parts.train.phones.shape[1], parts.train.pitch.shape[1]
    model = config.cast(recipe.model(*told))
    epochs = config.epochs_of(EPOCHS)
    batches = some_crops(parts.train, recipe, recipe.updates(epochs))
    extra = {"known": parts.validation.codes[: speech.KNOWN].tolist(), "law": recipe.law}

    def measure(params: Any) -> dict[str, Any]:
        # The test part is for finished rows, not for a look.
        splits = ("validation",) if config.quick else ("validation", "test")
        loss = loss_of(model, recipe.law, recipe.before)
        found = {}
        for split in splits:
            batches = whole(getattr(parts, split))
            found[f"{split} bits"] = train.evaluate_metrics(loss, params, batches)["bits"]
        trained = runs.Run(model, params, extra, [], 0)
        if all(told):
            found |= speech.measured(speech.generate(trained, speech.vowels())[0], speech.vowels())
        return found

    fit = functools.partial(
        fit_seeds,
        recipe=recipe,
        model=model,
        parts=(batches, whole(parts.validation)),
        epochs=epochs,
    )
    settings = {"sounds": parts.digest} | recipe._asdict()
    return study.Trial(recipe.title, settings, model, fit, measure, batches.steps, extra)


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, write the table, the picture and the sounds."""
    parts = config.parts()
    outcomes = study.run(NAME, config, folder, functools.partial(trial_of, parts))
    rows = pictures.network_rows(outcomes) + baselines.rows_of(parts, test=not config.quick)
    said, speeds = speech.sentences(folder, outcomes, told=config.wav is None)
    rows += speeds
    if config.wav is None:
        rows += speech.generator_rows()
    files = [folder / f"{name}.wav" for name in said]
    try:
        files.append(pictures.draw(folder, said))
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
    return launch.Result(rows, "per sample", files, pictures.table_of(rows))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nGenerated")[0])
