"""The texts of `experiments.sentences`: lines of Python's own source by default, or any CSV."""

import dataclasses
import os
import platform
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from seqjax import data, launch
from seqjax.data.labelled import Labelled, read_labelled, stratified_folds, stratified_parts

PACKAGES = (
    *("asyncio", "email", "http", "importlib", "logging"),
    *("multiprocessing", "re", "unittest", "urllib", "xml"),
)
SHARES = (0.6, 0.15, 0.25)  # of the lines: training, validation, test
MOST = (600, 200, 300)  # lines of a package in each part
LOOK = 600  # examples of which --quick takes a look, at most
_NAME = re.compile(r"\w+")


class Parts(NamedTuple):
    """What is trained on, what choices are made on, and what is reported."""

    train: Labelled
    validation: Labelled
    test: Labelled


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Options that name labelled texts and their parts; to be inherited by a Config."""

    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A CSV of labelled sentences with a header line; by default lines of Python's own source."""
    text_column: str = "text"
    """Its column of sentences."""
    label_column: str = "label"
    """Its column of labels, numbers or words."""
    encoding: str = "utf-8"
    """Of the file, such as latin-1."""
    delimiter: str = ","
    """Between its cells; "tab" for a tab."""
    folds: int | None = None
    """Evaluate by so many folds in place of a tenth that is held out."""

    def parts(self) -> dict[int | None, Parts]:
        """The parts of each fold by its number; without folds by None.

        Raises:
            DataError: see `seqjax.data.labelled`, and `standard_library`.
            RunError: for folds of the default data.
        """
        self.check()
        if self.csv is None:
            return {None: standard_library()}
        columns = self.text_column, self.label_column
        how = {"encoding": self.encoding, "delimiter": self.delimiter}
        found = read_labelled(self.csv, *columns, **how)
        if self.folds is None:
            rows = stratified_parts(found, (0.8, 0.1, 0.1), seed=0)
            return {None: Parts(*map(found.take, rows))}
        held = stratified_folds(found, self.folds, seed=0)
        return {fold: _around(found, rows) for fold, rows in enumerate(held)}

    def check(self) -> None:
        """RunError for folds that cannot be."""
        if self.folds is not None and (self.csv is None or self.folds < 2):
            raise launch.RunError(
                "--folds takes 2 or more, and a --csv: the default lines are split by file."
            )


TEXT_OPTIONS = tuple(field.name for field in dataclasses.fields(TextOptions))


def _around(found: Labelled, held: np.ndarray) -> Parts:
    """A fold as the test part, a ninth of the others as the validation part."""
    rest = found.take(np.setdiff1d(np.arange(len(found.texts)), held))
    train, validation = stratified_parts(rest, (8 / 9, 1 / 9), seed=0)
    return Parts(rest.take(train), rest.take(validation), found.take(held))


def look_at(parts: Parts) -> Parts:
    """A few examples of each part, spread over it."""
    return Parts(*(part.take(range(0, n := len(part.texts), -(-n // LOOK))) for part in parts))


def standard_library(root: Path | None = None) -> Parts:
    """Lines of ten packages, labelled with their package.

    A file is in one part only, so that no near-copy of a line is on both sides. Of a package's
    files, from the longest on, each goes where most is missing of that part's share. A line
    that stands in several packages says nothing, and is left out, as are comments and lines of
    fewer than three words. All packages have equally many lines, drawn with a fixed seed: the
    same for everyone with this version of Python.

    Args:
        root: of the standard library; that of this Python by default.

    Raises:
        DataError: where the library, or a package of it, is not there as source.
    """
    root = Path(os.__file__).parent if root is None else root
    lines = {package: _files(root, package) for package in PACKAGES}
    holders = Counter(
        line for files in lines.values() for line in {one for file in files for one in file}
    )
    parts = [{package: [] for package in PACKAGES} for _ in SHARES]
    for package, files in lines.items():
        taken: set[str] = set()
        counts = np.zeros(len(SHARES))
        for file in files:
            own = [one for one in dict.fromkeys(file) if holders[one] == 1 and one not in taken]
            part = int(np.argmin((counts + 1) / SHARES))
            counts[part] += len(own)
            parts[part][package] += own
            taken.update(own)
    source = f"the standard library of Python {platform.python_version()}"
    return Parts(*(_balanced(part, most, source) for part, most in zip(parts, MOST, strict=True)))


def _balanced(part: dict[str, list[str]], most: int, source: str) -> Labelled:
    each = min(most, *map(len, part.values()))
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for label, lines in enumerate(part.values()):
        texts += [lines[row] for row in np.sort(rng.permutation(len(lines))[:each])]
        labels += [label] * each
    return Labelled(texts, np.array(labels, np.int32), PACKAGES, source)


def _files(root: Path, package: str) -> list[list[str]]:
    """The lines of a package's files, the longest file first."""
    paths = sorted((root / package).rglob("*.py"))
    files = [list(_lines(path)) for path in paths if path.parent.name not in ("test", "tests")]
    if len(files) < len(SHARES):
        raise data.DataError(
            f"{root / package}: the source of this package is not there; the default data are the"
            " standard library's source. Take a Python that has it, or --csv FILE."
        )
    return sorted(files, key=len, reverse=True)


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = line.strip()
        if not line.startswith("#") and len(_NAME.findall(line)) >= 3:
            yield line
