"""Estimate: a divergence with its bias taken off and its 95 % interval.

Rule 1: low <= value <= high, all within the bounds of the measure; an empty window is not an error but says nothing:
value and plug_in NaN, low 0, high inf.
Rule 2: without change every measure here but total variation is a quadratic form in p - q: e = 1/n + 1/m times a
chi-square variable of k - 1 degrees times a factor (KL 1/2, Jeffreys and chi-square 1, JS and squared Hellinger 1/8).
It gives the bias, factor (k-1) e, and the variance, 2 factor**2 (k-1) e**2, that the delta method's first order misses.
So the bias of chi-square is (k-1) e, twice that of KL: simulated in tests/test_divergence_estimate.py.
k: bins occupied in window or reference. Root measures (hellinger, js_distance) are corrected squared, then the root is taken.
Rule 3: the bias of total variation is its expectation without change. A change lessens that bias, so its interval
reaches up as far as without the correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamkl.divergence.bregman import log_ratio, summed
from streamkl.divergence.f_divergences import TERMS
from streamkl.divergence.shares import FloatArray, Shares, aligned, checked_smoothing, shares, side, unit_of_log

TWO_SIDED = 1.959963984540054  # normal quantile of 0.975

Gradients = tuple[FloatArray, FloatArray]


class Estimate(NamedTuple):
    """value lies within [low, high], 95 %; plug_in is the measure of the smoothed counts. unit: "nats", "bits" or ""."""

    value: float
    low: float
    high: float
    plug_in: float
    unit: str


class Measure(NamedTuple):
    """How a measure is estimated: the sum of `terms`, its gradients (f'(r), f(r) - r f'(r)), its factor without change."""

    terms: str
    gradients: Callable[[FloatArray, FloatArray], Gradients]  # of r = p/q and log r
    factor: float | None  # of the chi-square law without change; None: not quadratic (total variation)
    bound: float = math.inf  # of the sum of terms
    has_log: bool = True
    is_root: bool = False


def _kl(r: FloatArray, log_r: FloatArray) -> Gradients:
    return log_r, -r


def _kl_reverse(r: FloatArray, log_r: FloatArray) -> Gradients:
    return -1 / r, -log_r


def _jeffreys(r: FloatArray, log_r: FloatArray) -> Gradients:
    return log_r - 1 / r, -r - log_r


def _js(r: FloatArray, log_r: FloatArray) -> Gradients:
    return -np.log1p(1 / r) / 2, -np.log1p(r) / 2


def _hellinger(r: FloatArray, log_r: FloatArray) -> Gradients:
    return -np.exp(-log_r / 2) / 2, -np.sqrt(r) / 2


def _total_variation(r: FloatArray, log_r: FloatArray) -> Gradients:
    return np.sign(log_r) / 2, -np.sign(log_r) / 2


def _chi_square(r: FloatArray, log_r: FloatArray) -> Gradients:
    return 2 * r, -r * r


MEASURES = {
    "kl": Measure("kl", _kl, 1 / 2),
    "kl_reverse": Measure("kl_reverse", _kl_reverse, 1 / 2),
    "jeffreys": Measure("jeffreys", _jeffreys, 1.0),
    "psi": Measure("psi", _jeffreys, 1.0),
    "js": Measure("js", _js, 1 / 8, bound=math.log(2)),
    "js_distance": Measure("js", _js, 1 / 8, bound=math.log(2), is_root=True),
    "total_variation": Measure("total_variation", _total_variation, None, bound=1.0, has_log=False),
    "hellinger": Measure("hellinger", _hellinger, 1 / 8, bound=1.0, has_log=False, is_root=True),
    "chi_square": Measure("chi_square", _chi_square, 1.0, has_log=False),
}


def estimate(
    window_counts: npt.ArrayLike, reference_counts: npt.ArrayLike, measure: str, tau: float = 1.0, *,
    mean_tau: float | None = None, smoothing: float = 0.5, base: float | None = None,
) -> Estimate:
    """Return measure(window || reference) with its bias taken off, never below 0, and its 95 % interval.

    window_counts, reference_counts: shape (k,), counts, not shares: their totals n and m tell the precision.
    tau: autocorrelation time in observations; n and m count as n/tau and m/tau. mean_tau: the same for the bias alone, the average over
    the bins, at most tau; None: tau. In nats, or in units of log `base`.
    Raises ValueError for an empty reference, an unknown measure or bad input; an empty window gives NaN in [0, inf].
    Source: Paninski (2003), "Estimation of Entropy and Mutual Information", and the delta method.
    >>> [round(x, 3) for x in estimate([90, 10], [500, 500], "kl")[:4]]
    [0.354, 0.215, 0.493, 0.359]
    """
    return estimates(window_counts, reference_counts, (measure,), tau, mean_tau=mean_tau, smoothing=smoothing, base=base)[measure]


def estimates(
    window_counts: npt.ArrayLike, reference_counts: npt.ArrayLike, measures: Sequence[str], tau: float = 1.0, *,
    mean_tau: float | None = None, smoothing: float = 0.5, base: float | None = None,
) -> dict[str, Estimate]:
    """Return measure -> `estimate` of many measures of the same counts, for little more than one costs.

    >>> list(estimates([90, 10], [500, 500], ["kl", "js"]))
    ['kl', 'js']
    """
    rules = {measure: _rule(measure, base) for measure in measures}
    slow, mean = _checked_times(tau, mean_tau)
    pseudo_count = checked_smoothing(smoothing)
    window, reference = aligned(window_counts, reference_counts, ("window_counts", "reference_counts"))
    per_m = side(reference, "reference_counts").per_observation()
    if not window.any():
        return {measure: Estimate(math.nan, 0.0, math.inf, math.nan, unit) for measure, (_, unit) in rules.items()}
    per_n = side(window, "window_counts").per_observation()
    sizes = Sizes(per_n, per_m, int(((window > 0) | (reference > 0)).sum()) - 1, slow, mean)
    both = shares(window, reference, pseudo_count)
    return {measure: _estimate(rule, unit, both, sizes, base) for measure, (rule, unit) in rules.items()}


class Sizes(NamedTuple):
    """1/n, 1/m, the degrees of freedom, and the autocorrelation times of the slowest direction and on average."""

    per_n: float
    per_m: float
    degrees: int
    tau: float
    mean_tau: float


def _checked_times(tau: float, mean_tau: float | None) -> tuple[float, float]:
    mean = tau if mean_tau is None else mean_tau
    if not (math.isfinite(tau) and 0 < mean <= tau):
        raise ValueError(f"tau={tau}, mean_tau={mean_tau} must be autocorrelation times, finite, above 0, the mean at most tau; 1: independent")
    return tau, mean


def _estimate(rule: Measure, unit: str, s: Shares, sizes: Sizes, base: float | None) -> Estimate:
    scaled = (x / unit_of_log(base) for x in _interval(rule, s, sizes))
    value, low, high, plug_in = (math.sqrt(x) if rule.is_root else x for x in scaled)
    return Estimate(value, low, high, plug_in, unit)


def _interval(rule: Measure, s: Shares, sizes: Sizes) -> tuple[float, float, float, float]:
    """Return value, low, high and plug-in of the sum of terms in nats."""
    plug_in = min(summed(TERMS[rule.terms](s)), rule.bound)
    bias, null_variance = _null_law(rule, s, sizes)
    value = plug_in if math.isinf(plug_in) else max(plug_in - bias, 0.0)
    variance = _variance(rule, s, sizes) + null_variance
    if not math.isfinite(variance):
        return value, 0.0, rule.bound, plug_in
    reach = TWO_SIDED * math.sqrt(variance)
    above = plug_in if rule.factor is None else value
    return value, max(value - reach, 0.0), min(above + reach, rule.bound), plug_in


def _null_law(rule: Measure, s: Shares, sizes: Sizes) -> tuple[float, float]:
    """Return the mean and the variance of the plug-in without change; for total variation the mean alone."""
    e = sizes.mean_tau * (sizes.per_n + sizes.per_m)
    if sizes.degrees == 0:
        return 0.0, 0.0
    if rule.factor is not None:
        slowest = sizes.tau * (sizes.per_n + sizes.per_m)       # the squares of the times sum to at most their sum times the largest
        return rule.factor * sizes.degrees * e, 2 * rule.factor * rule.factor * sizes.degrees * e * slowest
    weight = sizes.per_m / (sizes.per_n + sizes.per_m) if math.isfinite(e) and e > 0 else 0.5
    pooled = weight * s.p + (1 - weight) * s.q
    deviation = np.sqrt(pooled * (1 - pooled) * e)  # of p - q in each bin, whose absolute value is folded normal
    return math.fsum(np.nan_to_num(deviation).tolist()) / math.sqrt(2 * math.pi), 0.0


def _variance(rule: Measure, s: Shares, sizes: Sizes) -> float:
    """Return the delta method's variance: tau times Var_p(f'(r)) / n + Var_q(f(r) - r f'(r)) / m."""
    with np.errstate(all="ignore"):
        log_r = log_ratio(s)
        by_p, by_q = rule.gradients(np.exp(log_r), log_r)
        return sizes.tau * (_spread(s.p, by_p) * sizes.per_n + _spread(s.q, by_q) * sizes.per_m)


def _spread(weights: FloatArray, values: FloatArray) -> float:
    inside = np.where(weights > 0, values, 0.0)
    centred = inside - np.sum(weights * inside)
    return float(np.sum(weights * centred * centred))


def _rule(measure: str, base: float | None) -> tuple[Measure, str]:
    """Return the rule of the measure and the unit of the result. Raises ValueError for an unknown measure or a needless base."""
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r} cannot be estimated; choose one of {', '.join(MEASURES)}")
    rule = MEASURES[measure]
    if base is not None and not rule.has_log:
        raise ValueError(f"base={base} means nothing for {measure}, which has no logarithm; leave base out")
    if unit_of_log(base) and (rule.is_root or not rule.has_log):
        return rule, ""
    return rule, "nats" if base is None else "bits" if base == 2 else f"log base {base:g}"
