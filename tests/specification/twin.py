"""TwinDetector: the life of a Detector told slowly - plain lists, every count taken afresh, every divergence by its formula.

Rule 1: what follows from a reference is `specification.learned`'s, the evidence `specification.evidence`'s; nothing of streamkl is imported.
Rule 2: an event is a tuple (kind, index, episode, evidence); no event is None.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specification.evidence import LEAST_REFERENCE, PLUG_IN_SHARE, WINDOWS, Evidence
from specification.learned import Learned, autocorrelation_time, indices_of, merged_bins
from specification.study import direct_kl, smoothed

__all__ = ["TwinDetector", "corrected", "direct_js", "direct_kl", "merged_bins"]

COVER = 50                 # a reference should hold so many autocorrelation times
GROWTH, WORTH = 2, 1.25    # a reference that matures doubles; the last step must be worth it
LOOKS = 8                  # else it is looked at again after its first size divided by this
LOW = 4                    # evidence above so many times its average, one for each bet, is in the air
CALM = 1.5                 # an episode is calm below the limit divided by this
Event = tuple[str, int, int, float]


class Reading(NamedTuple):
    """One window of the criterion as it is now; `open` only where it is full and beyond its limit."""

    window: int
    kl: float
    limit: float
    source: str
    open: bool
    window_counts: np.ndarray
    reference_counts: np.ndarray


def is_missing(x) -> bool:
    return x is None or x != x


def direct_js(window: np.ndarray, reference: np.ndarray) -> float:
    p, q = smoothed(np.asarray(window, float)), smoothed(np.asarray(reference, float))
    middle = (p + q) / 2
    return 0.5 * math.fsum(p * np.log(p / middle)) + 0.5 * math.fsum(q * np.log(q / middle))


def corrected(measure: str, window: np.ndarray, reference: np.ndarray, mean_tau: float = 1.0) -> float:
    """max(0, plug-in - bias); k counts the bins occupied in the window or in the reference, as the estimates count them.

    mean_tau: autocorrelation time of the reference averaged over its bins; n / mean_tau and m / mean_tau observations count.
    """
    occupied = int(((np.asarray(window) + np.asarray(reference)) > 0).sum())
    plug_in, share = (direct_kl(window, reference), 2) if measure == "kl" else (direct_js(window, reference), 8)
    return max(0.0, plug_in - (occupied - 1) / share * (mean_tau / np.sum(window) + mean_tau / np.sum(reference)))


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
        extend: int = 4,
        mature_until: int = 10_000,
        stride: int | str = "auto",
        min_effect: float | None = 0.05,
        on_drift: str = "rebaseline",
        hold_for: int | None = None,
        alarm: str = "evidence",
        measure: str = "js",
        raise_at: float = 0.1,
        resolve_at: float = 0.05,
    ) -> None:
        self.kind, self.budget, self.warmup, self.extend, self.window = kind, float(false_alarms), warmup, extend, window
        self.mature_until = 0 if alarm == "threshold" else mature_until
        self.asked_stride = 1 if alarm == "threshold" else stride
        self.min_effect, self.on_drift, self.hold_for = min_effect, on_drift, hold_for
        self.alarm, self.measure, self.raise_at, self.resolve_at = alarm, measure, raise_at, resolve_at
        self.n = self.episode = 0
        self.first: Learned | None = None
        self.learned: Learned | None = None
        self._begin_learning("reference.learned", warmup, keep=max(20, extend) * warmup)
        if reference is not None:
            self._adopt(list(reference), prefill=False)
            self.after_alarm, self.growing = warmup, None

    # ------------------------------------------------------------------ one observation

    def update(self, x) -> Event | None:
        self.n += 1
        return {"learning": self._learn, "watching": self._watch, "drifting": self._drift}[self.state](x)

    def rebaseline(self) -> Event | None:
        """By hand: now, if enough was seen since the alarm; else when enough is seen."""
        if self.state == "watching":
            self._begin_learning("reference.rebaselined", self.after_alarm, keep=20 * self.after_alarm)
        elif self.state == "drifting":
            self.by_hand = True
            return self._rebaseline_if_seen()
        return None

    # ------------------------------------------------------------------ learning

    def _begin_learning(self, next_kind: str, needed: int, keep: int) -> None:
        self.next_kind, self.needed, self.keep = next_kind, needed, keep
        self.raw: list = []
        self.state = "learning"
        self.is_extended = False

    def _learn(self, x) -> Event | None:
        self.raw = [*self.raw, x][-self.keep :]
        if self._not_missing(self.raw) < LEAST_REFERENCE or len(self._from_the_first_value()) < self.needed or self._goes_on_learning():
            return None
        self._adopt(self._from_the_first_value(), prefill=True)
        return self._event(self.next_kind)

    def _grow(self) -> Event | None:
        """Learn the reference again where it is due and nothing is in the air."""
        if self.growing is None or self.size < self.due:
            return None
        longest = self.criterion()[0]
        values = self.growing[next((i for i, x in enumerate(self.growing) if not is_missing(x)), 0):]
        is_within = sum(longest.window_counts) == longest.window and longest.kl <= longest.limit
        is_larger = len(values) > self.learned.m and self._not_missing(values) >= LEAST_REFERENCE
        if not is_larger or not is_within or self.bets.evidence > LOW * self.fed:
            self.due = self.size + max(1, self.after_alarm // LOOKS)
            return None
        old, old_stride = self.bets, self.stride
        self._adopt(values, prefill=True, base=self.after_alarm)
        if self.kind == "numeric":                       # the experts are the same: their wealth is, in observations' worth
            self._inherit(old, old_stride / self.stride)
        return self._event("reference.learned")

    def _inherit(self, old: Evidence, factor: float) -> None:
        bets = self.bets
        bets.R[:], bets.P[:] = factor * old.R, factor * old.P
        bets.evidence = (1 - PLUG_IN_SHARE) * float(bets.prior @ bets.R) + PLUG_IN_SHARE / len(WINDOWS) * float(bets.P.sum())

    def _forget_change(self) -> None:
        """What was seen since the evidence was last low, or in the longest window, may belong to the change."""
        doubtful = max(self.learned.limits[0].window, (self.bets.t - self.kept_at) * self.stride)
        doubtful = min(doubtful, self.size - self.learned.m, len(self.growing))
        self.growing = self.growing[:len(self.growing) - doubtful]
        self.size -= doubtful

    def _next_size(self, m: int) -> int | None:
        size = min(GROWTH * m, self.mature_until)
        return size if size >= WORTH * m else None

    def _from_the_first_value(self) -> list:
        return self.raw[next(i for i, x in enumerate(self.raw) if not is_missing(x)):]

    def _goes_on_learning(self) -> bool:
        """The first reference is learnt for longer while it holds too few autocorrelation times."""
        values, most = self._from_the_first_value(), self.extend * self.warmup
        m = len(values)
        if self.next_kind != "reference.learned" or m >= most or m >= COVER * autocorrelation_time(values, self.kind):
            return False
        self.needed = min(m + self.warmup // 2, most)
        self.is_extended = True
        return True

    def _adopt(self, values: list, prefill: bool, base: int | None = None) -> None:
        is_extended = self.learned.is_extended if base else self.is_extended
        self.learned = Learned(
            values, self.kind, window=self.window, min_effect=self.min_effect, stride=self.asked_stride, is_extended=is_extended, base=base,
        )
        self.first = self.first or self.learned
        self.past = list(self.learned.own) if prefill else []
        self.past_values = list(values) if prefill else []
        self.bets = Evidence(self.learned.bins, self.budget, self.learned.stride)
        self._keep()
        self.fed = self.phase = self.alarms = 0
        self.after_alarm = base or self.learned.m
        self.size, self.due = self.learned.m, self._next_size(self.learned.m)
        self.growing = list(values) if self.due else None
        self.is_extended = False
        self.raw = []
        self.state = "watching"

    # ------------------------------------------------------------------ watching

    def _watch(self, x) -> Event | None:
        b = self._push(x)
        if self.alarm == "threshold":
            value = self._threshold_value()
            return self._raise(0.0) if value is not None and value >= self.raise_at else None
        self._feed(b)
        if self.growing is not None:
            self.growing = [*self.growing, x][-self.mature_until:]
            self.size += 1
        if self.bets.evidence >= self.bets.budget and self._criterion_is_open():
            return self._raise(self.stride * self.bets.evidence)
        return self._grow()

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
        self.kept_at = self.bets.t
        self.kept = self.bets.g.copy(), list(self.bets.unseen)

    def _raise(self, evidence: float) -> Event:
        bets = self.bets
        bets.g, bets.unseen = self.kept[0].copy(), list(self.kept[1])
        bets.R[:] = 0.0
        bets.P[:] = 0.0
        bets.evidence = 0.0
        if self.growing is not None:
            self._forget_change()
        self.episode += 1
        self.alarms += 1
        self.state = "drifting"
        self.since = self.calm = 0
        self.raw = []
        self.by_hand = False
        return self._event("drift.raised", evidence)

    # ------------------------------------------------------------------ drifting

    def _drift(self, x) -> Event | None:
        self._push(x)
        self.since += 1
        self.raw = [*self.raw, x][-self.after_alarm :]
        self.calm = self.calm + 1 if self._is_calm() else 0
        if self.by_hand or (self.on_drift == "rebaseline" and self.since >= self._hold_for()):
            return self._rebaseline_if_seen()
        if self.calm >= (1 if self.alarm == "threshold" else self.learned.limits[0].window):
            return self._resolve()
        return None

    def _resolve(self) -> Event:
        if self.growing is not None:                     # the windows hold the newest observations: they are filled before it grows
            self.due = max(self.due, self.size + max(300, self.learned.report))
        self.bets.history = []
        self.bets.refresh_at = self.bets.t
        self.fed = self.phase = 0
        self.raw = []
        self.state = "watching"
        return self._event("drift.resolved")

    def _rebaseline_if_seen(self) -> Event | None:
        if self.since < self.after_alarm or self._not_missing(self.raw) < LEAST_REFERENCE or is_missing(self.raw[0]):
            return None
        self._adopt(self.raw, prefill=True)
        return self._event("reference.rebaselined")

    def _hold_for(self) -> int:
        if self.hold_for is not None:
            return self.hold_for
        has_grown = self.learned.m > self.learned.base
        return max(self.after_alarm, 4 * self.learned.windows[0] if has_grown else 2 * self.learned.report)

    # ------------------------------------------------------------------ what it sees

    def _push(self, x) -> int:
        self.past_values.append(x)
        self.past.append(self.learned.bin(x))
        return self.past[-1]

    def _not_missing(self, values: list) -> int:
        return sum(not is_missing(v) for v in values)

    def _event(self, kind: str, evidence: float = 0.0) -> Event:
        return kind, self.n - 1, self.episode, evidence

    def _threshold_value(self) -> float | None:
        if len(self.past) < self.learned.report:
            return None
        return corrected(self.measure, *self.histogram(), self.learned.mean_tau)

    def _is_calm(self) -> bool:
        if self.alarm == "threshold":
            value = self._threshold_value()
            return value is not None and value <= self.resolve_at
        longest = self.criterion()[0]
        return sum(longest.window_counts) == longest.window and longest.kl <= longest.limit / CALM

    def _criterion_is_open(self) -> bool:
        return self.min_effect is None or any(reading.open for reading in self.criterion())

    # ------------------------------------------------------------------ readings

    @property
    def stride(self) -> int:
        """One in so many observations is fed; that of the current reference."""
        return self.learned.stride

    @property
    def evidence(self) -> float:
        return self.stride * self.bets.evidence if self.state == "watching" and self.alarm == "evidence" else 0.0

    def criterion(self) -> list[Reading]:
        """Each window as it is, full or not; none while learning and for a threshold alarm."""
        if self.state == "learning" or self.alarm == "threshold":
            return []
        return [self._reading(*limit) for limit in self.learned.limits]

    def _reading(self, window: int, limit: float, source: str) -> Reading:
        learned, recent = self.learned, self.past[-window:]
        counts = np.bincount([int(learned.merge[b]) for b in recent], minlength=learned.merged_k).astype(float)
        kl = direct_kl(counts, learned.merged_counts)
        return Reading(window, kl, limit, source, len(recent) == window and kl > limit, counts, learned.merged_counts)

    def histogram(self, against: str = "reference") -> tuple[np.ndarray, np.ndarray]:
        """Counts of the reporting window and of the reference over its own bins: the current reference's, or the first one's ("origin")."""
        learned = self.learned if against == "reference" else self.first
        window = self.learned.report
        recent = self.past[-window:] if against == "reference" else indices_of(self.past_values[-window:], learned.bins)
        return np.bincount(np.array(recent, int), minlength=learned.bins.k).astype(float), learned.counts

    def times(self, against: str = "reference") -> tuple[float, float]:
        """tau and mean_tau of the reference that is compared with."""
        learned = self.learned if against == "reference" else self.first
        return learned.tau, learned.mean_tau

    def guarantee(self, of: str = "now") -> str:
        """Of the next alarm while watching, of the last one while drifting; of="event": of the alarm that the newest event is about."""
        if self.state == "learning" or self.alarm == "threshold":
            return "void"
        next_one = of == "now" and self.state == "watching"
        holds = self.learned.guarantee(self.alarms if next_one else max(0, self.alarms - 1))
        has_fixed_size = self.growing is None and self.learned.m == self.learned.base
        return holds if has_fixed_size or holds == "void" else "approximate"
