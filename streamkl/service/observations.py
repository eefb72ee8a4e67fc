"""Observations: a batch, understood: which rows belong to which stream, with what values and at what times.

Rule 1: a row without a usable key is one fault, of its key; its values and its time are nobody's.
Rule 2: nothing is observed here: what a row means does not depend on the rows before it, but for the number of keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamkl.service.batch import Batch, Reject
from streamkl.service.stream_keys import StreamKeys
from streamkl.service.times import milliseconds
from streamkl.service.values import NOT_A_NUMBER, categories, numbers

Values = NDArray[np.float64] | list[object]


class Watched(NamedTuple):
    """What is watched. kind: "numeric", "categorical", or None: numeric, and columns of text are refused."""

    values: tuple[str, ...]
    key: str | None = None
    time: str | None = None
    kind: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Return every field that a decoder must give, each once."""
        return tuple(dict.fromkeys(name for name in (*self.values, self.key, self.time) if name is not None))


class Observations(NamedTuple):
    """A batch, understood. groups: key -> rows (None: all rows). texts: the lines of the values that are no numbers."""

    lines: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.intp] | None]
    values: Mapping[str, Values]
    texts: Mapping[str, Sequence[int]]
    times_ms: NDArray[np.int64] | None

    def before(self, line: int) -> Observations:
        """Return the observations of the rows before a line."""
        end = int(np.searchsorted(self.lines, line))
        groups = {key: np.arange(end) if rows is None else rows[rows < end] for key, rows in self.groups.items()}
        return self._replace(lines=self.lines[:end], groups=groups)


def understood(batch: Batch, watched: Watched, keys: StreamKeys) -> tuple[Observations, list[Reject]]:
    """Return the observations of a batch, and its faults: of rows first, then of values and times."""
    if not batch.lines:
        return Observations(np.empty(0, np.int64), {}, {}, {}, None), list(batch.rejects)
    groups, key_faults = _groups(batch, watched, keys)
    values, value_faults = _values(batch, watched)
    times_ms, time_faults = None, list[Reject]()
    if watched.time is not None:
        times_ms, time_faults = milliseconds(watched.time, batch.columns[watched.time], batch.lines)
    keyless = {fault.line for fault in key_faults}
    faults = [fault for fault in (*value_faults, *time_faults) if fault.line not in keyless]
    texts = {column: [fault.line for fault in value_faults if fault.reason == f"column {column}: {NOT_A_NUMBER}"] for column in watched.values}
    return Observations(np.asarray(batch.lines, np.int64), groups, values, texts, times_ms), [*batch.rejects, *key_faults, *faults]


def _groups(batch: Batch, watched: Watched, keys: StreamKeys) -> tuple[Mapping[str, NDArray[np.intp] | None], list[Reject]]:
    if watched.key is None:
        return {"": None}, []
    return keys.groups(batch.columns[watched.key], batch.lines)


def _values(batch: Batch, watched: Watched) -> tuple[dict[str, Values], list[Reject]]:
    read = categories if watched.kind == "categorical" else numbers
    values: dict[str, Values] = {}
    rejects: list[Reject] = []
    for column in watched.values:
        values[column], faults = read(column, batch.columns[column], batch.lines)
        rejects += faults
    return values, rejects
