"""Renyi's family: logarithms of the affinity sum p**alpha q**(1 - alpha).

Rule 1: the affinity's distance from 1 is summed directly, so that nearly equal p and q, and alpha near 0 or 1,
keep their digits; far from 1 it is summed over logarithms, so that no power over- or underflows.
Rule 2: input, smoothing, base and errors are those of the f-divergences.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamkl.divergence.bregman import kl_terms, log_ratio, summed
from streamkl.divergence.shares import FloatArray, Shares, shares, unit_of_log

SERIES_REACH = 0.7  # |max(1, alpha) log(p/q)| up to here is left to the series
SERIES_ORDERS = range(2, 21)
LARGEST_ALPHA = 1e300  # above it the divergence equals its limit to the last digit


def renyi(p: npt.ArrayLike, q: npt.ArrayLike, alpha: float, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return log(sum p**alpha q**(1-alpha)) / (alpha - 1): 0.0 if equal, never negative, rising with alpha.

    alpha: order within [0, inf]. 1 is kl; 0 is -log q(p > 0); inf is the largest log(p/q). inf without overlap, and
    where q = 0 < p if alpha >= 1. p, q: shape (k,), counts or probabilities. In nats, or in units of log `base`.
    Raises ValueError for bad input or alpha. Source: Renyi (1961), "On Measures of Entropy and Information".
    >>> round(renyi([9, 1], [5, 5], alpha=2), 4)
    0.4947
    """
    if not alpha >= 0:
        raise ValueError(f"alpha={alpha} must be an order of at least 0; 1 gives kl, 0.5 is symmetric")
    s = shares(p, q, smoothing)
    return max(_renyi_nats(s, float(alpha)), 0.0) / unit_of_log(base)


def bhattacharyya(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return -log(sum sqrt(p q)): symmetric, 0.0 if equal, inf without overlap.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. In nats, or in units of log `base`.
    Raises ValueError for bad input. Source: Bhattacharyya (1943), "On a Measure of Divergence ...".
    >>> round(bhattacharyya([9, 1], [5, 5]), 4)
    0.1116
    """
    return renyi(p, q, 0.5, base, smoothing) / 2


def _renyi_nats(s: Shares, alpha: float) -> float:
    if alpha == 1.0:
        return summed(kl_terms(s))
    if alpha == 0.0:
        is_outside = np.isneginf(s.log_p)
        lost, kept = math.fsum(s.q[is_outside].tolist()), math.fsum(s.q[~is_outside].tolist())
        return -math.log1p(-lost) if lost < 0.5 else -math.log(kept) if kept > 0 else _order_of_logs(s, alpha)
    if alpha > LARGEST_ALPHA:
        return float(log_ratio(s)[~np.isneginf(s.log_p)].max())
    excess = _excess(s, alpha - 1) if alpha >= 0.5 else _excess(s.swapped(), -alpha)
    if -0.5 < excess < 1.0:
        return math.log1p(excess) / (alpha - 1)
    return _order_of_logs(s, alpha)


def _excess(s: Shares, delta: float) -> float:
    """Return sum p**alpha q**(1-alpha) - 1 with alpha = 1 + delta >= 1/2, as a sum without cancellation."""
    ratio = log_ratio(s)
    reach = max(1.0, 1.0 + delta)
    near = np.abs(ratio) * reach <= SERIES_REACH
    log = np.where(near, ratio, 0.0)
    with np.errstate(all="ignore"):
        far = np.where(np.isneginf(s.log_p), 0.0, s.p * np.expm1(delta * ratio)) - delta * s.difference
    added = np.where(near, delta * s.q * _series(log, 1.0 + delta), far)
    return math.fsum(added.tolist()) if np.isfinite(added).all() else math.nan


def _series(log: FloatArray, alpha: float) -> FloatArray:
    """(r**alpha - 1 - alpha (r - 1)) / (alpha - 1) with r = exp(log), by powers of log from the second on."""
    total, power, geometric = np.zeros_like(log), log.copy(), 0.0
    for order in SERIES_ORDERS:
        power = power * log / order
        geometric = geometric * alpha + 1.0
        total += alpha * geometric * power
    return total


def _order_of_logs(s: Shares, alpha: float) -> float:
    """Return the divergence from the largest exponent on: for large values, where relative digits are safe."""
    is_inside = ~np.isneginf(s.log_p)
    with np.errstate(all="ignore"):
        exponents = (alpha - 1) * log_ratio(s)[is_inside] + s.log_p[is_inside]
    top = float(exponents.max())
    if math.isinf(top):
        return math.inf
    return (top + math.log(math.fsum(np.exp(exponents - top).tolist()))) / (alpha - 1)
