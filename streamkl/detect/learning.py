"""Learning: the first part of a stream's life, and what follows a rebaseline asked for while nothing drifts.

Rule: it ends at a fixed observation: when `warmup` were seen and 100 of those kept are not missing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamkl.detect.recent import Recent, Value, cleaner
from streamkl.detect.settings import LARGEST_COUNT
from streamkl.detect.state import LearningState, ValuesState, check_counters
from streamkl.detect.verdict import Verdict
from streamkl.sketch.bins import LEAST_REFERENCE
from streamkl.sketch.reference import Reference

MOST_KEPT = 20              # times the warm-up: where nearly all values are missing, the newest of so many are learnt from


class Learning:
    """Collects values until there are enough for a reference; `is_rebaseline` where it is not the first one."""

    def __init__(self, kind: str, warmup: int, is_rebaseline: bool = False, reason: str = "") -> None:
        self.warmup, self.is_rebaseline, self.reason = warmup, is_rebaseline, reason
        self.values = Recent(kind, MOST_KEPT * warmup)
        self.seen = 0
        self._kind, self._clean = kind, cleaner(kind)

    def update(self, x: object) -> int:
        """Take one observation; return LEARNED where it was the last one needed."""
        self.values.append(self._clean(x))
        self.seen += 1
        return self._verdict()

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int) -> tuple[int, int]:
        """Take clean values from `start` until there are enough; return (index after the last one taken, verdict)."""
        while start < len(values):
            missed = max(1, self.warmup - self.seen, LEAST_REFERENCE - self.values.present)     # at least so many are needed yet
            stop = min(len(values), start + missed)
            self.values.extend(values[start:stop])
            self.seen += stop - start
            start = stop
            if verdict := self._verdict():
                return stop, verdict
        return start, Verdict.QUIET

    def learn(self) -> Reference:
        """Return the reference of what was collected."""
        return self.values.learn(len(self.values))

    def to_state(self) -> LearningState:
        """Return plain values from which `from_state` goes on."""
        values = ValuesState.of(self._kind, self.values.newest(len(self.values)))
        return LearningState(self.warmup, self.is_rebaseline, self.reason, self.seen, values)

    @classmethod
    def from_state(cls, kind: str, state: LearningState) -> Learning:
        """Return what `to_state` described; raises ValueError where its parts do not fit."""
        values = state.values.values(kind)
        check_counters(state.seen, state.warmup)
        if not 1 <= state.warmup <= LARGEST_COUNT or len(values) > state.seen:
            raise ValueError("it has more values than it has seen")
        learning = cls(kind, state.warmup, state.is_rebaseline, state.reason)
        learning.values.extend(values)
        learning.seen = state.seen
        return learning

    def _verdict(self) -> int:
        is_enough = self.seen >= self.warmup and self.values.present >= LEAST_REFERENCE
        if not is_enough:
            return Verdict.QUIET
        return Verdict.REBASELINED if self.is_rebaseline else Verdict.LEARNED

