"""Scores: entropy of one count vector, and how well a forecast meets what came.

Rule 1: never negative, never NaN; input, smoothing, base and errors are those of the f-divergences.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamkl.divergence.shares import FloatArray, counts, numbers, shares, side, unit_of_log


def entropy(p: npt.ArrayLike, base: float | None = None) -> float:
    """Return H(p) = -sum p log p: 0.0 for a single occupied bin, at most log k.

    p: shape (k,), counts or probabilities. In nats, or in units of log `base`. Raises ValueError for bad input.
    Source: Shannon (1948), "A Mathematical Theory of Communication".
    >>> entropy([1, 1, 1, 1], base=2)
    2.0
    """
    one = side(counts(p, "p"), "p")
    return _expected_surprise(one.share, one.log_share) / unit_of_log(base)


def cross_entropy(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return -sum p log q = entropy(p) + kl(p, q): inf where q = 0 < p.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. In nats, or in units of log `base`.
    Raises ValueError for bad input. Source: Good (1952), "Rational Decisions".
    >>> round(cross_entropy([9, 1], [5, 5], base=2), 4)
    1.0
    """
    s, unit = shares(p, q, smoothing), unit_of_log(base)
    is_outside = np.isneginf(s.log_q) & ~np.isneginf(s.log_p)
    return math.inf if is_outside.any() else _expected_surprise(s.p, s.log_q) / unit


def brier_score(forecast: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Return the mean of (forecast - outcome)**2: 0.0 for a perfect forecast, at most 1.

    forecast: shape (n,), probabilities of the event; outcome: shape (n,), 1 where it came and 0 where not.
    Raises ValueError for bad input. Source: Brier (1950), "Verification of Forecasts Expressed in Terms of Probability"
    (half of his two-class score, as is usual today).
    >>> round(brier_score([0.9, 0.2], [1, 0]), 4)
    0.025
    """
    predicted, came = numbers(forecast, "forecast"), numbers(outcome, "outcome")
    if predicted.shape != came.shape:
        raise ValueError(f"forecast has {len(predicted)} entries and outcome has {len(came)}; give one outcome per forecast")
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError(f"forecast lies within [{predicted.min()}, {predicted.max()}]; probabilities must lie within [0, 1]")
    if not np.isin(came, (0.0, 1.0)).all():
        raise ValueError(f"outcome holds {came[~np.isin(came, (0.0, 1.0))][0]}; it must be 1 where the event came, else 0")
    return math.fsum(np.square(predicted - came).tolist()) / len(came)


def _expected_surprise(weights: FloatArray, logs: FloatArray) -> float:
    added = -weights * np.where(np.isneginf(logs), 0.0, logs)
    return max(math.fsum(added.tolist()), 0.0)
