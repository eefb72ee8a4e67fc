"""Distances: metrics between two aligned count vectors, and those that know the order of the bins.

Rule 1: symmetric, 0.0 for equal input, never negative, never NaN, always finite unless a position overflows.
Rule 2: input, smoothing and errors are those of the f-divergences; kolmogorov_smirnov reads the bins in the order
given, wasserstein by their positions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamkl.divergence.f_divergences import js
from streamkl.divergence.shares import numbers, shares


def js_distance(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return the root of the Jensen-Shannon divergence in that base: a metric, at most 1 with base=2.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Endres & Schindelin (2003), "A New Metric for Probability Distributions".
    >>> js_distance([1, 0], [0, 1], base=2)
    1.0
    """
    return math.sqrt(js(p, q, base, smoothing))


def l_infinity(p: npt.ArrayLike, q: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return max |p - q|: the largest change of any single bin, within [0, 1].

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Breck et al. (2019), "Data Validation for Machine Learning", section 3.2.
    >>> l_infinity([1, 1, 2], [1, 2, 1])
    0.25
    """
    return min(float(np.abs(shares(p, q, smoothing).difference).max()), 1.0)


def kolmogorov_smirnov(p: npt.ArrayLike, q: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return max |P - Q| of the cumulative shares: within [0, 1]. The bins must be in their natural order.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Smirnov (1948), "Table for Estimating the Goodness of Fit of Empirical Distributions".
    >>> kolmogorov_smirnov([1, 1, 2], [2, 1, 1])
    0.25
    """
    return min(float(np.abs(np.cumsum(shares(p, q, smoothing).difference)).max()), 1.0)


def wasserstein(p: npt.ArrayLike, q: npt.ArrayLike, positions: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return the least mass times way that turns p into q, in the unit of the positions: sum |P - Q| dx.

    positions: shape (k,), where each bin lies, finite, in any order. p, q: shape (k,), counts or probabilities.
    Raises ValueError for bad input. Source: Vallender (1974), "Calculation of the Wasserstein Distance ...".
    >>> wasserstein([1, 0, 0], [0, 0, 1], positions=[0, 1, 5])
    5.0
    """
    s, places = shares(p, q, smoothing), numbers(positions, "positions")
    if places.shape != s.p.shape:
        raise ValueError(f"positions has {len(places)} entries and p has {len(s.p)} bins; give every bin one position")
    order = np.argsort(places, kind="stable")
    gaps = np.abs(np.cumsum(s.difference[order]))[:-1]
    _, exponent = math.frexp(float(np.abs(places).max()))
    steps = np.diff(np.ldexp(places[order], -exponent)) if exponent > 1000 else np.diff(places[order])
    way = math.fsum((gaps * steps).tolist())
    with np.errstate(over="ignore"):
        return float(np.ldexp(way, exponent)) if exponent > 1000 else way
