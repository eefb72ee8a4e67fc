"""Detector: one stream, from its first observation on.

Rule 1: what an observation causes depends on the stream's own observations in order, never on how they were batched.
Rule 2: one observation causes at most one event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import final

import numpy as np
import numpy.typing as npt

from streamkl.detect.alarm import Alarm, fitting, told_apart
from streamkl.detect.autocorrelation import Autocorrelation
from streamkl.detect.diagnosis import diagnosis, diagnosis_of_learning
from streamkl.detect.event import CriterionReading, DriftEvent
from streamkl.detect.event_time import NO_TIME, checked_times
from streamkl.detect.given import Given
from streamkl.detect.guarantee import VOID, guarantee
from streamkl.detect.kernel import Entry
from streamkl.detect.life import Life
from streamkl.detect.recent import cleaned
from streamkl.detect.settings import Settings, budget_of, checked_text, refuse_what_is_not_built
from streamkl.detect.state import VERSION, DetectorState
from streamkl.detect.watching import ORIGIN, REFERENCE, nothing_seen
from streamkl.divergence import Estimate
from streamkl.errors import ConfigError, StateError
from streamkl.sketch import blob
from streamkl.sketch.histogram import Histogram
from streamkl.sketch.reference import Reference


@final
class Detector(Entry):
    """Watch one stream for drift, within a budget of false alarms. For one thread at a time: another one's update is a RuntimeError.

    At most one false alarm per `false_alarms` is raised on average, exactly so for independent continuous data (`DriftEvent.guarantee` says).
    Magnitude (`divergence`) and alarm (`evidence`) are two things; both are live after every observation, each in O(1).

    reference: a Reference, values to learn it from, or None: it is learnt from the first `warmup` observations.
    kind: "numeric" or "categorical" (str, int, float, bool, None). false_alarms: "1 per 1000000 events", or the number of events.
    extend: learning goes on until the reference covers 50 autocorrelation times, at most so many warm-ups; 1: never.
    mature_until: a reference that was learnt from the stream is learnt again at doublings, while nothing drifts, until it has so many
    observations; 0: never. The window grows with it up to 300, unless it is given; the raw values are kept until then.
    window: observations in the sliding window; None: a quarter of the reference, between 100 and 1,000. One of a few observations cannot exceed
    what chance shows, and so never alarms.
    stride: every stride-th observation is bet on; "auto": so many that what is bet on is uncorrelated in the reference.
    min_effect: nats that KL must exceed for an alarm, beside what windows inside the reference show; None: the budget alone.
    on_drift: "rebaseline" learns the new normal `hold_for` observations after an alarm, "hold" waits until the drift resolves or `rebaseline`.
    alarm: "evidence", or "threshold" on a measure ("js" or "kl") with hysteresis: raised at `raise_at`, resolved at `resolve_at` nats; or an
    `Alarm` of another make, e.g. adapters.river_drift.RiverAlarm: behind stride, criterion and episodes as the evidence is, and without a budget.
    Raises ConfigError (a ValueError) for a wrong setting, ValueError for a reference of fewer than 100 values.

    >>> detector = Detector(reference=[i % 10 for i in range(1000)], false_alarms="1 per 10000 events")
    >>> [event.kind for event in detector.update_many([i % 5 for i in range(300)])]
    ['drift.raised']
    >>> detector.state
    'drifting'
    """

    __slots__ = ("__weakref__", "_alarm", "_call_end", "_call_size", "_given", "life", "settings")

    def __init__(
        self, reference: Reference | Sequence[object] | npt.NDArray[np.generic] | None = None, *, kind: str = "numeric",
        false_alarms: str | float = "1 per 1000000 events", warmup: int = 600, window: int | None = None, extend: int = 4,
        mature_until: int = 10_000, stride: int | str = "auto", min_effect: float | None = 0.05, on_drift: str = "rebaseline",
        hold_for: int | None = None, season: str | None = None, alarm: str | Alarm = "evidence", measure: str = "js",
        raise_at: float | None = 0.1, resolve_at: float = 0.05, name: str = "stream",
    ) -> None:
        refuse_what_is_not_built(window, season, raise_at)
        budget, (asked, lent) = budget_of(false_alarms), told_apart(alarm)
        settings = Settings.of(kind, budget, warmup, window, extend, mature_until, stride, min_effect, on_drift, hold_for, asked, measure, raise_at,
                               resolve_at, name)
        self._set_up(settings, Given.of(reference, settings), lent)

    def _set_up(self, settings: Settings, given: Given | None, alarm: Alarm | None) -> None:
        self.settings, self._given, self._alarm = settings, given, alarm
        self.life = Life(settings, given, alarm)
        self.enter(self.life.step, self.life.turn)
        self._call_end = self._call_size = 0        # the last update_many: observations after it, and how many it took

    # ------------------------------------------------------------------ observations

    def update_many(
        self, xs: Iterable[object] | npt.NDArray[np.generic], at: Sequence[int] | npt.NDArray[np.int64] | None = None
    ) -> list[DriftEvent]:
        """Take many observations; return the events that `update` would have returned one by one, `position` being the index in xs.

        xs: shape (n,). at: shape (n,) event times in ms, or None; the least int64 stands for "no time". All or nothing: raises TypeError
        or ValueError before any observation is taken.
        """
        values = cleaned(self.settings.kind, xs)
        times = checked_times(at, len(values))
        events, i = [], 0
        first = self.n
        while i < len(values):
            i, verdict = self.life.phase.update_many(values, i)
            if verdict:
                time = None if times is None or times[i - 1] == NO_TIME else int(times[i - 1])
                events.append(self.life.turn(verdict, time, i - 1))
        self._call_end, self._call_size = first + len(values), len(values)
        return events

    def rebaseline(self, reason: str = "", by: str = "") -> DriftEvent | None:
        """Make the new normal the reference; return the event, or None where it will come with a later observation.

        While drifting: learnt from the observations since the alarm, as soon as there are enough. While watching: a new reference is
        learnt from the observations to come. While learning: no effect. The reference before it is kept: see `undo_rebaseline`.
        """
        return self.life.rebaseline(checked_text("reason", reason), checked_text("by", by))

    def undo_rebaseline(self, reason: str = "", by: str = "") -> DriftEvent | None:
        """Make the reference before the last rebaseline (one of the last 10) the reference again; return the event, None where there is none.

        The window begins empty, an open episode is over; the reference that goes is not kept.
        """
        return self.life.take_back(checked_text("reason", reason), checked_text("by", by))

    # ------------------------------------------------------------------ reading

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.settings.name

    @property
    def kind(self) -> str:
        """"numeric" or "categorical"."""
        return self.settings.kind

    @property
    def state(self) -> str:
        """"learning", "watching" or "drifting"."""
        return self.life.state

    @property
    def n(self) -> int:
        """Observations seen."""
        return self.life.n

    @property
    def window_n(self) -> int:
        """Observations in the sliding window; 0 while learning."""
        return self.life.watching.tracker.filled if self.life.watching else 0

    @property
    def drift_detected(self) -> bool:
        """Whether the last `update`, or any observation of the last `update_many`, raised drift."""
        size = self._call_size if self.n == self._call_end else 1
        return 0 <= self.n - size <= self.life.last_raised

    @property
    def alarm(self) -> str | Alarm:
        """What raises drift: "evidence", "threshold", or the pattern of the alarm of another make that was given."""
        return self._alarm or self.settings.alarm

    @property
    def budget(self) -> float:
        """A: events per false alarm."""
        return self.settings.budget

    @property
    def evidence(self) -> float:
        """Wealth of the bets against the reference, as compared with `budget`; 0 while learning or drifting, and with another alarm."""
        return self.life.evidence

    @property
    def reference(self) -> Reference | None:
        """The current reference; None while learning."""
        return self.life.watching.reference if self.life.watching else None

    @property
    def autocorrelation(self) -> Autocorrelation | None:
        """How far the reference's values say something of the next ones; None while learning."""
        return self.life.watching.study.autocorrelation if self.life.watching else None

    @property
    def stride(self) -> int | None:
        """Every stride-th observation is bet on; None while learning."""
        return self.life.watching.stride if self.life.watching else None

    def histogram(self, against: str = "reference") -> Histogram:
        """Return the window's raw counts beside the reference's, over the stream's own bins; empty while learning.

        against: "reference", or "origin", the first reference ever learnt or given, over whose bins the window is then counted.
        """
        _check_against(against)
        return self.life.watching.histogram(against) if self.life.watching else Histogram([], np.zeros(0), np.zeros(0))

    def divergence(self, measure: str = "kl", base: float | None = None, against: str = "reference") -> Estimate:
        """Return D(window || reference): its bias taken off, a 95 % interval, the plug-in value; in nats, or bits with base=2.

        plug_in == divergence.kl(h.window, h.reference, smoothing=0.5) with h = histogram(against). Bias and interval count n and m observations
        as n / tau and m / tau, tau being the reference's autocorrelation time. against: see `histogram`; slow change that each new
        reference took for normal shows against the origin. While learning, or with an empty window:
        value and plug_in NaN, low 0, high inf. Raises ValueError for an unknown measure.
        """
        _check_against(against)
        return self.life.watching.estimate(measure, base, against) if self.life.watching else nothing_seen(measure, base)

    def divergences(self, measures: Sequence[str]) -> dict[str, Estimate]:
        """Return many of `divergence` at once, in nats, in the time of little more than one."""
        watching = self.life.watching
        return watching.estimates(measures) if watching else {measure: nothing_seen(measure) for measure in measures}

    def contributions(self, measure: str = "kl") -> list[tuple[str, float]]:
        """Return (label, nats) of every bin, largest first, none negative; they sum to the plug-in divergence. [] while learning.

        For "kl" a bin's part is p log(p/q) - p + q, which sums to the same as p log(p/q) and is large for a bin that emptied, too.
        """
        if self.life.watching is None:
            nothing_seen(measure)                   # refuses an unknown measure
            return []
        return [(change.label, change.nats) for change in self.life.watching.changes(measure)]

    def criterion(self) -> tuple[CriterionReading, ...]:
        """Return what each window of the minimum-effect criterion says now, the longest first; () while learning.

        An alarm needs one that is open, beside the evidence; with min_effect=None only the longest is there, and tells when an episode is over.
        """
        return self.life.watching.criterion() if self.life.watching else ()

    def diagnosis(self) -> list[str]:
        """Return what the reference is worth, in sentences: what was found in it, then warnings, each with what would help."""
        if self.life.learning:
            return diagnosis_of_learning(self.life.learning)
        return diagnosis(self.life.watching, self.life.maturing) if self.life.watching else []

    @property
    def guarantee(self) -> str:
        """What holds of the budget: "exact", "approximate" or "void"; of the next alarm while watching, of the open one while drifting.

        While learning nothing is known yet, and "void" is said.
        """
        watching = self.life.watching
        return VOID if watching is None else guarantee(watching, watching.raised + (self.state == "watching"), self.life.maturing is not None)

    def __repr__(self) -> str:
        learning = self.life.learning
        still = f" (needs {learning.needed}, {learning.values.present} of 100 values that are not missing)" if learning else ""
        return f"<Detector {self.name[:60]!r}: {self.state} after {self.n} observations{still}>"

    # ------------------------------------------------------------------ state

    def clone(self, name: str | None = None) -> Detector:
        """Return a fresh detector with the same settings (and the same reference, where one was given). name: another one."""
        fresh = Detector.__new__(type(self))
        fresh._set_up(self.settings if name is None else replace(self.settings, name=name), self._given, self._alarm)
        return fresh

    def to_bytes(self) -> bytes:
        """Return all of the detector as a blob (versioned, checksummed, no pickle); `from_bytes` goes on bit for bit.

        Equal observations give equal bytes, however they were batched; `drift_detected` then tells of the last observation.
        """
        return blob.seal("detector", VERSION, self.to_state())

    @classmethod
    def from_bytes(cls, stored: bytes, alarm: str | Alarm = "evidence") -> Detector:
        """Return the detector of a blob; raises StateError where it is damaged, inconsistent, or of another version.

        alarm: needed where the detector has one of another make: one like it, as a blob names no code. Else it has no meaning.
        """
        return cls.of_state(blob.unseal("detector", VERSION, stored, DetectorState), alarm)

    def to_state(self) -> DetectorState:
        """Return all of the detector as plain values."""
        reference, found = (self._given.reference.to_state(), self._given.study) if self._given else (None, None)
        return DetectorState(self.settings, reference, found, self.life.to_state())

    @classmethod
    def of_state(cls, state: DetectorState, alarm: str | Alarm = "evidence") -> Detector:
        """Return the detector of plain values; raises StateError where they are inconsistent."""
        detector = cls.__new__(cls)
        try:
            detector._set_up(state.settings, Given.from_state(state.settings, state), fitting(state.settings.alarm, told_apart(alarm)[1]))
            detector.life.restore(detector._given, state.life)
        except (ValueError, TypeError, OverflowError) as error:
            raise StateError(f"the stored detector is inconsistent: {error}; restore a backup, or start the stream anew") from error
        return detector

    def __reduce__(self) -> tuple[Callable[[bytes, str | Alarm], Detector], tuple[bytes, str | Alarm]]:
        return type(self).from_bytes, (self.to_bytes(), self.alarm)


def _check_against(against: str) -> None:
    if against not in (REFERENCE, ORIGIN):
        raise ConfigError(f"against={against!r} is unknown; use {REFERENCE!r} or {ORIGIN!r}")
