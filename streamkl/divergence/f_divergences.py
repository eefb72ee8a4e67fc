"""f-divergences: sum of q f(p/q) over the bins, each a pure function of two aligned count vectors.

Rule 1: D(p || q) is 0.0 for equal input and never negative, never NaN; where the formula says so it is inf.
Rule 2: p and q are counts or probabilities of shape (k,); `smoothing` is added to every bin of both, then each is
normalised. Raises ValueError for negative, NaN, infinite, empty, all-zero or unequally long input.
Rule 3: nats, unless `base` says otherwise; a measure without a logarithm takes no base.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streamkl.divergence import bregman
from streamkl.divergence.shares import FloatArray, shares, unit_of_log

TERMS = {
    "kl": bregman.kl_terms,
    "kl_reverse": bregman.kl_reverse_terms,
    "jeffreys": bregman.jeffreys_terms,
    "psi": bregman.jeffreys_terms,
    "js": bregman.js_terms,
    "total_variation": bregman.total_variation_terms,
    "hellinger": bregman.hellinger_terms,
    "chi_square": bregman.chi_square_terms,
}


def terms(p: npt.ArrayLike, q: npt.ArrayLike, measure: str = "kl", smoothing: float = 0.0) -> FloatArray:
    """Return what each bin adds to the measure: shape (k,), never negative, summing to the measure in nats.

    measure: kl, kl_reverse, jeffreys, psi, js, total_variation, chi_square, or hellinger - whose terms sum to the
    *square* of that distance. The terms of kl are p log(p/q) - p + q: a bin that lost mass counts too.
    Raises ValueError for another measure or bad input. Source: Bregman (1967).
    >>> [round(x, 4) for x in terms([9, 1], [5, 5]).tolist()]
    [0.129, 0.2391]
    """
    if measure not in TERMS:
        raise ValueError(f"measure={measure!r} is no sum over bins; choose one of {', '.join(TERMS)}")
    return TERMS[measure](shares(p, q, smoothing))


def kl(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return D(p || q) = sum p log(p/q): 0.0 if equal, never negative, inf where q = 0 < p.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. In nats, or in units of log `base`.
    Raises ValueError for bad input. Source: Kullback & Leibler (1951), "On Information and Sufficiency".
    >>> round(kl([9, 1], [5, 5]), 4)
    0.3681
    """
    return _total(p, q, "kl", smoothing) / unit_of_log(base)


