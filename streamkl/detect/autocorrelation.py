"""Autocorrelation of a reference: how many of its observations say one new thing.

Rule: what is looked at are the log-likelihood ratios that the experts bet by, so that dependence which no bet can see does not count.
Source: Sokal (1997), "Monte Carlo Methods in Statistical Mechanics": the integrated time with its self-consistent window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamkl.detect.experts import log_ratios
from streamkl.sketch.bins import NumericBins
from streamkl.sketch.categories import CategoricalBins

Floats = npt.NDArray[np.float64]

WINDOW = 5.0                # Sokal's c: the sum ends at the first lag of at least c times the time so far
WEAK = 2.0                  # autocorrelation time up to which the budget about holds: beyond it alarms come many times too often
UNCORRELATED = 0.05         # autocorrelation below which two observations count as independent


@dataclass(frozen=True)
class Autocorrelation:
    """tau: integrated autocorrelation time in observations, at least 1. lag: the first at which every column is uncorrelated, at least 1.

    Both are the largest over the columns; where no lag within the range will do, the range itself. The default is that of independent
    observations, and of those whose order nobody knows.
    """

    tau: float = 1.0
    lag: int = 1

    def is_weak(self, stride: int) -> bool:
        """Whether the budget can hold where every stride-th observation is bet on."""
        return self.tau <= WEAK * stride


def autocorrelation(bins: NumericBins | CategoricalBins, order: npt.NDArray[np.uint8], longest: int) -> Autocorrelation:
    """Return the autocorrelation of observations given as bins in order, shape (m,), looking at lags up to `longest`.

    >>> rising = np.arange(1000.0)
    >>> bins = NumericBins.learn(rising)
    >>> autocorrelation(bins, bins.index(rising), 250).lag, autocorrelation(bins, bins.index(rising * 619 % 1000), 250).lag
    (250, 1)
    """
    columns = _columns(bins)[order]
    columns = columns - columns.mean(axis=0)
    variances = np.mean(columns * columns, axis=0)
    moving = variances > 1e-12
    if not moving.any() or longest < 1:
        return Autocorrelation()
    correlations = _correlations(columns[:, moving], longest) / variances[moving]
    return Autocorrelation(max(1.0, float(_times(correlations).max())), int(_lags(correlations).max()))


def _columns(bins: NumericBins | CategoricalBins) -> Floats:
    """Return what is looked at, shape (k, columns): experts' log-likelihood ratios, or which category it is."""
    return log_ratios()[bins.rows] if isinstance(bins, NumericBins) else np.eye(bins.k)


def _correlations(columns: Floats, longest: int) -> Floats:
    """Return the autocovariance of each column at lags 1 .. longest, shape (longest, columns)."""
    m = len(columns)
    size = 1 << (2 * m - 1).bit_length()
    spectrum = np.fft.rfft(columns, size, axis=0)
    covariances = np.fft.irfft(spectrum * spectrum.conj(), size, axis=0)
    return np.asarray(covariances[1:longest + 1] / m)


def _times(correlations: Floats) -> Floats:
    longest = len(correlations)
    times = 1 + 2 * np.cumsum(correlations, axis=0)
    is_enough = np.arange(1, longest + 1)[:, None] >= WINDOW * times
    first = np.argmax(is_enough, axis=0)
    found = times[first, np.arange(times.shape[1])]
    return np.where(is_enough.any(axis=0), found, float(longest))


def _lags(correlations: Floats) -> npt.NDArray[np.intp]:
    is_low = correlations < UNCORRELATED
    return np.where(is_low.any(axis=0), np.argmax(is_low, axis=0) + 1, len(correlations))
