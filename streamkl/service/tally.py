"""Tally: what the summary needs to know of one stream, in bounded memory.

Rule 1: of an episode only its ends are kept, of many episodes only the first ones; the rest are counted.
Rule 2: a time that goes back is counted and used as it is: order is the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.event import DriftEvent
from streamkl.detect.event_time import NO_TIME

EPISODES_KEPT = 50


@dataclass(slots=True)
class Episode:
    """One episode, by the events at its ends; ended is None while it is open."""

    raised: DriftEvent
    ended: DriftEvent | None = None


@dataclass(slots=True)
class Tally:
    """Counts of one stream. first_line, last_line: 0 before the first observation. texts: of the missing, those that are no numbers."""

    stream: str
    observations: int = 0
    missing: int = 0
    texts: int = 0
    out_of_order: int = 0
    first_line: int = 0
    last_line: int = 0
    raised: int = 0
    episodes: list[Episode] = field(default_factory=list)
    learned: DriftEvent | None = None
    _latest_ms: int = NO_TIME
    _open: Episode | None = None

    def count(self, first_line: int, last_line: int, observations: int, missing: int) -> None:
        """Count observations of the lines first_line..last_line."""
        self.first_line = self.first_line or first_line
        self.last_line = last_line
        self.observations += observations
        self.missing += missing

    def count_times(self, times_ms: NDArray[np.int64]) -> None:
        """Count how many times are lower than the one before, those without a time left out."""
        known = times_ms[times_ms != NO_TIME]
        if len(known):
            self.out_of_order += int(np.count_nonzero(known[1:] < known[:-1])) + int(known[0] < self._latest_ms)
            self._latest_ms = int(known[-1])

    def note(self, event: DriftEvent) -> None:
        """Take down an event of the stream: an episode begins or ends."""
        if event.kind == "drift.raised":
            self.raised += 1
            self._open = Episode(event)
            if len(self.episodes) < EPISODES_KEPT:
                self.episodes.append(self._open)
        elif event.kind == "reference.learned":
            self.learned = self.learned or event        # the first one: then watching began
        elif self._open is not None:
            self._open.ended = event
            self._open = None
