"""Episode: from the alarm of a stream to its end.

Rule 1: one episode raises once, and ends once: resolved by a calm window, or rebaselined.
Rule 2: once a rebaseline is due, by policy or by hand, the episode no longer resolves: it waits until enough was seen since the alarm.
Rule 3: what is learnt begins with a value that is there: after an outage what comes back is learnt, not the outage.
Rule 4: time is counted in observations; this file never reads a clock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamkl.detect.recent import Recent, Value, cleaner
from streamkl.detect.settings import Settings
from streamkl.detect.state import EpisodeState, ValuesState, check_counters
from streamkl.detect.verdict import Verdict
from streamkl.detect.watching import Watching
from streamkl.sketch.bins import LEAST_REFERENCE
from streamkl.sketch.reference import Reference

NEVER = 2**62


class Episode:
    """An open episode: the stream goes on beside its old reference, and the values since the alarm are kept to learn from.

    needed: observations after the alarm from which the new normal is learnt. since: observations seen after the alarm.
    """

    is_extended, correlation = False, None      # what is learnt after an alarm has a size fixed in advance

    def __init__(self, settings: Settings, watching: Watching) -> None:
        self._tracker = watching.tracker
        self._watching = watching
        self._kind, self._clean = settings.kind, cleaner(settings.kind)
        self.needed = watching.base
        self._hold_for = NEVER if settings.on_drift == "hold" else _hold_for(settings, watching)
        self.values = Recent(settings.kind, self.needed)
        self.since = 0
        self.is_due = False
        self.reason = self.by = ""      # why and by whom a rebaseline was asked for

    @classmethod
    def begin(cls, settings: Settings, watching: Watching) -> Episode:
        """Return the episode of an alarm that was raised just now."""
        watching.tracker.begin_episode()
        episode = cls(settings, watching)
        episode._look_whether_due()
        return episode

    def update(self, x: object) -> int:
        """Take one observation; return RESOLVED or REBASELINED where it ends the episode."""
        value = self._clean(x)
        verdict = self._tracker.update(value if self._kind == "numeric" else x)
        self.values.append(value)
        return self._judge(1, verdict)

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int) -> tuple[int, int]:
        """Take clean values from `start` until one ends the episode; return (index after it, verdict)."""
        while start < len(values):
            stop, verdict = self._watching.update_many(values, start, start + self._until_next_decision())
            self.values.extend(values[start:stop])
            if verdict := self._judge(stop - start, verdict):
                return stop, verdict
            start = stop
        return start, Verdict.QUIET

    def rebaseline(self, reason: str, by: str) -> bool:
        """Make the rebaseline due, by hand; return whether enough was seen to do it now."""
        self.reason, self.by = reason, by
        self._become_due()
        return self._is_enough()

    def learn(self) -> Reference:
        """Return the reference of the values since the alarm."""
        return self.values.learn(self.needed)

    def _judge(self, taken: int, verdict: int) -> int:
        self.since += taken
        self._look_whether_due()
        if self.is_due:
            return Verdict.REBASELINED if self._is_enough() else Verdict.QUIET
        return verdict

    def _look_whether_due(self) -> None:
        if not self.is_due and self.since >= self._hold_for:
            self._become_due()

    def _become_due(self) -> None:
        self.is_due = True
        self._tracker.settle()

    def _is_enough(self) -> bool:
        return self.since >= self.needed and self.values.present >= LEAST_REFERENCE and not self.values.leading_missing()

    def _until_next_decision(self) -> int:
        if self.is_due:
            return max(1, self.needed - self.since, LEAST_REFERENCE - self.values.present, self.values.leading_missing())
        return self._hold_for - self.since

    def to_state(self) -> EpisodeState:
        """Return plain values from which `from_state` goes on."""
        return EpisodeState(self.since, self.is_due, self.reason, ValuesState.of(self.values.newest(len(self.values))), self.by)

    @classmethod
    def from_state(cls, settings: Settings, watching: Watching, state: EpisodeState) -> Episode:
        """Return what `to_state` described, beside a tracker that was restored already; raises ValueError where its parts do not fit."""
        values = state.values.values(settings.kind)
        check_counters(state.since)
        if len(values) > state.since:
            raise ValueError("its episode has more values than it has seen")
        episode = cls(settings, watching)
        episode.since, episode.reason, episode.by = state.since, state.reason, state.by
        if state.is_due:
            episode._become_due()
        episode.values.extend(values)
        return episode


def _hold_for(settings: Settings, watching: Watching) -> int:
    """Return after how many observations the new normal is learnt: beside a grown reference, too, a short event has time to be over."""
    if settings.hold_for is not None:
        return settings.hold_for
    return max(watching.base, 4 * watching.criterion()[0].window if watching.is_grown else 2 * watching.window)
