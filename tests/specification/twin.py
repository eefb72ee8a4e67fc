"""TwinDetector: the life of a Detector told slowly - plain lists, every count taken afresh, every divergence by its formula.

Rule 1: bins, experts and evidence are `specification.evidence`'s; nothing of streamkl is imported.
Rule 2: an event is a tuple (kind, index, episode, evidence); no event is None.
"""

from __future__ import annotations

import math

import numpy as np

from specification.evidence import LEAST_REFERENCE, CategoricalBins, Evidence, NumericBins, bin_masses

CRITERION_MASSES = bin_masses(16, 4)
Event = tuple[str, int, int, float]


def as_number(x) -> float:
    """A numeric observation as a float: None is NaN, what is beyond the range of float is infinite."""
    if x is None:
        return math.nan
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def is_missing(x) -> bool:
    return x is None or x != x


def smoothed(counts: np.ndarray) -> np.ndarray:
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))


def direct_kl(window: np.ndarray, reference: np.ndarray) -> float:
    p, q = smoothed(np.asarray(window, float)), smoothed(np.asarray(reference, float))
    return math.fsum(p * np.log(p / q))


def direct_js(window: np.ndarray, reference: np.ndarray) -> float:
    p, q = smoothed(np.asarray(window, float)), smoothed(np.asarray(reference, float))
    middle = (p + q) / 2
    return 0.5 * math.fsum(p * np.log(p / middle)) + 0.5 * math.fsum(q * np.log(q / middle))


def corrected(measure: str, window: np.ndarray, reference: np.ndarray) -> float:
    """max(0, plug-in - bias); k counts the bins occupied in the window or in the reference, as the estimates count them."""
    occupied = int(((np.asarray(window) + np.asarray(reference)) > 0).sum())
    plug_in, share = (direct_kl(window, reference), 2) if measure == "kl" else (direct_js(window, reference), 8)
    return max(0.0, plug_in - (occupied - 1) / share * (1 / np.sum(window) + 1 / np.sum(reference)))


def merged_bins(bins) -> tuple[np.ndarray, int]:
    """Own bin -> bin of the criterion, and how many of these there are; as `merged()` in spec/rule.py."""
    if isinstance(bins, CategoricalBins):
        return np.arange(bins.k), bins.k
    inner = bins.g[:-2] / bins.g[:-2].sum()
    middle = np.cumsum(inner) - inner / 2
    cells = np.searchsorted(np.cumsum(CRITERION_MASSES)[:-1], middle, "left")
    groups = np.unique(cells)
    return np.r_[np.searchsorted(groups, cells), len(groups), len(groups) + 1], len(groups) + 2


