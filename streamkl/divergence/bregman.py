"""Bregman terms: what each bin adds to a divergence, in nats where there is a logarithm.

Rule 1: a term is never negative and never NaN, and is 0.0 where p equals q; the terms sum to the divergence.
For KL it is p log(p/q) - p + q: the linear part sums to zero and makes each term a distance of its own.
Rule 2: near p = q a term comes from a series in u = (p - q) / (p + q), else from the logarithms: no digits cancel.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamkl.divergence.shares import LEAST_NORMAL, FloatArray, Shares

BoolArray = npt.NDArray[np.bool_]

NEAR = 1 / 3  # |u| up to here, that is p/q within [1/2, 2], is left to the series
ORDERS = np.arange(1, 20)  # NEAR ** (2 * 19) < 1e-18
ATANH = 1 / (2 * ORDERS + 1)  # (atanh(u) - u) / u**3 in powers of u**2
ENTROPY = 1 / (ORDERS * (2 * ORDERS - 1))  # ((1+u) log(1+u) + (1-u) log(1-u)) / u**2 in powers of u**2


def summed(terms: FloatArray) -> float:
    """Return the sum, rounded once, so that the order of the bins cannot matter; inf beyond the range of floats."""
    try:
        return math.fsum(terms.tolist())
    except OverflowError:
        return math.inf


def kl_terms(s: Shares) -> FloatArray:
    """p log(p/q) - p + q; inf where q = 0 < p."""
    u, total = _contrast(s), s.p + s.q
    near = total * u * u * (1 + (1 + u) * u * _series(ATANH, u))
    with np.errstate(invalid="ignore"):
        far = s.p * (s.log_p - s.log_q) - s.difference
    terms = np.where(np.abs(u) <= NEAR, near, far)
    terms = np.where(np.isneginf(s.log_p), s.q, terms)
    return np.maximum(np.where(_is_outside(s), np.inf, terms), 0.0)


def kl_reverse_terms(s: Shares) -> FloatArray:
    """q log(q/p) - q + p; inf where p = 0 < q."""
    return kl_terms(s.swapped())


def jeffreys_terms(s: Shares) -> FloatArray:
    """(p - q) log(p/q); inf where one of them alone is 0."""
    with np.errstate(invalid="ignore"):
        terms = s.difference * log_ratio(s)
    is_one_sided = _is_outside(s) | _is_outside(s.swapped())
    return np.maximum(np.where(is_one_sided, np.inf, terms), 0.0)


def js_terms(s: Shares) -> FloatArray:
    """(p log(p/m) + q log(q/m)) / 2 with m = (p + q) / 2."""
    u, total = _contrast(s), s.p + s.q
    near = total / 4 * u * u * _series(ENTROPY, u)
    far = (_share_of_log(s.p, total) + _share_of_log(s.q, total)) / 2
    return np.maximum(np.where(np.abs(u) <= NEAR, near, far), 0.0)


def total_variation_terms(s: Shares) -> FloatArray:
    """|p - q| / 2."""
    return np.abs(s.difference) / 2


def hellinger_terms(s: Shares) -> FloatArray:
    """(sqrt p - sqrt q)**2 / 2: these sum to the square of the Hellinger distance."""
    roots = np.sqrt(s.p) + np.sqrt(s.q)
    contrast: FloatArray = np.divide(s.difference, roots, out=np.zeros_like(roots), where=roots > 0)
    return np.square(contrast) / 2


def chi_square_terms(s: Shares) -> FloatArray:
    """(p - q)**2 / q; inf where q = 0 < p."""
    with np.errstate(all="ignore"):
        terms = s.difference * (s.difference / s.q)
        tiny = np.exp(2 * s.log_p - s.log_q)  # q near or below the range of a float: p - q is p
    terms = np.where(s.q >= LEAST_NORMAL, terms, tiny)
    terms = np.where(np.isneginf(s.log_p) | (s.difference == 0), s.q * (s.difference != 0), terms)
    return np.where(_is_outside(s), np.inf, terms)


def log_ratio(s: Shares) -> FloatArray:
    """log(p/q) with full relative precision near p = q; 0.0 where both are 0, else -inf or inf where one is."""
    u = _contrast(s)
    near = np.abs(u) <= NEAR
    with np.errstate(invalid="ignore"):
        far = s.log_p - s.log_q
    is_empty = np.isneginf(s.log_p) & np.isneginf(s.log_q)
    return np.where(is_empty, 0.0, np.where(near, 2 * np.arctanh(np.where(near, u, 0.0)), far))


def _contrast(s: Shares) -> FloatArray:
    """u = (p - q) / (p + q) within [-1, 1]. Below the normal range of floats u has no digits: 1 sends it to the logarithms."""
    total = s.p + s.q
    u = np.divide(s.difference, total, out=np.ones_like(total), where=total >= LEAST_NORMAL)
    return np.clip(u, -1.0, 1.0)


def _is_outside(s: Shares) -> BoolArray:
    """Where q = 0 < p, told by the logarithms: a share may round to zero though its count is not."""
    return np.isneginf(s.log_q) & ~np.isneginf(s.log_p)


def _series(coefficients: FloatArray, u: FloatArray) -> FloatArray:
    """Sum of coefficients[i] * u**(2i)."""
    square = np.minimum(u * u, NEAR * NEAR)
    total = np.full_like(u, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total


def _share_of_log(share: FloatArray, total: FloatArray) -> FloatArray:
    """share * log(2 share / total); 0.0 where share is 0."""
    is_positive = share > 0
    return share * np.log(np.divide(2 * share, total, out=np.ones_like(share), where=is_positive))
