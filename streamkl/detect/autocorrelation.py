"""Autocorrelation of a reference: how many of its observations say one new thing.

Rule: what is looked at are the log-likelihood ratios that the experts bet by, so that dependence which no bet can see does not count.
Source: Sokal (1997), "Monte Carlo Methods in Statistical Mechanics": the integrated time with its self-consistent window.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from streamkl.detect.experts import log_ratios
from streamkl.detect.kernel import matches
from streamkl.sketch.bins import NumericBins
from streamkl.sketch.categories import CategoricalBins

Floats = npt.NDArray[np.float64]

WINDOW = 5.0                # Sokal's c: the sum ends at the first lag of at least c times the time so far
DECIMALS = 10               # a transform's last digits decide nothing
MEAN_RANGE = 16             # the mean time looks at lags up to this part of the reference
MOST_LAGS = 1000            # and at so many of them
WEAK = 2.0                  # autocorrelation time up to which the budget about holds: beyond it alarms come many times too often
SEASONAL = 0.5              # an echo above this is no chance
UNCORRELATED = 0.05         # autocorrelation below which two observations count as independent


@dataclass(frozen=True)
class Autocorrelation:
    """tau: integrated autocorrelation time in observations, at least 1. lag: the first at which every column is uncorrelated, at least 1.

    Both are the largest over the columns; where no lag within the range will do, the range itself. mean_tau: the time of the bins on
    average, between 1 and tau: what a divergence's bias grows by, as most directions of change forget faster than the slowest one.
    echo: the largest correlation of a column beyond the lag at which it is first uncorrelated: near 1 where values come back, as with seasons.
    The default is that of independent observations, and of those whose order nobody knows.
    """

    tau: float = 1.0
    lag: int = 1
    mean_tau: float = 1.0
    echo: float = 0.0

    @property
    def is_seasonal(self) -> bool:
        """Whether values come back after they were uncorrelated, so that no stride makes bets independent."""
        return self.echo > SEASONAL

    def is_weak(self, stride: int) -> bool:
        """Whether the budget can hold where every stride-th observation is bet on."""
        return self.tau <= WEAK * stride

    def check(self, m: float) -> None:
        """Raise ValueError unless this can be the autocorrelation of m observations."""
        if not 1.0 <= self.mean_tau <= self.tau <= m or not 1 <= self.lag <= m or not -1e-9 <= self.echo <= 2.0:
            raise ValueError("its autocorrelation is out of range")


def autocorrelation(bins: NumericBins | CategoricalBins, order: npt.NDArray[np.uint8], longest: int) -> Autocorrelation:
    """Return the autocorrelation of observations given as bins in order, shape (m,), looking at lags up to `longest`.

    >>> rising = np.arange(1000.0)
    >>> bins = NumericBins.learn(rising)
    >>> autocorrelation(bins, bins.index(rising), 250).lag, autocorrelation(bins, bins.index(rising * 619 % 1000), 250).lag
    (250, 1)
    """
    times, lags, echoes = [1.0], [1], [0.0]
    for column in _columns(bins).T:
        values = column[order]
        values = values - values.mean()
        if longest >= 1 and (variance := np.mean(values * values)) > 1e-12:
            correlations = _covariances(values, longest) / variance
            times.append(_time(correlations))
            lags.append(_lag(correlations))
            echoes.append(float(correlations[lags[-1]:].max(initial=0.0)))
    tau = max(times)
    return Autocorrelation(tau, max(lags), _mean_time(bins, order, tau), max(echoes))


def _columns(bins: NumericBins | CategoricalBins) -> Floats:
    """Return what is looked at, shape (k, columns): experts' log-likelihood ratios, or which category it is."""
    return log_ratios()[bins.rows] if isinstance(bins, NumericBins) else np.eye(bins.k)


def _mean_time(bins: NumericBins | CategoricalBins, order: npt.NDArray[np.uint8], tau: float) -> float:
    """Return the average of the times of the bins' indicators, each weighed by its part in a chi-square: (1 - q).

    Their covariances at one lag, over q, sum to (how often a bin is met again, over q) - 1.
    """
    m, occupied = len(order), int((bins.counts > 0).sum())
    longest = min(ceil(WINDOW * tau), m // MEAN_RANGE, MOST_LAGS)
    if occupied < 2:
        return 1.0
    weights = np.divide(m, bins.counts, out=np.zeros(bins.k), where=bins.counts > 0)
    met_again = np.array(matches(order, weights, longest)) / m
    expected = 1 - np.arange(1, longest + 1) / m
    return min(max(1.0, 1 + 2 * float((met_again - expected).sum()) / (occupied - 1)), tau)


def _covariances(values: Floats, longest: int) -> Floats:
    """Return the autocovariance of centred values at lags 1 .. longest, shape (longest,)."""
    m = len(values)
    size = _transform_size(m + longest)
    spectrum = np.fft.rfft(values, size)
    return np.asarray(np.fft.irfft(spectrum * spectrum.conj(), size)[1:longest + 1] / m)


def _transform_size(least: int) -> int:
    """Return a size of at least `least` that a Fourier transform is quick with: 4, 5 or 6 times a power of two.

    >>> _transform_size(5000), _transform_size(750)
    (5120, 768)
    """
    power = 1 << max(0, (least - 1).bit_length() - 3)
    return next(size for size in (4 * power, 5 * power, 6 * power, 8 * power) if size >= least)


def _time(correlations: Floats) -> float:
    times = 1 + 2 * np.cumsum(correlations)
    enough = np.flatnonzero(np.arange(1, len(times) + 1) >= WINDOW * times.round(DECIMALS))
    return float(times[enough[0]]) if len(enough) else float(len(times))


def _lag(correlations: Floats) -> int:
    low = np.flatnonzero(correlations.round(DECIMALS) < UNCORRELATED)
    return int(low[0]) + 1 if len(low) else len(correlations)