def kl_reverse(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return D(q || p) = sum q log(q/p): 0.0 if equal, never negative, inf where p = 0 < q.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. In nats, or in units of log `base`.
    Raises ValueError for bad input. Source: Kullback & Leibler (1951), "On Information and Sufficiency".
    >>> kl_reverse([9, 1], [5, 5]) == kl([5, 5], [9, 1])
    True
    """
    return _total(p, q, "kl_reverse", smoothing) / unit_of_log(base)


def jeffreys(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return sum (p - q) log(p/q) = kl + kl_reverse: symmetric, inf where one of p, q alone is 0.

    Also exported as `psi`, the population stability index. p, q: shape (k,), counts or probabilities;
    smoothing: pseudo-count per bin. In nats, or in units of log `base`. Raises ValueError for bad input.
    Source: Jeffreys (1946), "An Invariant Form for the Prior Probability in Estimation Problems".
    >>> round(jeffreys([9, 1], [5, 5]), 4)
    0.8789
    """
    return _total(p, q, "jeffreys", smoothing) / unit_of_log(base)


psi = jeffreys


def js(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None, smoothing: float = 0.0) -> float:
    """Return the Jensen-Shannon divergence: symmetric, always finite, at most ln 2 (1 bit), reached without overlap.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. In nats, or in units of log `base`.
    Raises ValueError for bad input. Source: Lin (1991), "Divergence Measures Based on the Shannon Entropy".
    >>> js([1, 1, 0], [0, 1, 1], base=2)
    0.5
    """
    return min(_total(p, q, "js", smoothing), math.log(2)) / unit_of_log(base)


def total_variation(p: npt.ArrayLike, q: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return sum |p - q| / 2: the largest difference in probability of any event, within [0, 1], symmetric.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Levin, Peres & Wilmer (2009), "Markov Chains and Mixing Times", proposition 4.2.
    >>> total_variation([1, 1], [1, 3])
    0.25
    """
    return min(_total(p, q, "total_variation", smoothing), 1.0)


def hellinger(p: npt.ArrayLike, q: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return the Hellinger distance sqrt(sum (sqrt p - sqrt q)**2 / 2): a metric within [0, 1], 1 without overlap.

    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Hellinger (1909), "Neue Begruendung der Theorie quadratischer Formen".
    >>> round(hellinger([9, 1], [5, 5]), 4)
    0.3249
    """
    return math.sqrt(min(_total(p, q, "hellinger", smoothing), 1.0))


def chi_square(p: npt.ArrayLike, q: npt.ArrayLike, *, smoothing: float = 0.0) -> float:
    """Return sum (p - q)**2 / q over shares: 0.0 if equal, never negative, inf where q = 0 < p.

    n times this is Pearson's statistic of n observations p against the known q.
    p, q: shape (k,), counts or probabilities; smoothing: pseudo-count per bin. Raises ValueError for bad input.
    Source: Pearson (1900), "On the Criterion that a Given System of Deviations ...".
    >>> round(chi_square([9, 1], [5, 5]), 4)
    0.64
    """
    return _total(p, q, "chi_square", smoothing)


def f_divergence(p: npt.ArrayLike, q: npt.ArrayLike, f: Callable[[float], float], *, smoothing: float = 0.0) -> float:
    """Return sum q f(p/q): 0.0 if equal, never negative for convex f.

    f: convex on (0, inf) with f(1) = 0, called with one ratio at a time; `math` and numpy functions both do.
    Where q = 0 < p it adds p times the limit of f(t)/t for large t, where p = 0 < q it adds q f(0); where f cannot
    be computed at 0, and at infinity always, the limit is judged numerically. p, q: shape (k,).
    Raises ValueError for bad input, for f(1) != 0 and where f gives NaN.
    Source: Csiszar (1967), "Information-type Measures of Difference of Probability Distributions".
    >>> import math
    >>> round(f_divergence([9, 1], [5, 5], lambda t: t * math.log(t)), 4)
    0.3681
    """
    s = shares(p, q, smoothing)
    at_one = _call(f, 1.0)
    if not abs(at_one) <= 1e-9:
        raise ValueError(f"f(1) is {at_one}; an f-divergence needs f(1) = 0: subtract it from f")
    added = [_f_term(f, *bin_) for bin_ in zip(s.p.tolist(), s.q.tolist(), np.isneginf(s.log_q).tolist(), strict=True)]
    total = bregman.summed(np.array(added))
    return 0.0 if -1e-12 < total < 0 else total


def _total(p: npt.ArrayLike, q: npt.ArrayLike, measure: str, smoothing: float) -> float:
    return bregman.summed(terms(p, q, measure, smoothing))


def _f_term(f: Callable[[float], float], p: float, q: float, is_q_empty: bool) -> float:
    if p == 0.0:
        return q * _at_zero(f) if q > 0.0 else 0.0
    ratio = math.inf if is_q_empty or q == 0.0 else p / q
    if math.isinf(ratio):
        return p * _limit([_call(f, t) / t for t in (1e75, 1e150, 1e300)], "infinity")
    value = _call(f, ratio)
    if math.isnan(value):
        raise ValueError(f"f({ratio}) cannot be computed; f must be a real number at every positive ratio")
    return q * value


def _at_zero(f: Callable[[float], float]) -> float:
    value = _call(f, 0.0)
    return _limit([_call(f, t) for t in (1e-75, 1e-150, 1e-300)], "0") if math.isnan(value) else value


def _limit(values: list[float], where: str) -> float:
    """Return the limit of a monotone sequence taken at doubling exponents: logarithms then grow by doubling steps."""
    first, second, third = values
    if math.isnan(first + second) or math.isnan(third):
        raise ValueError(f"f has no limit at {where} (values {values}); pass smoothing > 0, then it needs none")
    step, last_step = second - first, third - second
    is_settled = abs(last_step) < 0.9 * abs(step) or abs(last_step) <= 1e-12 * abs(third)
    return third if is_settled else math.copysign(math.inf, last_step)


def _call(f: Callable[[float], float], ratio: float) -> float:
    """Return f(ratio), inf beyond the range of floats, NaN where f is not defined."""
    try:
        with np.errstate(all="ignore"):
            return float(f(np.float64(ratio)))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return math.nan
