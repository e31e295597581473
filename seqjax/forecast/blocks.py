"""Rows of a frame as places in a panel's flat arrays, block by block.

Nothing as long as the frame is made on the way, so that what is read needs the memory of what
comes of it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

ROWS = 2**20  # of a block


class Places(NamedTuple):
    """Where each row belongs.

    Attributes:
        codes: [rows], its series.
        at: [rows], its place on the grid.
        origins: [series], the place of each first value on the grid.
        stops: [series], the place behind each last row.
    """

    codes: np.ndarray
    at: np.ndarray
    origins: np.ndarray
    stops: np.ndarray

    @property
    def ends(self) -> np.ndarray:
        """[series], where each ends in the flat arrays."""
        return np.cumsum(self.stops - self.origins)

    def begun(self) -> np.ndarray:
        """[rows], whether a row is none of those before the first value of its series."""
        found = np.empty(len(self.codes), bool)
        for rows in blocks(len(found)):
            found[rows] = self.at[rows] >= self.origins[self.codes[rows]]
        return found

    def of(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows those that have begun, and their places in the flat arrays."""
        offsets = self.ends - self.stops
        codes, at = self.codes[rows], self.at[rows]
        some = np.flatnonzero(at >= self.origins[codes])
        return some + rows.start, (offsets[codes] + at)[some]

    def spread(self, values: np.ndarray, dtype: type) -> np.ndarray:
        """[total], the values at their places, NaN where there is none.

        Rows that stand in the order of the flat arrays already are not copied.
        """
        total = int(self.ends[-1])
        if values.dtype == dtype and len(values) == total and self.in_order():
            return values
        flat = np.full(total, np.nan, dtype)
        for rows in blocks(len(values)):
            some, places = self.of(rows)
            flat[places] = values[some]
        return flat

    def in_order(self) -> bool:
        """Whether row k belongs at place k."""
        for rows in blocks(len(self.codes)):
            some, places = self.of(rows)
            if len(some) < len(self.codes[rows]) or (places != some).any():
                return False
        return True

    def filled(self) -> np.ndarray:
        """[total], the places that a row belongs to."""
        found = np.zeros(int(self.ends[-1]), bool)
        for rows in blocks(len(self.codes)):
            found[self.of(rows)[1]] = True
        return found

    def again(self) -> np.ndarray:
        """[rows], whether a row before belongs to the same place."""
        some, places = self.of(slice(0, len(self.codes)))
        found = np.zeros(len(self.codes), bool)
        found[some] = pd.Series(places).duplicated().to_numpy()
        return found


def places_of(codes: np.ndarray, at: np.ndarray, present: np.ndarray, series: int) -> Places:
    """Series from their first value that is present to their last row.

    Args:
        codes: [rows], the series of each row.
        at: [rows], its place on the grid.
        present: [rows], whether it has a value.
        series: how many; one without a value begins and ends nowhere.
    """
    none = int(at.max()) + 1
    origins, stops = np.full(series, none), np.zeros(series, np.int64)
    for rows in blocks(len(codes)):
        some = present[rows]
        np.minimum.at(origins, codes[rows][some], at[rows][some])
        np.maximum.at(stops, codes[rows], at[rows] + 1)
    return Places(codes, at, origins, stops)


def blocks(count: int) -> Iterator[slice]:
    """All rows, some at a time.

    Example:
        >>> list(blocks(3))
        [slice(0, 3, None)]
    """
    for start in range(0, count, ROWS):
        yield slice(start, min(start + ROWS, count))


def counts_of(codes: np.ndarray, length: int) -> np.ndarray:
    """[length], how often each number stands there; without a copy of wider integers."""
    found = np.zeros(length, np.int64)
    for rows in blocks(len(codes)):
        found += np.bincount(codes[rows], minlength=length)
    return found
