"""Gauges: which streams' divergences are shown as metrics: those that the configuration lists, and the farthest.

Rule 1: their number is bounded, whatever the configuration lists; all others are to be read from the topic.
Rule 2: a reading holds until the stream's next one. Of streams that are not listed the farthest few hundred are kept in mind: one that does
not move any more, and was never among them, is not shown however far the others come back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from heapq import nlargest

from streamkl.service.record import Partition
from streamkl.service.work import Reading

MOST_STREAMS = 500
KEPT_FOR_EACH = 10


class Gauges:
    """Chooses the streams. listed: names of streams, in which * stands for anything. top: how many are shown besides, by KL.

    >>> Gauges(["payments/*"], top=0).is_listed("payments/EU/amount")
    True
    """

    def __init__(self, listed: Sequence[str] = (), top: int = 20, most: int = MOST_STREAMS) -> None:
        self._pattern = re.compile("|".join(map(_pattern, listed)), re.DOTALL) if listed else None
        self._top = top
        self._most = most
        self._listed: dict[tuple[str, Partition], Reading] = {}
        self._others: dict[tuple[str, Partition], Reading] = {}

    def is_listed(self, stream: str) -> bool:
        """Return whether the configuration lists a stream."""
        return self._pattern is not None and self._pattern.fullmatch(stream) is not None

    def take(self, readings: Sequence[Reading]) -> None:
        """Take the newest readings of some streams; one without a divergence, as it is learning, is shown no longer."""
        for reading in readings:
            kept = self._listed if self.is_listed(reading.stream) else self._others
            if math.isfinite(reading.kl.value):
                kept[reading.stream, reading.partition] = reading
            else:
                kept.pop((reading.stream, reading.partition), None)
        self._listed = _farthest(self._listed, self._most)
        self._others = _farthest(self._others, KEPT_FOR_EACH * self._top)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget the streams of these partitions."""
        for kept in (self._listed, self._others):
            for place in [place for place in kept if place[1] in partitions]:
                del kept[place]

    def drop_streams(self, partition: Partition, streams: Sequence[str]) -> None:
        """Forget these streams of a partition."""
        for stream in streams:
            self._listed.pop((stream, partition), None)
            self._others.pop((stream, partition), None)

    def shown(self) -> Mapping[tuple[str, str], float]:
        """Return (stream, measure) -> nats; of a name on several partitions the farthest is shown."""
        farthest = [*_farthest(self._listed, len(self._listed)).values(), *_farthest(self._others, len(self._others)).values()]
        by_stream: dict[str, Reading] = {}
        for reading in farthest:
            by_stream.setdefault(reading.stream, reading)
        top = nlargest(self._top, by_stream.values(), key=_distance)
        chosen = {reading.stream: reading for reading in (*top, *(one for one in by_stream.values() if self.is_listed(one.stream)))}
        return {(stream, measure): value for stream, one in chosen.items() for measure, value in (("kl", one.kl.value), ("js", one.js.value))}


def _farthest(readings: dict[tuple[str, Partition], Reading], most: int) -> dict[tuple[str, Partition], Reading]:
    return dict(nlargest(most, readings.items(), key=lambda item: _distance(item[1])))


def _distance(reading: Reading) -> float:
    return reading.kl.value


def _pattern(name: str) -> str:
    return ".*".join(map(re.escape, name.split("*")))
