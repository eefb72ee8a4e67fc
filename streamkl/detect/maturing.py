"""Maturing: a reference that was learnt from the stream goes on growing while the stream is watched already.

Rule 1: at each doubling of its size, until `mature_until`, bins, stride and natural variability are learnt again, of all values of this
reference: a short reference sees early changes, a long one knows the stream better.
Rule 2: not while an episode is open, nor of what was seen in one; and only where nothing is in the air: the evidence is at most four times
what it is on average, and the longest window within its limit. Else it is looked at again a little later, at a fixed observation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamkl.detect.recent import Recent, Value, cleaner
from streamkl.detect.settings import GROWN_WINDOW, Settings
from streamkl.detect.state import MaturingState, ValuesState, check_counters
from streamkl.detect.verdict import Verdict
from streamkl.detect.watching import Watching
from streamkl.sketch.bins import LEAST_REFERENCE
from streamkl.sketch.reference import Reference

GROWTH = 2                  # times its size, before it is learnt again
WORTH = 1.25                # times its size, to which the last step must bring it
LOOKS = 8                   # while something is in the air, in as many observations as it was watched after at first


class Maturing:
    """Watches, and keeps the values of the reference, those it was learnt from included, until it is as large as it gets.

    seen: values so far, of which the newest are kept. due: how many there are when it is looked at next.
    """

    def __init__(self, settings: Settings, watching: Watching, values: Recent) -> None:
        self.watching = watching
        self._tracker = watching.tracker
        self._is_numeric, self._clean = settings.kind == "numeric", cleaner(settings.kind)
        self._most = settings.mature_until
        self.values = Recent(settings.kind, self._most)
        self.values.extend(values.newest(int(watching.reference.m)))
        self.seen = len(self.values)
        self.due = _next_size(self.seen, self._most)

    @property
    def next_size(self) -> int:
        """How large the reference is to become next."""
        return _next_size(int(self.watching.reference.m), self._most)

    @classmethod
    def begin(cls, settings: Settings, watching: Watching, values: Recent) -> Maturing | None:
        """Return what lets a reference of the newest values grow; None where it is as large as it gets, or a threshold raises."""
        is_growing = watching.is_betting and _next_size(int(watching.reference.m), settings.mature_until)
        return cls(settings, watching, values) if is_growing else None

    def update(self, x: object) -> int:
        """Take one observation; return RAISED where it raised drift, MATURED where the reference is to be learnt again."""
        value = self._clean(x)
        verdict = self._tracker.update(value if self._is_numeric else x)
        self.values.append(value)
        self.seen += 1
        return verdict or (self.look() if self.seen >= self.due else Verdict.QUIET)

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int) -> tuple[int, int]:
        """Take clean values from `start` until one causes something; return (index after it, verdict)."""
        while start < len(values):
            stop, verdict = self.watching.update_many(values, start, start + self.room)
            self.absorb(values[start:stop])
            start = stop
            if verdict := verdict or self.look():
                return start, verdict
        return start, Verdict.QUIET

    @property
    def room(self) -> int:
        """Return how many values can be taken before it has to `look`."""
        return max(1, self.due - self.seen)

    def absorb(self, values: npt.NDArray[np.float64] | list[Value]) -> None:
        """Keep clean values that the tracker has taken already."""
        self.values.extend(values)
        self.seen += len(values)

    def look(self) -> int:
        """Return MATURED where the reference is to be learnt again now; a look before it is due is QUIET."""
        if self.seen < self.due:
            return Verdict.QUIET
        is_larger = self.values.usable() > self.watching.reference.m and self.values.present >= LEAST_REFERENCE
        if is_larger and self.watching.is_quiet():
            return Verdict.MATURED
        self.due = self.seen + max(1, self.watching.base // LOOKS)
        return Verdict.QUIET

    def learn(self) -> Reference:
        """Return the reference of all values that are kept."""
        return self.values.learn(self.values.usable())

    def wait(self) -> None:
        """An episode is over: what comes next fills the windows before the reference is learnt again, as they hold the newest observations."""
        self.due = max(self.due, self.seen + max(GROWN_WINDOW, self.watching.window))

    def forget_change(self) -> None:
        """Drift was raised: forget the newest values, those that may belong to the change, but none that the reference was learnt from."""
        doubtful = min(self.watching.doubtful(), self.seen - int(self.watching.reference.m), len(self.values))
        self.values.forget(doubtful)
        self.seen -= doubtful

    def to_state(self) -> MaturingState:
        """Return plain values from which `from_state` goes on."""
        return MaturingState(self.seen, self.due, ValuesState.of(self.values.newest(len(self.values))))

    @classmethod
    def from_state(cls, settings: Settings, watching: Watching, state: MaturingState) -> Maturing:
        """Return what `to_state` described; raises ValueError where its parts do not fit."""
        values = state.values.values(settings.kind)
        check_counters(state.seen, state.due)
        is_growing = watching.is_betting and not watching.is_given and _next_size(int(watching.reference.m), settings.mature_until)
        if not is_growing or len(values) > min(state.seen, settings.mature_until) or state.seen < watching.reference.m:
            raise ValueError("it matures, and its values are not those of its reference")
        recent = Recent(settings.kind, settings.mature_until)
        recent.extend(values)
        maturing = cls(settings, watching, recent)
        maturing.values, maturing.seen, maturing.due = recent, state.seen, state.due
        return maturing


def _next_size(m: int, most: int) -> int:
    """Return how large a reference of m is to become next, 0 where it is as large as it gets.

    >>> [_next_size(m, 10_000) for m in (600, 4_800, 7_200, 9_600, 10_000)]
    [1200, 9600, 10000, 0, 0]
    """
    size = min(GROWTH * m, most)
    return size if size >= WORTH * m else 0
