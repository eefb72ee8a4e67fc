"""Streams: batches of records -> observations per stream -> drift events in the order of the file.

Rule 1: one detector per key and column, made when its first row comes; at most STREAMS_MAX of them.
Rule 2: the events do not depend on where the batches were cut, nor on the other streams.
Rule 3: strict means: nothing after the first bad row is observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent
from streamkl.service.batch import Batch
from streamkl.service.faults import Faults
from streamkl.service.kind_check import KindCheck
from streamkl.service.observations import Observations, Values, Watched, understood
from streamkl.service.stream_keys import StreamKeys
from streamkl.service.tally import Tally

STREAMS_MAX = 10_000


class Stream(NamedTuple):
    """One detector and what is counted of it."""

    detector: Detector
    tally: Tally


class Streams:
    """All streams of one source.

    detector: makes a detector of the given name. name: of the source, for the events.
    """

    def __init__(self, watched: Watched, detector: Callable[[str], Detector], name: str, is_strict: bool = False) -> None:
        self.faults = Faults()
        self.rows = 0
        self._watched = watched
        self._detector = detector
        self._name = name
        self._is_strict = is_strict
        self._by_key: dict[str, list[Stream]] = {}
        self._keys = StreamKeys(watched.key or "", max(1, STREAMS_MAX // len(watched.values)))
        self._kind_check = KindCheck(watched.values if watched.kind is None else (), name)

    def take(self, batch: Batch) -> list[DriftEvent]:
        """Observe the records of a batch; return the drift events they caused, in line order.

        Bad rows and values are counted in `faults`. Raises ConfigError if a column holds text and no kind was given.
        """
        observations, rejects = understood(batch, self._watched, self._keys)
        end = len(batch.lines)
        unread = batch.rejects
        if self._is_strict and rejects:
            rejects = [min(rejects, key=lambda reject: reject.line)]
            observations = observations.before(rejects[0].line)
            end = len(observations.lines)
            unread = rejects
        for column in self._watched.values:
            self._kind_check.look(column, batch.columns.get(column, ())[:end], batch.lines[:end])
        self.faults.add(rejects)
        self.rows += end + len(unread)
        events = [event for key, rows in observations.groups.items() for event in self._feed(key, rows, observations)]
        events.sort(key=lambda event: event.position or 0)
        return events

    def finish(self) -> None:
        """Say that the source is at its end. Raises ConfigError as `take` does."""
        self._kind_check.finish()

    def __iter__(self) -> Iterator[Stream]:
        """Yield the streams that have observations, in order of appearance."""
        return (stream for row in self._by_key.values() for stream in row if stream.tally.observations)

    def _feed(self, key: str, rows: NDArray[np.intp] | None, observations: Observations) -> Iterable[DriftEvent]:
        lines, times_ms = observations.lines, observations.times_ms
        if rows is not None:
            lines, times_ms = lines[rows], None if times_ms is None else times_ms[rows]
        if not len(lines):
            return
        for stream, column in zip(self._streams(key), self._watched.values, strict=True):
            values = observations.values[column]
            if rows is not None:
                values = values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows.tolist()]
            if texts := observations.texts[column]:
                stream.tally.texts += int(np.isin(lines, texts).sum())
            yield from self._observe(stream, values, times_ms, lines)

    def _observe(self, stream: Stream, values: Values, times_ms: NDArray[np.int64] | None, lines: NDArray[np.int64]) -> Iterable[DriftEvent]:
        tally = stream.tally
        before = tally.observations
        missing = int(np.count_nonzero(np.isnan(values))) if isinstance(values, np.ndarray) else values.count(None)
        tally.count(int(lines[0]), int(lines[-1]), len(lines), missing)
        if times_ms is not None:
            tally.count_times(times_ms)
        for hit in stream.detector.update_many(values, at=times_ms):
            line = int(lines[hit.index - before])
            event = replace(hit, position=line, source={"file": self._name, "line": line})
            tally.note(event)
            yield event

    def _streams(self, key: str) -> list[Stream]:
        streams = self._by_key.get(key)
        if streams is None:
            names = [column if self._watched.key is None else f"{key}/{column}" for column in self._watched.values]
            streams = self._by_key[key] = [Stream(self._detector(name), Tally(name)) for name in names]
        return streams

