"""Gauges: which streams' divergences are shown as metrics: those that the configuration lists, and the farthest.

Rule: their number is bounded, whatever the configuration lists; all others are to be read from the topic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from streamkl.service.work import Reading

MOST_STREAMS = 500


class Gauges:
    """Chooses the streams. listed: names of streams, in which * stands for anything. top: how many are shown besides, by KL.

    >>> Gauges(["payments/*"], top=0).is_listed("payments/EU/amount")
    True
    """

    def __init__(self, listed: Sequence[str] = (), top: int = 20, most: int = MOST_STREAMS) -> None:
        self._listed = re.compile("|".join(map(_pattern, listed)), re.DOTALL) if listed else None
        self._top = top
        self._most = most

    def is_listed(self, stream: str) -> bool:
        """Return whether the configuration lists a stream."""
        return self._listed is not None and self._listed.fullmatch(stream) is not None

    def chosen(self, readings: Sequence[Reading]) -> Mapping[tuple[str, str], float]:
        """Return (stream, measure) -> nats. readings: of all streams that are held; of a name on several partitions the farthest is shown."""
        known = [reading for reading in readings if math.isfinite(reading.kl.value)]
        farthest = sorted(known, key=lambda reading: (-reading.kl.value, reading.stream))
        shown: dict[str, Reading] = {}
        listed = [reading for reading in farthest if self.is_listed(reading.stream)]
        for reading in listed:
            if len(shown) < self._most:
                shown.setdefault(reading.stream, reading)
        for reading in farthest[: self._top]:
            shown.setdefault(reading.stream, reading)
        return {
            (stream, measure): value
            for stream, reading in shown.items()
            for measure, value in (("kl", reading.kl.value), ("js", reading.js.value))
        }


def _pattern(name: str) -> str:
    return ".*".join(map(re.escape, name.split("*")))
