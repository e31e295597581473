"""Models of a text, character by character, beside n-grams of it.

    python -m experiments.char_lm                                  # a table, 3 seeds
    python -m experiments.char_lm --only best --seeds 1            # larger, and longer
    python -m experiments.char_lm --text plays.txt --only best --seeds 1
    python -m experiments.char_lm --out FOLDER --generate 500 --prompt "def "

By default the text is two megabytes of the source of Python's standard library, split by file;
the state is carried over all of it. Bits per character stand beside those of n-gram models with
Kneser-Ney smoothing, without and with what their document says itself. Two CPU cores: 13 minutes
for the table, 7 for the best model. Scores to expect: docs/char_lm.md.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from experiments import char_lm_data as texts, char_lm_pictures as pictures
from experiments.char_lm_generate import generate, row_in
from experiments.char_lm_models import EPOCHS, RECIPES, Recipe, fit_seeds, loss_of
from seqjax import launch, models, study, train

NAME = "experiments.char_lm"
_OF_GENERATION = ("generate", "prompt", "temperature", "top_p")


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the language models."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    text: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Text files; ten or more are split by file, of fewer the ends are held out."""
    unit: texts.Unit = "character"
    """Characters of UTF-8, or bytes of anything."""
    characters: float | None = None
    """Millions to read in training, all passes together; by default each row's own."""
    learning_rate: float | None = None
    """Of Adam; by default each row's own."""
    features: tuple[int, ...] | None = None
    """Width of each layer; by default each row's own."""
    dropout: float | None = None
    """Rate between layers; by default by how often the text is read."""
    generate: int = 0
    """Continue the prompt by so many characters, by a model of the run in --out, and end."""
    prompt: str = ""
    """What a generated text begins with."""
    temperature: float = 0.8
    """Of generation; 0 takes the most likely character."""
    top_p: float | None = None
    """Generate from the most likely characters of this probability alone."""

    titles: ClassVar = {name: recipe.title for name, recipe in RECIPES.items()}
    look: ClassVar[tuple[str, ...]] = ("lstm",)
    may_differ: ClassVar = (*study.TableConfig.may_differ, *_OF_GENERATION)
    not_swept: ClassVar = ("text", "unit", *_OF_GENERATION)

    def rows(self) -> tuple[str, ...]:
        """The rows to train: the best model only where it is asked for."""
        found = super().rows()
        return found if self.only is not None else tuple(name for name in found if name != "best")

    def resolved(self) -> dict[str, Any]:
        """Nothing to add (the rest follows from the text); raises for bad options."""
        self.check_numbers(above_zero=("characters", "learning_rate"), rates=("dropout",))
        return {}

    def preview(self) -> str | None:
        """Generated text, or the list of rows."""
        if not self.generate:
            return super().preview()
        try:
            sample = models.sampler(self.temperature, top_p=self.top_p)
        except ValueError as error:
            raise launch.RunError(f"--generate: {error}") from None
        folder = self.out or launch.RUNS / "char_lm"
        how = {"sample": sample, "seed": self.seed}
        speed = generate(folder, row_in(folder, self.only), self.prompt, self.generate, **how)
        return f"\n\n{self.generate:,} {self.unit}s, {speed:,.0f} a second"

    def recipe(self, name: str, size: int) -> Recipe:
        """How a row is trained on a text of so many characters."""
        names = ("characters", "learning_rate", "features", "dropout")
        asked = {key: value for key in names if (value := getattr(self, key)) is not None}
        return RECIPES[name].for_text(size, **asked)


def trial_of(text: texts.Text, config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    recipe = config.recipe(name, text.size)
    model = config.cast(recipe.model(text.vocabulary.size))
    lanes, steps = recipe.batch_size, recipe.steps
    updates = 20 if config.quick else recipe.updates()
    whole = {"validation": texts.whole(text.validation, lanes, steps, recipe.before)}
    stream = texts.training(text, lanes, steps, updates)

    def measure(params: Any) -> dict[str, Any]:
        start, loss = model.initial_carry(lanes), loss_of(model)
        parts = dict(whole)
        if not config.quick:  # the test part is for finished rows, not for a look
            parts["test"] = texts.whole(text.test, lanes, steps, recipe.before)
        return {
            part: train.evaluate_metrics(loss, params, batches, start)["bits"]
            for part, batches in parts.items()
        }

    return study.Trial(
        recipe.title,
        {"text": text.origin} | recipe._asdict(),
        model,
        functools.partial(
            fit_seeds,
            recipe=recipe,
            model=model,
            parts=(stream, whole["validation"]),
            epochs=config.epochs_of(EPOCHS),
        ),
        measure,
        every=updates,
        extra={"vocabulary": text.vocabulary.to_json()},
    )


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, print the table, draw the picture."""
    text = texts.read(config.text, config.unit, quick=config.quick)
    baselines = texts.ngram_rows(text, test=not config.quick)
    outcomes = study.run(NAME, config, folder, functools.partial(trial_of, text))
    try:
        files = pictures.draw(folder, outcomes, baselines, config.unit)
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        files = []
    # Those of the test part first: the table stands in their order.
    rows = sorted([*texts.network_rows(outcomes), *baselines], key=lambda row: row.split)
    return launch.Result(rows, f"per {config.unit}", files)


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nBy default")[0])
