"""Handwritten digits read as sequences: pixel by pixel, row by row, and in a scrambled order.

    python -m experiments.digits                                # 6 networks x 3 orders, 3 seeds
    python -m experiments.digits --quick                        # a look: 2 rows, 2 epochs
    python -m experiments.digits --only pixel-gru,pixel-lru     # some rows (--list)
    python -m experiments.digits --resume                       # go on where it stopped

Many-to-one: a network reads a picture of scikit-learn's (8 x 8) step by step and says at the end
which digit it was. All networks have equally many parameters. Beside them stand scikit-learn's
classifiers of the 64 pixels: a network that loses to them is seen to lose. The best network
pixel by pixel is chosen on the validation part. Two CPU cores: 11 minutes. Scores to expect:
docs/digits.md.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments import digits_data, digits_pictures as pictures
from experiments.digits_data import ORDERS
from experiments.digits_models import (
    ARCHITECTURES,
    RATES,
    Settings,
    answers,
    loss_of,
    make_model,
    width_of,
)
from seqjax import launch, study, train

NAME = "experiments.digits"


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the digits."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""
    epochs: int | None = None
    """Epochs to train; by default 50."""
    learning_rate: float | None = None
    """Of AdamW at its height; by default each network's own."""
    dropout: float = Settings().dropout
    """Rate between layers and within residual blocks."""
    shift: float = Settings().shift
    """Pixels by which pictures are moved at random in training, at most."""
    zoom: float = Settings().zoom
    """Part by which they are stretched at random, at most."""

    titles: ClassVar[Mapping[str, str]] = {
        f"{order}-{architecture}": f"{architecture}, {steps} steps of {inputs}"
        for order, (steps, inputs) in ORDERS.items()
        for architecture in ARCHITECTURES
    }
    look: ClassVar[tuple[str, ...]] = ("pixel-rnn", "row-gru")

    def resolved(self) -> dict[str, Any]:
        """Every row's settings."""
        return {"settings": {name: self.settings(name)._asdict() for name in ARCHITECTURES}}

    def settings(self, architecture: str) -> Settings:
        """How the networks of an architecture are trained."""
        rate = RATES[architecture] if self.learning_rate is None else self.learning_rate
        epochs = self.epochs_of(Settings().epochs)
        return Settings(epochs, rate, dropout=self.dropout, shift=self.shift, zoom=self.zoom)


def trial_of(config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    order, _, architecture = name.partition("-")
    assert order in ORDERS
    settings, parts = config.settings(architecture), digits_data.digits()
    width = width_of(architecture, order)
    model = config.cast(make_model(architecture, order, width, settings.dropout))
    batches = train.array_batches(parts.train._asdict(), settings.batch_size)

    def fit(seeds: Sequence[int], **how: Any) -> Iterator[tuple[int, train.Fit]]:
        steps = settings.epochs * batches.steps
        yield from train.fit_seeds(
            loss_of(model, order, settings),
            model.init,
            train.cosine_adamw(settings.learning_rate, steps, warm_up=steps // 20),
            batches,
            seeds=seeds,
            epochs=settings.epochs,
            validation=train.array_batches(parts.validation._asdict(), 270, shuffle=False),
            early_stopping=train.EarlyStopping(patience=None, metric="accuracy", mode="max"),
            **how,
        )

    def measure(params: Any) -> dict[str, Any]:
        # The test part is for finished rows, not for a look.
        measured = ("validation",) if config.quick else ("validation", "test")
        return {
            split: float(np.mean(answers(model, params, order, part.pictures) == part.labels))
            for split, part in parts._asdict().items()
            if split in measured
        }

    title, every = config.titles[name], 10 * batches.steps
    return study.Trial(title, settings._asdict() | {"width": width}, model, fit, measure, every)


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, write the table and the pictures."""
    outcomes = study.run(NAME, config, folder, trial_of)
    rows = pictures.result_rows(outcomes)
    split = "validation" if config.quick else "test"
    files = pictures.write(folder, outcomes, rows, split)
    return launch.Result(rows, "%", files, pictures.table_of(rows, split))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nMany-to-one")[0])
