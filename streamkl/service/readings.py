"""Readings: KL and JS of every stream between alarms, gathered in turn and published with the unit of work.

Rule: a stream that took nothing since its last reading is not read again. Reading costs time, so a turn of the loop reads some.
Where the source ends each stream is read once more: what is kept of a short file is its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streamkl.detect.event_time import NO_TIME
from streamkl.service.holding import Holding
from streamkl.service.record import Partition
from streamkl.service.rows import SKIPPED, Row, Rows
from streamkl.service.work import Reading

SECONDS_A_TURN = 0.01


class Readings:
    """every_seconds: how often a round over all streams begins; 0: never."""

    def __init__(self, holding: Holding, every_seconds: float, clock: Callable[[], float]) -> None:
        self._holding, self._every_seconds, self._clock = holding, every_seconds, clock
        self._began_at = clock()
        self._round: Iterator[Reading] | None = None
        self._gathered: list[Reading] = []

    def gather(self) -> None:
        """Read some streams, if a round is due or not over."""
        if self._every_seconds <= 0:
            return
        now = self._clock()
        if self._round is None:
            if now - self._began_at < self._every_seconds:
                return
            self._began_at, self._round = now, self._readings()
        for reading in self._round:
            self._gathered.append(reading)
            if self._clock() - now > SECONDS_A_TURN:
                return
        self._round = None

    def gather_rest(self) -> None:
        """The source has ended: read every stream that has moved since its last reading."""
        if self._every_seconds > 0:
            self._gathered += [*(self._round or ()), *self._readings()]
            self._round = None

    def ready(self) -> Sequence[Reading]:
        """Return what was read and is not published yet."""
        return tuple(self._gathered)

    def committed(self, readings: Sequence[Reading]) -> None:
        """These were published."""
        del self._gathered[:len(readings)]

    def forget(self) -> None:
        """What was read since the last commit does not stand."""
        self._gathered, self._round = [], None

    def _readings(self) -> Iterator[Reading]:
        """Yield one reading for each stream that has moved; rows may come and go between two of them."""
        for partition, shard in tuple(self._holding.shards.items()):
            for rows in shard.rows:
                for row in list(rows):
                    if row.first != SKIPPED and row.read_until < row.next_offset and self._holding.shards.get(partition) is shard:
                        yield from self._of(partition, rows, row)

    def _of(self, partition: Partition, rows: Rows, row: Row) -> Iterator[Reading]:
        slots, feed = self._holding.slots, rows.feed
        offset, first = row.next_offset - 1, row.first
        if slots.is_held(first, len(feed.fields)):      # what it holds is not seen yet; the next round will
            return
        row.read_until = row.next_offset
        for slot, field in enumerate(feed.fields, start=first):
            if row.first != first:
                return
            detector = slots.detector(slot)
            found, at = detector.divergences(("kl", "js")), None if row.at_ms == NO_TIME else row.at_ms
            yield Reading(
                feed.stream(row.key, field.name), partition, offset, at, detector.state, detector.n, found["kl"], found["js"],
                detector.evidence, detector.budget, detector.window_n,
            )
