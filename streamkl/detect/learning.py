"""Learning: the first part of a stream's life, and what follows a rebaseline asked for while nothing drifts.

Rule 1: it ends at an observation that follows from the values alone: when enough were seen and 100 of those kept are not missing.
Rule 2: a reference begins with a value that is there: a stream that starts with an outage is not learnt as one that is mostly missing.
Rule 3: the first reference goes on by half a warm-up until it covers 50 autocorrelation times, at most `extend` warm-ups; a later one never does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamkl.detect.autocorrelation import Autocorrelation
from streamkl.detect.recent import Recent, Value, cleaner
from streamkl.detect.settings import LARGEST_COUNT, Settings
from streamkl.detect.state import LearningState, ValuesState, check_counters
from streamkl.detect.study import correlation_of, covers
from streamkl.detect.verdict import Verdict
from streamkl.sketch.bins import LEAST_REFERENCE
from streamkl.sketch.reference import Reference

MOST_KEPT = 20              # times the warm-up: where nearly all values are missing, the newest of so many are learnt from


class Learning:
    """Collects values until there are enough for a reference.

    warmup: observations that are enough for the first reference, or for the one of a rebaseline. needed: those that are by what is known so far.
    is_rebaseline: it is not the first reference; reason, by: why and by whom it was asked for. correlation: that of what is to be learnt,
    None: not looked for.
    """

    def __init__(self, settings: Settings, warmup: int, is_rebaseline: bool = False, reason: str = "", by: str = "") -> None:
        self.warmup, self.is_rebaseline, self.reason, self.by = warmup, is_rebaseline, reason, by
        self.most = warmup if is_rebaseline else max(warmup, min(warmup * settings.extend, LARGEST_COUNT))
        self.needed = warmup
        self.values = Recent(settings.kind, max(MOST_KEPT * warmup, self.most))
        self.seen = 0
        self.correlation: Autocorrelation | None = None
        self._learnt: tuple[int, Reference] | None = None           # of how many observations it was learnt
        self._kind, self._clean = settings.kind, cleaner(settings.kind)

    @property
    def is_extended(self) -> bool:
        """Whether the first observations did not cover enough autocorrelation times."""
        return self.needed > self.warmup

    def update(self, x: object) -> int:
        """Take one observation; return LEARNED where it was the last one needed."""
        self.values.append(self._clean(x))
        self.seen += 1
        return self._verdict()

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int) -> tuple[int, int]:
        """Take clean values from `start` until there are enough; return (index after the last one taken, verdict)."""
        while start < len(values):
            missed = max(1, self.needed - self.values.usable(), LEAST_REFERENCE - self.values.present)      # at least so many are needed yet
            stop = min(len(values), start + missed)
            self.values.extend(values[start:stop])
            self.seen += stop - start
            start = stop
            if verdict := self._verdict():
                return stop, verdict
        return start, Verdict.QUIET

    def learn(self) -> Reference:
        """Return the reference of what was collected."""
        if self._learnt is None or self._learnt[0] != self.seen:
            self._learnt = self.seen, self.values.learn(self.values.usable())
        return self._learnt[1]

    def to_state(self) -> LearningState:
        """Return plain values from which `from_state` goes on."""
        values = ValuesState.of(self.values.newest(len(self.values)))
        return LearningState(self.warmup, self.needed, self.is_rebaseline, self.reason, self.seen, values, self.by)

    @classmethod
    def from_state(cls, settings: Settings, state: LearningState) -> Learning:
        """Return what `to_state` described; raises ValueError where its parts do not fit."""
        values = state.values.values(settings.kind)
        check_counters(state.seen)
        if not 1 <= state.warmup <= LARGEST_COUNT or len(values) > state.seen:
            raise ValueError("it has more values than it has seen")
        learning = cls(settings, state.warmup, state.is_rebaseline, state.reason, state.by)
        if not state.warmup <= state.needed <= learning.most:
            raise ValueError("it needs fewer values than its warm-up, or more than it may")
        learning.values.extend(values)
        learning.seen, learning.needed = state.seen, state.needed
        return learning

    def _verdict(self) -> int:
        if self.seen < self.needed or self.values.present < LEAST_REFERENCE or self.values.usable() < self.needed or self._goes_on():
            return Verdict.QUIET
        return Verdict.REBASELINED if self.is_rebaseline else Verdict.LEARNED

    def _goes_on(self) -> bool:
        """Look how many autocorrelation times were collected; where these are too few, and more are allowed, ask for more."""
        m = self.values.usable()
        if m >= self.most:
            return False
        found = correlation_of(self.learn())
        if covers(m, found):
            self.correlation = found
            return False
        self.needed = min(m + self.warmup // 2, self.most)
        return True
