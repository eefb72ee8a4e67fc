"""What is found out about a reference whose order is known: its autocorrelation, and how far its own windows stray from the rest of it.

Rule 1: definitions written out: every lag is a sum of products, every window is counted afresh; no FFT, nothing kept up to date.
Rule 2: symbols are those of spec/rule.py, the source of both; nothing of streamkl is imported.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from specification.evidence import CategoricalBins, NumericBins, categorical_experts, numeric_experts

SOKAL = 5                # the integrated time is read at the first lag of at least this many times itself
WEAK = 0.05              # an autocorrelation below this no longer counts
STILL = 1e-12            # a column whose variance is below this says nothing
DIGITS = 10              # streams of two values have exact ties; rounded to so many decimals they are ties indeed


def smoothed(counts: np.ndarray) -> np.ndarray:
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))


def direct_kl(window: np.ndarray, reference: np.ndarray) -> float:
    """KL(window || reference) in nats, +1/2 in every bin of both."""
    p, q = smoothed(np.asarray(window, float)), smoothed(np.asarray(reference, float))
    return math.fsum(p * np.log(p / q))


def log_likelihood_ratios(bins: NumericBins | CategoricalBins) -> np.ndarray:
    """What every third expert says of each bin, shape (k, E / 3): the columns whose autocorrelation counts.

    With each direction, each one-sided tail, novel, missing and each category; without the two-sided tails.
    """
    table, _ = numeric_experts() if isinstance(bins, NumericBins) else categorical_experts(bins.k)
    return np.log(table[bins.rows])[:, ::3]


def autocorrelations(column: np.ndarray, longest: int) -> list[float]:
    """Autocorrelation at lags 1 to `longest`, each divided by the same sum of squares."""
    y = column - column.mean()
    return [float(y[d:] @ y[:-d]) / float(y @ y) for d in range(1, longest + 1)]


def integrated_time(r: Sequence[float]) -> float:
    """1 + 2 (r1 + r2 + ...) up to the first lag of at least 5 times that sum; the longest lag where there is none."""
    for d in range(1, len(r) + 1):
        time = round(1 + 2 * math.fsum(r[:d]), DIGITS)
        if d >= SOKAL * time:
            return time
    return float(len(r))


def first_weak_lag(r: Sequence[float]) -> int:
    return next((d for d, value in enumerate(r, 1) if round(value, DIGITS) < WEAK), len(r))


def autocorrelation(indices: Sequence[int], bins: NumericBins | CategoricalBins) -> tuple[float, int]:
    """tau and lag of observations that fell into `indices`: the largest over the columns, looked for up to a quarter of them."""
    columns = log_likelihood_ratios(bins)[list(indices)]
    tau, lag = 1.0, 1
    for column in np.unique(columns, axis=1).T:              # some columns are equal
        if len(column) < 4 or column.var() < STILL:
            continue
        r = autocorrelations(column, len(column) // 4)
        tau, lag = max(tau, integrated_time(r)), max(lag, first_weak_lag(r))
    return tau, lag


def echo(indices: Sequence[int], bins: NumericBins | CategoricalBins) -> float:
    """The largest autocorrelation of any expert beyond the lag at which it is first weak; 0 where none is above."""
    columns = log_likelihood_ratios(bins)[list(indices)]
    largest = 0.0
    for column in np.unique(columns, axis=1).T:
        if len(column) >= 4 and column.var() >= STILL:
            r = autocorrelations(column, len(column) // 4)
            largest = max([largest, *r[first_weak_lag(r):]])
    return largest


def coincidence(indices: Sequence[int], d: int) -> float:
    """How much more often two observations d apart share a bin than independent ones do, a rare bin's weighing more; 0 on average for those."""
    m = len(indices)
    share = Counter(indices)
    return math.fsum(m / share[b] for b, later in zip(indices[:-d], indices[d:], strict=True) if b == later) / m - (1 - d / m)


def mean_time(indices: Sequence[int], tau: float) -> float:
    """Autocorrelation time averaged over the bins that observations fell into, between 1 and tau: what the bias of a plug-in divergence counts by."""
    indices = list(indices)
    occupied = len(set(indices))
    if occupied < 2:
        return 1.0
    longest = min(math.ceil(SOKAL * tau), len(indices) // 16, 1000)
    time = 1 + 2 * math.fsum(coincidence(indices, d) for d in range(1, longest + 1)) / (occupied - 1)
    return min(max(time, 1.0), tau)


def natural_variability(merged: Sequence[int], k: int, w: int) -> float:
    """The largest KL(window || rest) over all windows of w consecutive observations of the reference, over k merged bins."""
    merged = np.asarray(merged)
    everything = np.bincount(merged, minlength=k)
    windows = (np.bincount(merged[start : start + w], minlength=k) for start in range(len(merged) - w + 1))
    return max(direct_kl(inside, everything - inside) for inside in windows)
