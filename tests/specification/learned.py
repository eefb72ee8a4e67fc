"""Learned: all that follows from one reference - bins, counts, stride, the criterion's windows with their limits, what is guaranteed.

Rule 1: a reference is a list of observations in their order, missing ones included; m is their number.
Rule 2: bins are `specification.evidence`'s, what the order tells is `specification.study`'s; nothing of streamkl is imported.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specification.evidence import CategoricalBins, NumericBins, bin_masses
from specification.study import autocorrelation, echo, mean_time, natural_variability

CRITERION_MASSES = bin_masses(16, 4)
LEAST_WINDOW = 30          # the shorter windows of the criterion hold at least so many observations
LEAST_POINTS = 20          # the stride leaves at least so many observations of the reference
FACTOR = 1.5               # beyond this times its natural variability a window is out of the ordinary
CEILING = 1.0              # nats; natural variability may not ask for more than this
USUAL_EFFECT = 0.05        # nats; by this an episode clears where no effect was asked for


class Limit(NamedTuple):
    """What a window's divergence must exceed, in nats, and why."""

    window: int
    limit: float
    source: str


def as_number(x) -> float:
    """A numeric observation as a float: None is NaN, what is beyond the range of float is infinite."""
    if x is None:
        return math.nan
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def bins_of(values: list, kind: str) -> NumericBins | CategoricalBins:
    return NumericBins(np.array([as_number(v) for v in values])) if kind == "numeric" else CategoricalBins(values)


def indices_of(values: list, bins: NumericBins | CategoricalBins) -> list[int]:
    return bins.index([as_number(v) for v in values] if isinstance(bins, NumericBins) else values).tolist()


def autocorrelation_time(values: list, kind: str) -> float:
    """tau of values that may become a reference."""
    bins = bins_of(values, kind)
    return autocorrelation(indices_of(values, bins), bins)[0]


def merged_bins(bins: NumericBins | CategoricalBins) -> tuple[np.ndarray, int]:
    """Own bin -> bin of the criterion, and how many of these there are; as `merged()` in spec/rule.py."""
    if isinstance(bins, CategoricalBins):
        return np.arange(bins.k), bins.k
    inner = bins.g[:-2] / bins.g[:-2].sum()
    middle = np.cumsum(inner) - inner / 2
    cells = np.searchsorted(np.cumsum(CRITERION_MASSES)[:-1], middle, "left")
    groups = np.unique(cells)
    return np.r_[np.searchsorted(groups, cells), len(groups), len(groups) + 1], len(groups) + 2


def looks_independent(values: list) -> bool:
    """Whether all values are there and distinct, and the ranks of neighbours correlate no more than three standard deviations."""
    numbers = np.array([as_number(v) for v in values])
    if np.isnan(numbers).any() or len(set(numbers.tolist())) < len(numbers):
        return False
    ranks = np.array([(numbers < x).sum() for x in numbers], float)
    ranks -= ranks.mean()
    return abs((ranks[1:] * ranks[:-1]).sum() / (ranks * ranks).sum()) <= 3 / math.sqrt(len(ranks))


class Learned:
    """One reference. stride: as asked for, "auto" or an int; is_extended: it was learnt for longer than the warm-up; base: its first size."""

    def __init__(
        self, values: list, kind: str, *, window: int | None, min_effect: float | None, stride: int | str, is_extended: bool, base: int | None = None,
    ) -> None:
        self.bins = bins_of(values, kind)
        self.own = indices_of(values, self.bins)
        self.m = len(values)
        self.counts = np.bincount(self.own, minlength=self.bins.k).astype(float)
        self.tau, self.lag = autocorrelation(self.own, self.bins)
        self.mean_tau = mean_time(self.own, self.tau)
        self.echo = echo(self.own, self.bins)
        self.wishes_auto = stride == "auto"
        self.base = base or self.m
        self.stride = max(1, min(self.lag, self.base // LEAST_POINTS)) if stride == "auto" else stride
        self.report = window if window is not None else min(max(self.m // 4, 100), self._widest())
        self.merge, self.merged_k = merged_bins(self.bins)
        self.merged_own = [int(self.merge[b]) for b in self.own]
        self.merged_counts = np.bincount(self.merged_own, minlength=self.merged_k).astype(float)
        longest = min(self.report, self.m // 4)
        # without an effect there is only the longest: it tells when an episode is calm
        self.windows = [longest] if min_effect is None else [longest, *(w for w in (longest // 4, longest // 16) if w >= LEAST_WINDOW)]
        self.limits = self._limits(USUAL_EFFECT if min_effect is None else min_effect)
        self.is_extended = is_extended
        self.is_independent = kind == "numeric" and not is_extended and looks_independent(values)

    def _widest(self) -> int:
        """A reference that has grown has a window of at most 300, or of what it had at first."""
        return 1000 if self.m == self.base else max(300, min(max(self.base // 4, 100), 1000))

    def bin(self, x) -> int:
        return indices_of([x], self.bins)[0]

    @property
    def is_capped(self) -> bool:
        """Whether the observations that are fed are still correlated, because the reference is too short for a longer stride."""
        return self.wishes_auto and self.lag > self.stride

    def guarantee(self, alarms_before: int) -> str:
        """What holds of the budget for an alarm of this reference that `alarms_before` others precede."""
        if self.m < 20 * self.tau or self.is_capped or self.tau > 2 * self.stride or self.echo > 0.5:
            return "void"
        return "exact" if self.is_independent and self.stride == 1 and alarms_before == 0 else "approximate"

    def _limits(self, effect: float) -> list[Limit]:
        """Longest window first; shorter ones are dropped where they would have to go beyond the ceiling."""
        longest, *shorter = self.windows
        limits = [self._limit_of_a_shorter(w, effect) for w in shorter]
        return [self._limit_of_the_longest(longest, effect), *(limit for limit in limits if limit is not None)]

    def _least(self, w: int, effect: float) -> float:
        """The effect asked for and what chance adds to a plug-in divergence."""
        occupied = int((self.merged_counts > 0).sum())
        return effect + (occupied - 1) / 2 * (1 / w + 1 / self.m)

    def _usual(self, w: int) -> float:
        return FACTOR * natural_variability(self.merged_own, self.merged_k, w)

    def _limit_of_the_longest(self, w: int, effect: float) -> Limit:
        usual, least = self._usual(w), self._least(w, effect)
        if min(usual, CEILING) <= least:
            return Limit(w, least, "min_effect")
        return Limit(w, CEILING, "ceiling") if usual > CEILING else Limit(w, usual, "natural variability")

    def _limit_of_a_shorter(self, w: int, effect: float) -> Limit | None:
        usual, least = self._usual(w), self._least(w, effect)
        if usual > CEILING:
            return None
        return Limit(w, least, "min_effect") if usual <= least else Limit(w, usual, "natural variability")
