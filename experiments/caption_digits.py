"""Captions of handwritten digits: a picture in, words out ("a narrow seven , thin , upright").

    python -m experiments.caption_digits                  # 3 captioners, 3 seeds
    python -m experiments.caption_digits --quick          # a look: 1 row, 2 epochs
    python -m experiments.caption_digits --only gru       # some rows (--list)
    python -m experiments.caption_digits --resume         # go on where it stopped

One-to-many: a recurrent network writes a caption word by word, told of the picture at every
word. What it should say follows from the digit and from what is measured of the picture, so it
can be scored to the word, greedy and by beam search. Beside it stand the most frequent caption
and logistic regression of each thing that is said. Two CPU cores: 8 minutes. Scores to expect:
docs/caption_digits.md.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from experiments import caption_digits_data as captions, caption_digits_pictures as pictures
from experiments.caption_digits_models import BEAMS, Settings, loss_of, make_model, write
from seqjax import launch, study, train

NAME = "experiments.caption_digits"


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the captions."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    epochs: int | None = None
    """Epochs to train; by default 12."""
    learning_rate: float = Settings().learning_rate
    """Of AdamW."""
    copies: int = Settings().copies
    """Of every training picture, all but the first moved at random."""
    dropout: float = Settings().dropout
    """Rate between layers."""
    features: int = Settings().features
    """Width of the recurrent layer and of those over the pixels."""

    titles: ClassVar[Mapping[str, str]] = {
        "rnn": "simple recurrent network",
        "lstm": "LSTM",
        "gru": "GRU",
    }
    look: ClassVar[tuple[str, ...]] = ("gru",)

    def resolved(self) -> dict[str, Any]:
        """Every row's settings; raises for bad options."""
        if self.copies < 1:
            raise launch.RunError(f"--copies must be at least 1, not {self.copies}.")
        return {"settings": self.settings()._asdict()}

    def settings(self) -> Settings:
        """How the rows are trained."""
        names = ("learning_rate", "copies", "dropout", "features")
        asked = {name: getattr(self, name) for name in names}
        found = Settings(self.epochs_of(Settings().epochs), **asked)
        return found._replace(copies=min(found.copies, 2)) if self.quick else found


def trial_of(config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    settings = config.settings()
    task = captions.task(settings.copies)
    model = config.cast(make_model(name, settings, task.vocabulary.size))
    batches = train.array_batches(task.parts["train"].batch(), settings.batch_size)

    def fit(seeds: Sequence[int], **how: Any) -> Iterator[tuple[int, train.Fit]]:
        steps = settings.epochs * batches.steps
        yield from train.fit_seeds(
            loss_of(model),
            model.init,
            train.cosine_adamw(settings.learning_rate, steps, warm_up=steps // 20),
            batches,
            seeds=seeds,
            epochs=settings.epochs,
            validation=train.array_batches(task.parts["validation"].batch(), 270, shuffle=False),
            early_stopping=train.EarlyStopping(patience=None, metric="exact", mode="max"),
            **how,
        )

    def measure(params: Any) -> dict[str, Any]:
        # The test part is for finished rows, not for a look.
        splits = ("validation",) if config.quick else ("validation", "test")
        return {
            split: {
                how: captions.scores(*write(model, params, part, beams), part)
                for how, beams in BEAMS.items()
            }
            for split, part in task.parts.items()
            if split in splits
        }

    extra = {"vocabulary": task.vocabulary.to_json(), "cuts": task.cuts}
    every = 5 * batches.steps
    return study.Trial(config.titles[name], settings._asdict(), model, fit, measure, every, extra)


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, write the table and the picture."""
    outcomes = study.run(NAME, config, folder, trial_of)
    rows = pictures.result_rows(outcomes)
    split = "validation" if config.quick else "test"
    files = pictures.write(folder, rows, captions.task().parts[split])
    return launch.Result(rows, "%", files, pictures.table_of(rows, split))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nOne-to-many")[0])
