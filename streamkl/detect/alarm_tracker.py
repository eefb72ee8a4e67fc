"""AlarmTracker: a stream beside its reference, where drift is raised by an alarm of another make.

Rule 1: an alarm has a say only while nothing drifts, on every stride-th observation, and raises only where the criterion is open (or switched
off); its flag stays up until then, for as many observations as the criterion's longest window.
Rule 2: it is given finite numbers alone. A missing or infinite value is in the windows as ever, and takes its turn in the stride; it is not given
to the alarm. A number beyond 1e100 is given as 1e100: its square must not poison a sum.
Rule 3: it begins anew with each reference, knowing every stride-th value that was learnt, and after each episode that resolved, knowing nothing.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
import numpy.typing as npt

from streamkl.detect.alarm import Alarm
from streamkl.detect.kernel import GaugeReading, Tracker, TrackerState
from streamkl.detect.state import AlarmState
from streamkl.detect.verdict import Verdict
from streamkl.sketch.bins import as_float

LARGEST = 1e100
CHUNK = 4096


class AlarmTracker:
    """A native tracker that keeps windows and criterion, and an alarm that is asked beside it. Its methods are the tracker's.

    tracker: one that does not bet: its verdict says whether the criterion is open. stride: every so many-th observation is given to the
    alarm. patience: for how many observations its flag stays up.
    """

    def __init__(self, tracker: Tracker, pattern: Alarm, stride: int, patience: int) -> None:
        self._tracker, self._pattern, self._stride, self._patience = tracker, pattern, stride, patience
        self._is_drifting = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._alarm = self._pattern.fresh()
        self._phase = self._up = 0              # _up: observations for which the flag is still up

    def learn(self, values: npt.NDArray[np.float64]) -> None:
        """Begin anew, knowing every stride-th of the values that the reference was learnt from; what it says of them does not count."""
        self._begin_anew()
        for x in values[::self._stride].tolist():
            self._ask(x)

    def update(self, x: object) -> int:
        """Take one observation; return what it caused."""
        value = as_float(x)
        return self._judge(value, self._tracker.update(value))

    def update_many(self, values: npt.NDArray[np.float64], start: int) -> tuple[int, int]:
        """Take observations from `start` until one causes something; return (index after it, what it caused)."""
        if self._is_drifting:
            return self._tracker.update_many(values, start)
        update, judge = self._tracker.update, self._judge
        while start < len(values):
            for x in values[start:start + CHUNK].tolist():
                start += 1
                if verdict := judge(x, update(x)):
                    return start, verdict
        return start, Verdict.QUIET

    def update_bins(self, bins: npt.NDArray[np.uint8], start: int) -> tuple[int, int]:
        """Refused: an alarm takes numbers, not bins."""
        raise TypeError(f"{self._pattern.name} takes numbers, not categories; give alarm='evidence'")

    def _judge(self, x: float, verdict: int) -> int:
        if self._is_drifting:
            return verdict
        if self._phase == 0 and self._ask(x):
            self._up = self._patience
        self._phase = 0 if self._phase + 1 == self._stride else self._phase + 1
        if not self._up:
            return Verdict.QUIET
        self._up -= 1
        return verdict

    def _ask(self, x: float) -> bool:
        return isfinite(x) and self._alarm.update(max(-LARGEST, min(x, LARGEST)))

    # ------------------------------------------------------------------ episodes

    def begin_episode(self) -> None:
        self._tracker.begin_episode()
        self._is_drifting, self._up = True, 0

    def settle(self) -> None:
        self._tracker.settle()

    def end_episode(self) -> None:
        self._tracker.end_episode()
        self._is_drifting = False
        self._begin_anew()

    # ------------------------------------------------------------------ what the tracker alone knows

    def prefill(self, bins: npt.NDArray[np.uint8]) -> None:
        self._tracker.prefill(bins)

    def lead(self, follower: Tracker) -> None:
        self._tracker.lead(follower)

    @property
    def seen(self) -> int:
        return self._tracker.seen

    @property
    def filled(self) -> int:
        return self._tracker.filled

    @property
    def evidence(self) -> float:
        """0: nothing is bet."""
        return self._tracker.evidence

    def bets(self) -> tuple[int, int]:
        return self._tracker.bets()

    def counts(self) -> list[int]:
        return self._tracker.counts()

    def gauges(self) -> list[GaugeReading]:
        return self._tracker.gauges()

    # ------------------------------------------------------------------ state

    def to_state(self) -> TrackerState:
        return self._tracker.to_state()

    def restore(self, state: TrackerState) -> None:
        self._tracker.restore(state)
        self._is_drifting = state.is_drifting

    def alarm_state(self) -> AlarmState:
        """Return plain values from which `restore_alarm` goes on."""
        return AlarmState(self._phase, self._up, self._alarm.to_state())

    def restore_alarm(self, state: AlarmState) -> None:
        """Take over what `alarm_state` returned; raises ValueError or StateError where it does not fit."""
        if not 0 <= state.phase < self._stride or not 0 <= state.up < max(self._patience, 1):
            raise ValueError("its alarm's turn, or how long its flag is up, is out of range")
        self._alarm.restore(state.values)
        self._phase, self._up = state.phase, state.up
