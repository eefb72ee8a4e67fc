"""Shares: two aligned count vectors as probabilities, with their difference and their logarithms.

Rule 1: bad input is refused here, once, with the values in the message; what leaves this file holds no NaN.
Rule 2: `difference` is p - q in twice the working precision, so that nearly equal p and q keep their digits.
Rule 3: nothing over- or underflows unseen: totals are taken after scaling by a power of two, and a share too
small for a float still has its logarithm. A logarithm of -inf means: the count is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEAST_NORMAL = float(np.finfo(np.float64).tiny)
SPLITTER = 134217729.0  # 2**27 + 1, Dekker (1971): cuts a float into two halves whose products are exact


@dataclass(frozen=True, slots=True)
class Shares:
    """p, q, their logarithms and p - q: each of shape (k,)."""

    p: FloatArray
    q: FloatArray
    log_p: FloatArray
    log_q: FloatArray
    difference: FloatArray

    def swapped(self) -> Shares:
        return Shares(self.q, self.p, self.log_q, self.log_p, -self.difference)


@dataclass(frozen=True, slots=True)
class Side:
    """One count vector: total == (total_high + total_low) * 2**exponent, scaled == counts / 2**exponent."""

    scaled: FloatArray
    exponent: int
    total_high: float
    total_low: float
    share: FloatArray
    log_share: FloatArray

    def per_observation(self) -> float:
        """Return 1 / total; 0.0 where the total is beyond the range of a float."""
        return math.ldexp(1.0 / self.total_high, -self.exponent) if self.exponent > -1000 else math.inf


def numbers(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return values as finite floats of shape (k,), k >= 1. Raises ValueError otherwise."""
    raw = np.asarray(values)
    if raw.ndim != 1 or raw.size == 0:
        raise ValueError(f"{name} has shape {raw.shape}; it must be one-dimensional and not empty: pass one number per bin")
    if raw.dtype.kind not in "biufO":
        raise ValueError(f"{name} holds {raw.dtype} values such as {raw[0]!r}; pass real numbers")
    try:
        with np.errstate(over="ignore"):
            array = raw.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} holds a value that is no float ({error}); pass real numbers") from error
    faulty = np.flatnonzero(~np.isfinite(array))
    if faulty.size:
        raise ValueError(f"{name}[{faulty[0]}] is {raw[faulty[0]]}; every value must be finite: remove or count such values apart")
    return array


def counts(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return values as non-negative floats of shape (k,); they may be all zero. Raises ValueError otherwise."""
    array = numbers(values, name)
    negative = np.flatnonzero(array < 0)
    if negative.size:
        raise ValueError(f"{name}[{negative[0]}] is {array[negative[0]]}; counts and probabilities cannot be negative: check how it was counted")
    return array


def aligned(p: npt.ArrayLike, q: npt.ArrayLike, names: tuple[str, str] = ("p", "q")) -> tuple[FloatArray, FloatArray]:
    """Return both count vectors as floats of one shape (k,). Raises ValueError otherwise."""
    a, b = counts(p, names[0]), counts(q, names[1])
    if a.shape != b.shape:
        raise ValueError(f"{names[0]} has {len(a)} bins and {names[1]} has {len(b)}; count both over the same bins")
    return a, b


def side(values: FloatArray, name: str, smoothing: float = 0.0) -> Side:
    """Return the count vector scaled, with its total and shares. Raises ValueError if it is all zero."""
    if not values.any():
        raise ValueError(f"all {len(values)} bins of {name} are zero, so it has no shares; wait for observations or leave this comparison out")
    smooth = _smoothed(values, smoothing)
    _, exponent = math.frexp(float(smooth.max()))
    scaled = np.ldexp(smooth, -exponent)
    items = scaled.tolist()
    high = math.fsum(items)
    low = math.fsum([*items, -high])
    share = scaled / high
    return Side(scaled, exponent, high, low, share, _log_share(smooth, scaled, share, math.log(high) + exponent * math.log(2)))


def shares(p: npt.ArrayLike, q: npt.ArrayLike, smoothing: float = 0.0) -> Shares:
    """Return both count vectors as shares, `smoothing` added to every bin of both first. Raises ValueError for bad input."""
    pseudo_count = checked_smoothing(smoothing)
    a, b = aligned(p, q)
    one, two = side(a, "p", pseudo_count), side(b, "q", pseudo_count)
    return Shares(one.share, two.share, one.log_share, two.log_share, _difference(one, two))


def checked_smoothing(smoothing: float) -> float:
    """Return smoothing. Raises ValueError unless it is finite and not negative."""
    if not (math.isfinite(smoothing) and smoothing >= 0):
        raise ValueError(f"smoothing={smoothing} must be a finite pseudo-count >= 0; 0.5 is the usual one")
    return float(smoothing)


def unit_of_log(base: float | None) -> float:
    """Return ln(base), 1.0 without a base: divide nats by it. Raises ValueError unless base is a finite number > 1."""
    if base is None:
        return 1.0
    if not (math.isfinite(base) and base > 1):
        raise ValueError(f"base={base} must be a finite number above 1: 2 for bits, None for nats")
    return math.log(base)


def _smoothed(values: FloatArray, smoothing: float) -> FloatArray:
    if math.isinf(float(values.max()) + smoothing):
        return values / 2 + smoothing / 2  # only shares matter, and every bin is far from underflow here
    return values + smoothing


def _log_share(smooth: FloatArray, scaled: FloatArray, share: FloatArray, log_total: float) -> FloatArray:
    with np.errstate(divide="ignore"):
        log_share = np.where(share >= LEAST_NORMAL, np.log(share), np.log(smooth) - log_total)
    top = int(np.argmax(scaled))
    rest = math.fsum(np.delete(scaled, top).tolist())
    log_share[top] = -math.log1p(rest / float(scaled[top]))  # log(share) would lose a rest below 1e-16
    return log_share


def _difference(one: Side, two: Side) -> FloatArray:
    """Return p - q = (a B - b A) / (A B), products and totals in twice the working precision."""
    left, left_low = _product(one.scaled, two.total_high)
    right, right_low = _product(two.scaled, one.total_high)
    low = (left_low - right_low) + (one.scaled * two.total_low - two.scaled * one.total_low)
    difference: FloatArray = ((left - right) + low) / (one.total_high * two.total_high)
    return difference


def _product(x: FloatArray, y: float) -> tuple[FloatArray, FloatArray]:
    """Return x * y and its rounding error, after Dekker (1971)."""
    product = x * y
    x_high = SPLITTER * x - (SPLITTER * x - x)
    y_high = SPLITTER * y - (SPLITTER * y - y)
    x_low, y_low = x - x_high, y - y_high
    return product, x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)