class Learned:
    """Everything that follows from one reference: bins, counts, windows, limits."""

    def __init__(self, values: list, kind: str, window: int | None, min_effect: float | None) -> None:
        self.bins = NumericBins(np.array([as_number(v) for v in values])) if kind == "numeric" else CategoricalBins(values)
        self.kind = kind
        self.own = [self.bin(v) for v in values]
        self.m = len(values)
        self.counts = np.bincount(self.own, minlength=self.bins.k).astype(float)
        self.report = window if window is not None else min(max(self.m // 4, 100), 1000)
        longest = min(self.report, self.m // 4)
        self.windows = [longest] + [longest // part for part in (4, 16) if longest // part >= 30]
        self.merge, self.merged_k = merged_bins(self.bins)
        self.merged_counts = np.bincount(self.merge[self.own], minlength=self.merged_k).astype(float)
        occupied = int((self.merged_counts > 0).sum())
        effect = 0.05 if min_effect is None else min_effect
        self.limits = [effect + (occupied - 1) / 2 * (1 / w + 1 / self.m) for w in self.windows]

    def bin(self, x) -> int:
        return int(self.bins.index([as_number(x)])[0] if self.kind == "numeric" else self.bins.index([x])[0])


class TwinDetector:
    """One stream. `update(x)` -> event tuple or None; the reading methods mirror the Detector's."""

    def __init__(
        self,
        reference: list | None = None,
        *,
        kind: str = "numeric",
        false_alarms: float = 1e6,
        warmup: int = 600,
        window: int | None = None,
        stride: int = 1,
        min_effect: float | None = 0.05,
        on_drift: str = "rebaseline",
        hold_for: int | None = None,
        alarm: str = "evidence",
        measure: str = "js",
        raise_at: float = 0.1,
        resolve_at: float = 0.05,
    ) -> None:
        self.kind, self.budget, self.warmup, self.window, self.stride = kind, float(false_alarms), warmup, window, stride
        self.min_effect, self.on_drift, self.hold_for = min_effect, on_drift, hold_for
        self.alarm, self.measure, self.raise_at, self.resolve_at = alarm, measure, raise_at, resolve_at
        self.n = self.episode = 0
        self.needed, self.next_kind = warmup, "reference.learned"
        self.raw: list = []
        self.state = "learning"
        self.past: list[int] = []
        self.learned: Learned | None = None
        if reference is not None:
            self._adopt(list(reference), prefill=False)
            self.after_alarm = warmup

    # ------------------------------------------------------------------ one observation

    def update(self, x) -> Event | None:
        self.n += 1
        return {"learning": self._learn, "watching": self._watch, "drifting": self._drift}[self.state](x)

    def rebaseline(self) -> Event | None:
        """By hand: now, if enough was seen since the alarm; else when enough is seen."""
        if self.state == "watching":
            self.needed, self.next_kind, self.raw, self.state = self.after_alarm, "reference.rebaselined", [], "learning"
        elif self.state == "drifting":
            self.by_hand = True
            return self._rebaseline_if_seen()
        return None

    def _adopt(self, values: list, prefill: bool) -> None:
        self.learned = Learned(values, self.kind, self.window, self.min_effect)
        self.past = list(self.learned.own) if prefill else []
        self.bets = Evidence(self.learned.bins, self.budget, self.stride)
        self._keep()
        self.fed = self.phase = 0
        self.after_alarm = self.learned.m
        self.raw = []
        self.state = "watching"

    def _learn(self, x) -> Event | None:
        self.raw = [*self.raw, x][-20 * self.needed :]
        if len(self.raw) < self.needed or self._not_missing(self.raw) < LEAST_REFERENCE:
            return None
        self._adopt(self.raw, prefill=True)
        return self._event(self.next_kind)

    def _watch(self, x) -> Event | None:
        b = self._push(x)
        if self.alarm == "threshold":
            value = self._threshold_value()
            return self._raise(0.0) if value is not None and value >= self.raise_at else None
        self._feed(b)
        if self.bets.evidence >= self.bets.budget and self._criterion_is_open():
            return self._raise(self.stride * self.bets.evidence)
        return None

    def _feed(self, b: int) -> None:
        bets = self.bets
        if self.phase % self.stride == 0:
            if bets.t >= bets.refresh_at and bets.evidence <= 2 * self.fed:
                self._keep()
            bets.update(b, criterion=False)          # the verdict, and with it the reset, is this class's
            self.fed += 1
        self.phase += 1

    def _keep(self) -> None:
        """What an alarm rolls back to: the counts, and with them which of novel/other and missing were never met."""
        self.kept = self.bets.g.copy(), list(self.bets.unseen)

    def _raise(self, evidence: float) -> Event:
        bets = self.bets
        bets.g, bets.unseen = self.kept[0].copy(), list(self.kept[1])
        bets.R[:] = 0.0
        bets.P[:] = 0.0
        bets.evidence = 0.0
        self.episode += 1
        self.state = "drifting"
        self.since = self.calm = 0
        self.raw = []
        self.by_hand = False
        return self._event("drift.raised", evidence)

    def _drift(self, x) -> Event | None:
        self._push(x)
        self.since += 1
        self.raw = [*self.raw, x][-self.after_alarm :]
        calm = self._is_calm()
        self.calm = self.calm + 1 if calm else 0
        hold_for = self.hold_for if self.hold_for is not None else max(self.after_alarm, 2 * self.learned.report)
        if self.by_hand or (self.on_drift == "rebaseline" and self.since >= hold_for):
            return self._rebaseline_if_seen()
        if self.calm >= (1 if self.alarm == "threshold" else self.learned.windows[0]):
            return self._resolve()
        return None

    def _resolve(self) -> Event:
        self.bets.history = []
        self.bets.refresh_at = self.bets.t
        self.fed = self.phase = 0
        self.raw = []
        self.state = "watching"
        return self._event("drift.resolved")

    def _rebaseline_if_seen(self) -> Event | None:
        if self.since < self.after_alarm or self._not_missing(self.raw) < LEAST_REFERENCE:
            return None
        self._adopt(self.raw, prefill=True)
        return self._event("reference.rebaselined")

    # ------------------------------------------------------------------ what it sees

    def _push(self, x) -> int:
        self.past.append(self.learned.bin(x))
        return self.past[-1]

    def _not_missing(self, values: list) -> int:
        return sum(not is_missing(v) for v in values)

    def _event(self, kind: str, evidence: float = 0.0) -> Event:
        return kind, self.n - 1, self.episode, evidence

    def _threshold_value(self) -> float | None:
        if len(self.past) < self.learned.report:
            return None
        return corrected(self.measure, *self.histogram())

    def _is_calm(self) -> bool:
        if self.alarm == "threshold":
            value = self._threshold_value()
            return value is not None and value <= self.resolve_at
        longest = self.criterion()[0]
        return longest is not None and longest <= self.learned.limits[0] / 1.5

    def _criterion_is_open(self) -> bool:
        if self.min_effect is None:
            return True
        return any(kl is not None and kl > limit for kl, limit in zip(self.criterion(), self.learned.limits, strict=True))

    def criterion_counts(self) -> list[np.ndarray]:
        """Merged counts of each criterion window, full or not."""
        merge = self.learned.merge
        return [np.bincount(merge[self.past[-w:]], minlength=self.learned.merged_k).astype(float) if self.past else np.zeros(self.learned.merged_k)
                for w in self.learned.windows]

    def criterion(self) -> list[float | None]:
        """KL of each criterion window, None while it fills."""
        return [direct_kl(c, self.learned.merged_counts) if c.sum() == w else None
                for w, c in zip(self.learned.windows, self.criterion_counts(), strict=True)]

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of the reporting window and of the reference over the stream's own bins."""
        recent = self.past[-self.learned.report :]
        return np.bincount(recent, minlength=self.learned.bins.k).astype(float) if recent else np.zeros(self.learned.bins.k), self.learned.counts

    @property
    def evidence(self) -> float:
        return self.stride * self.bets.evidence if self.state == "watching" and self.alarm == "evidence" else 0.0
