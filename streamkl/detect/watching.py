"""Watching: a stream beside its reference, with the native tracker that compares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamkl.detect.autocorrelation import Autocorrelation, autocorrelation
from streamkl.detect.criterion import criterion_gauges, merged, threshold_gauge
from streamkl.detect.event import BinChange, CriterionReading
from streamkl.detect.experts import stake
from streamkl.detect.kernel import Tracker
from streamkl.detect.recent import Recent, Value
from streamkl.detect.settings import Settings
from streamkl.detect.state import WatchingState, check_counters
from streamkl.divergence import Estimate, estimate, estimates, terms
from streamkl.sketch.bins import Floats, NumericBins
from streamkl.sketch.histogram import Histogram
from streamkl.sketch.reference import Reference

SMOOTHING = 0.5             # added to every bin of both, as in Estimate.plug_in
SQUARED = {"hellinger": "hellinger", "js_distance": "js"}      # measures that are roots -> what their terms sum to
LONGEST_LAG = 4             # autocorrelation is looked for up to this part of the reference
CHUNK = 4096                # categories are turned into bins in pieces of this many, as a reference may change in between


class Watching:
    """One reference, the reporting window's size, and the tracker.

    is_given: the reference was not learnt from the stream. found: the reference's autocorrelation, None: find it.
    """

    def __init__(self, settings: Settings, reference: Reference, is_given: bool, found: Autocorrelation | None = None) -> None:
        self.reference = reference if is_given else reference.without_order()
        self.is_given = is_given
        self.autocorrelation = found or _autocorrelation(reference)
        self.window = settings.window_for(reference.m)
        self.tracker = _tracker(settings, reference, self.window)
        self.raised = 0                 # alarms since the reference was learnt
        self._settings = settings

    def prefill(self, values: Recent) -> None:
        """Put the newest values into the windows: the stream was watched while it was learnt."""
        self.tracker.prefill(self._bins(values.newest(self.window)))

    def update_many(self, values: npt.NDArray[np.float64] | list[Value], start: int, stop: int | None = None) -> tuple[int, int]:
        """Take clean values from `start` until one causes something, or until `stop`; return (index after the last one, verdict)."""
        stop = len(values) if stop is None else min(stop, len(values))
        if not isinstance(values, list):
            return self.tracker.update_many(values[:stop], start)
        while start < stop:
            taken, verdict = self.tracker.update_bins(self._bins(values[start:min(stop, start + CHUNK)]), 0)
            start += taken
            if verdict:
                return start, verdict
        return start, 0

    def histogram(self) -> Histogram:
        """Return the reporting window beside the reference."""
        bins = self.reference.bins
        return Histogram(bins.labels(), np.array(self.tracker.counts(), float), bins.counts.copy())

    def estimate(self, measure: str, base: float | None = None) -> Estimate:
        """Return the divergence of the reporting window from the reference."""
        return self.estimates((measure,), base)[measure]

    def estimates(self, measures: Sequence[str], base: float | None = None) -> dict[str, Estimate]:
        """Return many divergences of the reporting window from the reference."""
        return estimates(np.array(self.tracker.counts(), float), self.reference.bins.counts, measures, base=base)

    def changes(self, measure: str) -> list[BinChange]:
        """Return every bin's part in the divergence of the reporting window, largest first; [] with an empty window."""
        self.estimate(measure)                      # refuses an unknown measure
        labels, window, reference = self.histogram()
        return _changes(labels, window, reference, measure)

    def alarm_changes(self) -> list[BinChange]:
        """Return every bin's part in KL of the window that is farthest beyond its limit, or of the longest one: over the criterion's bins."""
        readings = self.tracker.gauges()
        beyond = [r["value"] / r["limit"] if r["filled"] == r["window"] and r["limit"] > 0 else 0.0 for r in readings]
        farthest = readings[beyond.index(max(beyond))]
        groups = np.arange(self.reference.bins.k) if self._settings.alarm == "threshold" else merged(self.reference.bins)
        reference = np.bincount(groups, self.reference.bins.counts).astype(float)
        return _changes(self.reference.bins.labels(groups), np.array(farthest["counts"], float), reference, "kl")

    def criterion(self) -> tuple[CriterionReading, ...]:
        """Return what each window of the criterion says now."""
        source = "min_effect" if self._settings.alarm == "evidence" else "raise_at"
        return tuple(
            CriterionReading(g["window"], g["value"], g["limit"], source, g["filled"] == g["window"] and g["value"] > g["limit"])
            for g in self.tracker.gauges()
        )

    def guarantee(self) -> str:
        """Return what holds of the budget: exact up to the first alarm of a reference of independent, distinct values at stride 1.

        Void with a threshold alarm, and where the reference's autocorrelation is too strong for the stride.
        """
        if self._settings.alarm == "threshold" or not self.autocorrelation.is_weak(self._settings.stride):
            return "void"
        return "exact" if self.reference.is_exact and self._settings.stride == 1 and self.raised <= 1 else "approximate"

    def relearns(self) -> int:
        """Return how many observations a rebaseline learns from: as many as the reference has, the warm-up where it was given."""
        return self._settings.warmup if self.is_given else int(self.reference.m)

    def to_state(self) -> WatchingState:
        """Return plain values from which `from_state` goes on."""
        return WatchingState(None if self.is_given else self.reference.to_state(), self.tracker.to_state(), self.raised, self.autocorrelation)

    @classmethod
    def from_state(cls, settings: Settings, given: Reference | None, state: WatchingState) -> Watching:
        """Return what `to_state` described; raises ValueError or StateError where its parts do not fit."""
        reference = given if state.reference is None else Reference.from_state(state.reference)
        if reference is None or reference.kind != settings.kind:
            raise ValueError("its reference is missing or of another kind")
        watching = cls(settings, reference, state.reference is None, state.autocorrelation)
        check_counters(state.raised, state.autocorrelation.lag, state.tracker.seen, state.tracker.calm)
        watching.tracker.restore(state.tracker)
        watching.raised = state.raised
        return watching

    def _bins(self, values: list[Value]) -> npt.NDArray[np.uint8]:
        bins = self.reference.bins
        return bins.index(np.array(values, float)) if isinstance(bins, NumericBins) else bins.index(values)     # type: ignore[arg-type]


