"""The table of `experiments.translate_dates`, and pictures of where its decoder looks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from rich.table import Table

from experiments import dates_data as dates
from experiments.dates_models import source_of
from seqjax import data, models, report, runs, study
from seqjax.report import Row

EXAMPLES = 4  # in the picture
FIGURES = {  # of a trial: split and metric of the row; "unseen" are days of the test part
    "validation greedy": ("validation", "exact match"),
    "test greedy": ("test", "exact match"),
    "test beam": ("test", "exact match, beam search"),
    "test typed": ("test", "exact match, typing errors"),
    "unseen greedy": ("test", "exact match, unseen formats"),
    "unseen beam": ("test", "exact match, unseen formats, beam search"),
}
BASELINES = {"rules": False, "rules + spelling": True}


def result_rows(outcomes: Mapping[str, list[study.Outcome]], parts: dates.Parts) -> list[Row]:
    """Networks and baselines, in per cent."""
    rows = []
    for name, repair in BASELINES.items():
        figures = _of_rules(parts, repair)
        for key, share in figures.items():
            split, metric = FIGURES[key]
            rows.append(Row(name, "baseline", split, metric, (share,)))
    for name, found in outcomes.items():
        for key, (split, metric) in FIGURES.items():
            if all(key in one.figures for one in found):

                def figure(one: study.Outcome, key: str = key) -> float:
                    return one.figures[key]

                rows.append(study.row_of(name, found, figure, split=split, metric=metric))
    return rows


def _of_rules(parts: dates.Parts, repair: bool) -> dict[str, float]:
    def share(examples: Sequence[dates.Example]) -> float:
        right = [dates.rules(one.text, repair=repair) == one.iso for one in examples]
        return 100 * float(np.mean(right))

    return {
        "validation greedy": share(parts.validation),
        "test greedy": share(parts.test),
        "test typed": share([one for one in parts.test if one.typed]),
        "unseen greedy": share(parts.unseen),
    }


def table(rows: Sequence[Row]) -> Table:
    """A line for each model."""
    # What beams change in unseen formats is in result.json.
    names = ("validation", "test", "beam", "typing errors", "unseen forms")
    columns = dict(zip(FIGURES.values(), names, strict=False))
    cells = [
        (row.model, columns[at], row) for row in rows if (at := (row.split, row.metric)) in columns
    ]
    return report.table_of(cells, names, corner="exact match, %", digits=2)


def draw(folder: Path, run: runs.Run, examples: Sequence[dates.Example]) -> list[Path]:
    """Draw where a model's decoder looks.

    Args:
        folder: to write to.
        run: a trained model with attention.
        examples: of which some are shown.

    Returns:
        The file written.

    Raises:
        ModuleNotFoundError: without matplotlib.
    """
    from matplotlib.figure import Figure

    vocabulary = data.Vocabulary.from_json(run.extra["source"])
    shown = chosen(examples)
    arrays = dates.encoded(shown, vocabulary)
    found = models.beam_search(
        run.model,
        run.params,
        jnp.full((len(shown), 1), dates.START),
        11,
        end=dates.END,
        beams=1,
        context=source_of(arrays),
    )
    written = np.concatenate([arrays["target"][:, :1], found.tokens[:, 0]], axis=1)
    weights = models.attention_weights(
        run.model, run.params, jnp.asarray(written[:, :-1]), context=source_of(arrays)
    )
    figure = Figure(figsize=(10, 8), layout="constrained")
    for axes, one, tokens, length, looks in zip(
        figure.subplots(2, -(-len(shown) // 2)).flat,
        shown,
        written,
        arrays["lengths"],
        np.asarray(weights),
        strict=False,
    ):
        letters = [dates.TARGET.decode([token]).strip(data.END) for token in tokens[1:11]]
        answer = "".join(letters)
        axes.imshow(looks[:10, :length], cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(length), list(one.text), fontsize=8)
        axes.set_yticks(range(10), letters)
        right = "" if answer == one.iso else f" (it is {one.iso})"
        axes.set_title(f"{one.text} → {answer}{right}", fontsize=9, parse_math=False)
    figure.supxlabel("what is read")
    figure.supylabel("what is written")
    path = folder / "attention.png"
    figure.savefig(path, dpi=90)
    return [path]


def chosen(examples: Sequence[dates.Example]) -> list[dates.Example]:
    """The longest text of each of some languages, with a typing error if there is one."""
    found: dict[str, dates.Example] = {}
    for one in sorted(examples, key=lambda one: (not one.typed, -len(one.text))):
        found.setdefault(one.language, one)
    return list(found.values())[:EXAMPLES]
