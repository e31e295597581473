"""Which class a sentence belongs to: recurrent and convolutional networks beside n-grams.

    python -m experiments.sentences                     # lines of Python's standard library
    python -m experiments.sentences --csv reviews.csv --text-column text --label-column stars
    python -m experiments.sentences --csv reviews.csv --folds 10 --seeds 1
    python -m experiments.sentences --quick             # a look: 1 seed, 2 epochs, few examples
    python -m experiments.sentences --out runs/sentences --predict "what a bore" "a joy"

Many-to-one over sentences of unequal length. By default: which of ten packages of Python's
standard library is a line from? Files are in one part only. With --csv any labelled sentences;
settings follow from their number. Beside the networks and their ensemble stand naive Bayes and
logistic regression on n-grams of words and of characters: a network that loses to them is seen
to lose. Two CPU cores: 3 minutes for 3 seeds. Scores to expect: docs/sentences.md.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from experiments import sentences_report as report
from experiments.sentences_baselines import baselines
from experiments.sentences_data import TEXT_OPTIONS, TextOptions, look_at
from experiments.sentences_models import Settings, fit_seeds, make_model, settings_for
from experiments.sentences_predict import Reader, predict
from experiments.sentences_tokens import Task, Unit, task_of
from seqjax import launch, study

NAME = "experiments.sentences"


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig, TextOptions):
    """Options of the sentences."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    unit: Unit = "piece"
    """What a network reads step by step: words, characters, or pieces of words."""
    epochs: int | None = None
    """Epochs to train; by default by the number of sentences, as the two that follow."""
    learning_rate: float | None = None
    """Of AdamW."""
    dropout: float | None = None
    """Rate between layers."""
    predict: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Classify these by the finished run in --out, and end."""
    fold: Annotated[int | None, tyro.conf.Suppress] = None

    titles: ClassVar = {
        "bigru": "bidirectional GRU, maximum and mean over time",
        "bilstm": "bidirectional LSTM, maximum and mean over time",
        "cnn": "convolutions over 3, 4 and 5 tokens, maximum over time",
    }
    look: ClassVar[tuple[str, ...]] = ("bigru",)
    may_differ: ClassVar = (*study.TableConfig.may_differ, "predict")
    not_swept: ClassVar = (*TEXT_OPTIONS, "fold", "predict")

    def resolved(self) -> dict[str, Any]:
        """Nothing to add (the rest follows from the data); raises for bad options."""
        self.settings(0)
        self.check()
        return {}

    def preview(self) -> str | None:
        """The classes of --predict, or the list of rows."""
        if not self.predict:
            return super().preview()
        found = predict(self.out or launch.RUNS / "sentences", self.predict)
        best = [sorted(one.items(), key=lambda pair: -pair[1])[:3] for one in found]
        words = [", ".join(f"{name} {share:.1%}" for name, share in one) for one in best]
        return "\n".join(map("{}  {}".format, words, self.predict))

    def swept(self) -> dict[str, Any]:
        """Every fold, too."""
        return {
            f"{end} fold={fold}".strip() if self.folds else end: dataclasses.replace(one, fold=fold)
            for end, one in super().swept().items()
            for fold in (range(self.folds) if self.folds else (None,))
        }

    def settings(self, count: int) -> Settings:
        """Those for so many texts, with what was asked for."""
        found = settings_for(count)
        names = ("learning_rate", "dropout")
        asked = {name: value for name in names if (value := getattr(self, name)) is not None}
        return found._replace(epochs=self.epochs_of(found.epochs), **asked)


def trial_of(task: Task, splits: Sequence[str], config: Config, row: str) -> study.Trial:
    """What is trained and measured of a row."""
    train_part = task.parts.train
    count = len(train_part.texts)
    settings = config.settings(count)
    made = make_model(row, task.vocabulary.size, len(train_part.names), settings)
    read = Reader(model := config.cast(made))

    def measure(params: Any) -> dict[str, Any]:
        return {split: read(params, task.examples[split]).round(5).tolist() for split in splits}

    fit = functools.partial(fit_seeds, model=model, settings=settings, examples=task.examples)
    return study.Trial(
        config.titles[row],
        settings._asdict() | {"unit": config.unit, "data": train_part.source, "texts": count},
        model,
        fit,
        measure,
        every=2 * -(-count // settings.batch_size),
        extra=task.extra,
    )


def run(config: Config, folder: Path) -> launch.Result:
    """Train what is missing, compare with the baselines, write the table and the picture."""
    parts = config.parts()
    splits = ("validation",) if config.quick else ("validation", "test")  # a look looks at no test
    parts = {fold: look_at(one) for fold, one in parts.items()} if config.quick else parts
    labelled = {fold: one._asdict() for fold, one in parts.items()}
    others = [
        report.Scored(name, "baseline", fold, {split: found[split] for split in splits})
        for fold, one in parts.items()
        for name, found in baselines(one)
    ]

    @functools.cache
    def task(fold: int | None, unit: Unit) -> Task:
        return task_of(parts[fold], unit)

    outcomes = study.run(
        NAME, config, folder, lambda one, row: trial_of(task(one.fold, one.unit), splits, one, row)
    )
    scored = report.scored_of(outcomes)
    together = report.ensemble(scored)
    rows = report.rows_of([*others, *scored, *together], labelled)
    files = report.draw_confusion(folder / "confusion.png", together, labelled, splits[-1])
    return launch.Result(rows, "%", files, report.table_of(rows))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nMany-to-one")[0])