def _changes(labels: list[str], window: Floats, reference: Floats, measure: str) -> list[BinChange]:
    if not window.any():
        return []
    parts = terms(window, reference, SQUARED.get(measure, measure), smoothing=SMOOTHING)
    if measure in SQUARED and parts.any():
        parts = parts / np.sqrt(parts.sum())        # so that they sum to the root
    shares = zip(labels, reference / reference.sum(), window / window.sum(), parts, strict=True)
    return sorted((BinChange(label, float(q), float(p), float(nats)) for label, q, p, nats in shares), key=lambda change: -change.nats)


def _autocorrelation(reference: Reference) -> Autocorrelation:
    if reference.order is None:
        return Autocorrelation()
    return autocorrelation(reference.bins, reference.order, int(reference.m) // LONGEST_LAG)


def nothing_seen(measure: str, base: float | None = None) -> Estimate:
    """Return the estimate of a stream that has no reference yet: nothing is known."""
    return estimate(np.zeros(2), np.ones(2), measure, base=base)


def _tracker(settings: Settings, reference: Reference, window: int) -> Tracker:
    if settings.alarm == "threshold":
        gauge = threshold_gauge(reference, window, settings.measure, settings.raise_at, settings.resolve_at)
        return Tracker(reference.bins, window, [gauge], None, 1, True, 1)
    gauges = criterion_gauges(reference, window, settings.min_effect)
    bets = stake(reference.bins, settings.budget, settings.stride)
    return Tracker(reference.bins, window, gauges, bets, settings.stride, settings.min_effect is not None, gauges[0].window)
