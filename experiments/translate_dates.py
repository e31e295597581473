"""Translate dates as people write them in five languages to ISO 8601, letter by letter.

    python -m experiments.translate_dates                     # 4 rows, 3 seeds
    python -m experiments.translate_dates --quick             # a look: 1 seed, 2 epochs
    python -m experiments.translate_dates --resume            # go on where it stopped
    python -m experiments.translate_dates --predict "am 3. Mräz '21" --out runs/translate_dates

"Wed, 3rd of Mrach '21" becomes "2021-03-03": an encoder reads the text in both directions, a
decoder writes the date and looks at the text by attention; one row does without. Exact match on
days that are not in the training part, greedy and by beam search, on texts with typing errors,
and in formats that are not in the training part; a picture shows where the decoder looks. Two CPU
cores: 9 minutes. Scores to expect: docs/translate_dates.md.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import tyro

from experiments import dates_data as dates, dates_pictures
from experiments.dates_models import CHUNK, RECIPES, Recipe, best, loss_of, predict, search
from seqjax import data, launch, runs, study, train

NAME = "experiments.translate_dates"
TRAIN, HELD_OUT = 20_000, 2_000
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the table."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    epochs: int | None = None
    """Epochs to train; by default 10."""
    learning_rate: float | None = None
    """Of Adam; by default 0.003."""
    beams: int = 4
    """Candidates of the beam search."""
    predict: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Translate these with the best model of the run in --out, and end."""

    may_differ: ClassVar = (*study.TableConfig.may_differ, "predict")
    not_swept: ClassVar = ("beams", "predict")
    titles: ClassVar = {
        name: f"{one.architecture.upper()}, {one.attention or 'no'} attention"
        for name, one in RECIPES.items()
    }
    look: ClassVar[tuple[str, ...]] = ("gru",)

    def preview(self) -> str | None:
        """The list of rows, or the translations asked for."""
        if not self.predict or self.list_rows:
            return super().preview()
        found = predict(self.out or launch.RUNS / "translate_dates", self.predict, self.beams)
        return "\n".join(f"{iso}  {text}" for text, iso in zip(self.predict, found, strict=True))

    def resolved(self) -> dict[str, Any]:
        """Nothing to add; raises for bad options."""
        self.epochs_of(1)
        if self.beams < 1:
            raise launch.RunError(f"--beams must be at least 1, not {self.beams}.")
        return {}

    def recipe(self, name: str) -> Recipe:
        """A row as this run trains it."""
        recipe, rate = RECIPES[name], self.learning_rate or RECIPES[name].learning_rate
        return recipe._replace(epochs=self.epochs_of(recipe.epochs), learning_rate=rate)

    def parts(self) -> dates.Parts:
        """The data; a tenth of it for a look."""
        part = 10 if self.quick else 1
        return dates.parts(TRAIN // part, HELD_OUT // part)


def trial_of(config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    recipe, parts = config.recipe(name), config.parts()
    vocabulary = data.characters(one.text for one in parts.train)
    model = config.cast(recipe.model(vocabulary))
    encode = functools.partial(dates.encoded, vocabulary=vocabulary)

    def batches(examples: Sequence[dates.Example], *, shuffle: bool) -> train.Batches:
        arrays, buckets = encode(examples), 3 if shuffle and not config.quick else 1
        how = {"along": ["source"], "buckets": buckets, "shuffle": shuffle}
        return train.bucketed_batches(arrays, arrays["lengths"], BATCH if shuffle else CHUNK, **how)

    def fit(seeds: Sequence[int], **how: Any) -> Iterator[tuple[int, train.Fit]]:
        training = batches(parts.train, shuffle=True)
        yield from train.fit_seeds(
            loss_of(model),
            model.init,
            recipe.optimizer(training.steps),
            training,
            seeds=seeds,
            epochs=recipe.epochs,
            validation=batches(parts.validation, shuffle=False),
            early_stopping=train.EarlyStopping(patience=None, metric="exact", mode="max"),
            **how,
        )

    def measure(params: Any) -> dict[str, Any]:
        # The other parts are for finished rows, not for a look.
        names = ("validation",) if config.quick else ("validation", "test", "unseen")
        found = {}
        for name in names:
            examples: list[dates.Example] = getattr(parts, name)
            arrays, typed = encode(examples), np.array([one.typed for one in examples])
            right = {
                how: np.all(search(model, params, arrays, beams) == arrays["target"][:, 1:], axis=1)
                for how, beams in (("greedy", 1), ("beam", config.beams))
            }
            right["typed"] = right["greedy"][typed]
            found |= {f"{name} {how}": 100 * float(each.mean()) for how, each in right.items()}
        return found

    every = 2 * -(-len(parts.train) // BATCH)
    extra = {"source": vocabulary.to_json()}
    return study.Trial(config.titles[name], recipe._asdict(), model, fit, measure, every, extra)


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, print the table, draw where the decoder looks."""
    outcomes = study.run(NAME, config, folder, trial_of)
    rows = dates_pictures.result_rows(outcomes, config.parts())
    files = []
    if chosen := best(folder, attentive=True):
        try:
            trained = runs.load(folder, *chosen)
            files = dates_pictures.draw(folder, trained, config.parts().test)
        except ModuleNotFoundError as error:
            print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
    return launch.Result(rows, "%", files, dates_pictures.table(rows))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition('\n\n"Wed')[0])
