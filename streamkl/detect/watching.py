"""Watching: a stream beside its reference, with the native tracker that compares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamkl.detect.alarm import Alarm
from streamkl.detect.alarm_tracker import AlarmTracker
from streamkl.detect.autocorrelation import Autocorrelation
from streamkl.detect.criterion import GaugePlan, criterion_gauges, merged, threshold_gauge
from streamkl.detect.event import BinChange, CriterionReading
from streamkl.detect.experts import stake
from streamkl.detect.given import Given
from streamkl.detect.kernel import Tracker
from streamkl.detect.origin import Origin
from streamkl.detect.recent import Recent, Value
from streamkl.detect.settings import AUTO, Settings
from streamkl.detect.state import WatchingState, check_counters
from streamkl.detect.study import Study
from streamkl.divergence import Estimate, estimate, estimates, terms
from streamkl.sketch.bins import Floats, NumericBins
from streamkl.sketch.histogram import Histogram
from streamkl.sketch.reference import Reference

REFERENCE, ORIGIN = "reference", "origin"       # what a window is compared with
LOW = 4.0                   # evidence below so many times its average, one for each bet, says nothing
SMOOTHING = 0.5             # added to every bin of both, as in Estimate.plug_in
SQUARED = {"hellinger": "hellinger", "js_distance": "js"}      # measures that are roots -> what their terms sum to
CHUNK = 4096                # categories are turned into bins in pieces of this many, as a reference may change in between


class Watching:
    """One reference, what is known of it, the reporting window's size, and the tracker.

    found: the study of the reference. is_given: it was not learnt from the stream. base: its size when it was first watched beside, None: it
    is new. origin: the stream's first reference, None while that is this one. alarm: the pattern of one of another make, None: ours.
    """

    def __init__(
        self, settings: Settings, reference: Reference, found: Study, is_given: bool = False, base: int | None = None,
        origin: Origin | None = None, alarm: Alarm | None = None,
    ) -> None:
        self._settings = settings
        self.reference = reference.without_order()
        self.is_given = is_given
        self.base = settings.warmup if is_given else base or int(reference.m)
        self.window = settings.window_for(reference.m, None if is_given else self.base)
        self.study = found
        self.stride = self._stride()
        self._gauges = self._planned()
        self.tracker = self._tracker() if alarm is None else self._asking(alarm)
        self.origin = origin
        self._origin_tracker = origin.tracker(self.window) if origin else None
        if self._origin_tracker:
            self.tracker.lead(self._origin_tracker)
        self.raised = 0                 # alarms since the reference was learnt

    def _stride(self) -> int:
        if self._settings.alarm == "threshold":
            return 1
        if self.is_stride_found:
            return self.study.stride(self.reference.m if self.is_given else self.base)
        return int(self._settings.stride)

    @property
    def is_betting(self) -> bool:
        """Whether evidence raises the alarm, not a threshold."""
        return self._settings.alarm == "evidence"

    @property
    def lent_alarm(self) -> str:
        """The name of the alarm where it is of another make, else ""."""
        return self._settings.alarm if isinstance(self.tracker, AlarmTracker) else ""

    @property
    def has_criterion(self) -> bool:
        """Whether an alarm needs a window beyond its limit, too, beside what raises it."""
        return self._settings.alarm != "threshold" and self._settings.min_effect is not None

    @property
    def is_grown(self) -> bool:
        """Whether the reference is larger than when it was first watched beside."""
        return not self.is_given and self.reference.m > self.base

    @property
    def is_stride_found(self) -> bool:
        """Whether the stride follows from the reference."""
        return self._settings.stride == AUTO

    def as_origin(self) -> Origin:
        """Return the stream's first reference."""
        return self.origin or Origin(self.reference, self.study.autocorrelation, self.is_given)

    def inherit(self, other: Watching) -> None:
        """Take over the wealth of the bets against this reference when it was smaller, in observations' worth: strides may differ."""
        if isinstance(self.tracker, Tracker) and isinstance(other.tracker, Tracker) and self.is_betting and self.reference.kind == "numeric":
            self.tracker.inherit(other.tracker, other.stride / self.stride)

    def doubtful(self) -> int:
        """Return how many of the newest observations may belong to a change: those since the evidence was last low, at least the longest window."""
        return max(self._gauges[0].window, self.tracker.bets()[1] * self.stride)

    def prefill(self, values: Recent) -> None:
        """Put the newest values into the windows: the stream was watched while it was learnt."""
        newest = values.newest(min(self.window, int(self.reference.m)))
        self.tracker.prefill(bins_of(self.reference, newest))
        if self.origin and self._origin_tracker:
            self._origin_tracker.prefill(bins_of(self.origin.reference, newest))
        if isinstance(self.tracker, AlarmTracker):
            self.tracker.learn(np.asarray(values.newest(int(self.reference.m)), float))

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int, stop: int | None = None) -> tuple[int, int]:
        """Take clean values from `start` until one causes something, or until `stop`; return (index after the last one, verdict)."""
        stop = len(values) if stop is None else min(stop, len(values))
        if not isinstance(values, list):
            return self.tracker.update_many(values[:stop], start)
        while start < stop:
            chunk = values[start:min(stop, start + CHUNK)]
            taken, verdict = self.tracker.update_bins(bins_of(self.reference, chunk), 0)
            if self.origin and self._origin_tracker:
                self._origin_tracker.update_bins(bins_of(self.origin.reference, chunk[:taken]), 0)
            start += taken
            if verdict:
                return start, verdict
        return start, 0

    def histogram(self, against: str = REFERENCE) -> Histogram:
        """Return the reporting window beside the reference, or beside the origin."""
        reference, tracker, _ = self._side(against)
        return Histogram(reference.bins.labels(), np.array(tracker.counts(), float), reference.bins.counts.copy())

    def estimate(self, measure: str, base: float | None = None, against: str = REFERENCE) -> Estimate:
        """Return the divergence of the reporting window from the reference, or from the origin."""
        return self.estimates((measure,), base, against)[measure]

    def estimates(self, measures: Sequence[str], base: float | None = None, against: str = REFERENCE) -> dict[str, Estimate]:
        """Return many divergences of the reporting window; what follows from n and m counts them as n / tau and m / tau."""
        reference, tracker, found = self._side(against)
        counts = np.array(tracker.counts(), float)
        return estimates(counts, reference.bins.counts, measures, found.tau, mean_tau=found.mean_tau, base=base)

    def _side(self, against: str) -> tuple[Reference, Tracker | AlarmTracker, Autocorrelation]:
        if against == ORIGIN and self.origin and self._origin_tracker:
            return self.origin.reference, self._origin_tracker, self.origin.autocorrelation
        return self.reference, self.tracker, self.study.autocorrelation

    def changes(self, measure: str) -> list[BinChange]:
        """Return every bin's part in the divergence of the reporting window, largest first; [] with an empty window."""
        nothing_seen(measure)                       # refuses an unknown measure
        labels, window, reference = self.histogram()
        return _changes(labels, window, reference, measure)

    def alarm_changes(self) -> list[BinChange]:
        """Return every bin's part in KL of the window that is farthest beyond its limit, or of the longest one: over the criterion's bins."""
        readings = self.criterion()
        beyond = [r.kl / r.limit if sum(r.window_counts) == r.window and r.limit > 0 else 0.0 for r in readings]
        farthest = readings[beyond.index(max(beyond))]
        labels = self.reference.bins.labels(self._groups())
        return _changes(labels, np.array(farthest.window_counts, float), np.array(farthest.reference_counts, float), "kl")

    def criterion(self) -> tuple[CriterionReading, ...]:
        """Return what each window of the criterion says now."""
        reference = tuple(np.bincount(self._groups(), self.reference.bins.counts).tolist())
        return tuple(
            CriterionReading(
                g["window"], g["value"], g["limit"], plan.source, g["filled"] == g["window"] and g["value"] > g["limit"],
                tuple(g["counts"]), reference,
            )
            for g, plan in zip(self.tracker.gauges(), self._gauges, strict=True)
        )

    def _groups(self) -> npt.NDArray[np.intp]:
        return np.arange(self.reference.bins.k) if self._settings.alarm == "threshold" else merged(self.reference.bins)

    def is_quiet(self) -> bool:
        """Whether nothing is in the air: the evidence is low, and the longest window is full and within its limit."""
        longest = self.tracker.gauges()[0]
        is_within = longest["filled"] == longest["window"] and longest["value"] <= longest["limit"]
        return is_within and self.tracker.evidence <= LOW * self.tracker.bets()[0]

    def to_state(self) -> WatchingState:
        """Return plain values from which `from_state` goes on."""
        reference, found = (None, None) if self.is_given else (self.reference.to_state(), self.study)
        origin = self._origin_tracker.to_state() if self._origin_tracker else None
        alarm = self.tracker.alarm_state() if isinstance(self.tracker, AlarmTracker) else None
        return WatchingState(reference, self.tracker.to_state(), self.base, self.raised, found, origin, alarm)

    @classmethod
    def from_state(
        cls, settings: Settings, given: Given | None, state: WatchingState, origin: Origin | None, alarm: Alarm | None = None,
    ) -> Watching:
        """Return what `to_state` described; raises ValueError or StateError where its parts do not fit."""
        reference, found = (Reference.from_state(state.reference), state.study) if state.reference else given or (None, None)
        if reference is None or found is None or reference.kind != settings.kind:
            raise ValueError("its reference is missing or of another kind")
        if not 0 < state.base <= max(reference.m, settings.warmup):
            raise ValueError("its reference has shrunk")
        found.check(reference.m, settings.window_for(reference.m, None if state.reference is None else state.base))
        watching = cls(settings, reference, found, state.reference is None, state.base, origin, alarm)
        check_counters(state.raised, state.tracker.seen, state.tracker.calm)
        watching.tracker.restore(state.tracker)
        if isinstance(watching.tracker, AlarmTracker) != (state.alarm is not None):
            raise ValueError("what its alarm has learnt is missing, or it has no such alarm")
        if isinstance(watching.tracker, AlarmTracker) and state.alarm:
            watching.tracker.restore_alarm(state.alarm)
        watching.raised = state.raised
        if (watching._origin_tracker is None) != (state.origin is None):
            raise ValueError("its window beside the origin is missing, or there is no origin")
        if watching._origin_tracker and state.origin:
            watching._origin_tracker.restore(state.origin)
        return watching

    def _planned(self) -> list[GaugePlan]:
        settings = self._settings
        if settings.alarm == "threshold":
            time = self.study.autocorrelation.mean_tau
            return [threshold_gauge(self.reference, self.window, settings.measure, settings.raise_at, settings.resolve_at, time)]
        return criterion_gauges(self.reference, self.window, settings.min_effect, self.study.variability)

    def _tracker(self) -> Tracker:
        settings, bins = self._settings, self.reference.bins
        if settings.alarm == "threshold":
            return Tracker(bins, self.window, self._gauges, None, 1, True, 1)
        bets = stake(bins, settings.budget, self.stride)
        return Tracker(bins, self.window, self._gauges, bets, self.stride, settings.min_effect is not None, self._gauges[0].window)

    def _asking(self, alarm: Alarm) -> AlarmTracker:
        """Return the tracker of an alarm of another make: one that does not bet, and says whether the criterion is open."""
        longest = self._gauges[0].window
        tracker = Tracker(self.reference.bins, self.window, self._gauges, None, 1, self._settings.min_effect is not None, longest)
        return AlarmTracker(tracker, alarm, self.stride, longest)


def bins_of(reference: Reference, values: npt.NDArray[np.float64] | Sequence[Value]) -> npt.NDArray[np.uint8]:
    """Return the bin of each clean value."""
    bins = reference.bins
    return bins.index(np.asarray(values, float)) if isinstance(bins, NumericBins) else bins.index(values)     # type: ignore[arg-type]


def _changes(labels: list[str], window: Floats, reference: Floats, measure: str) -> list[BinChange]:
    if not window.any():
        return []
    parts = terms(window, reference, SQUARED.get(measure, measure), smoothing=SMOOTHING)
    if measure in SQUARED and parts.any():
        parts = parts / np.sqrt(parts.sum())        # so that they sum to the root
    shares = zip(labels, reference / reference.sum(), window / window.sum(), parts, strict=True)
    return sorted((BinChange(label, float(q), float(p), float(nats)) for label, q, p, nats in shares), key=lambda change: -change.nats)


def nothing_seen(measure: str, base: float | None = None) -> Estimate:
    """Return the estimate of a stream that has no reference yet: nothing is known."""
    return estimate(np.zeros(2), np.ones(2), measure, base=base)
