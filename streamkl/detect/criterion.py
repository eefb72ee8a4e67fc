"""Criterion: how far a window must be from the reference before an alarm is worth raising.

Rule 1: the criterion never raises on its own: the evidence must have reached the budget too.
Rule 2: a limit says where it comes from; a person can recompute each KL from the counts.
A gauge keeps one window's divergence natively; this file plans the gauges of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from streamkl.sketch.bins import NumericBins, bin_masses, nearest
from streamkl.sketch.categories import CategoricalBins
from streamkl.sketch.reference import Reference

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

FACTOR = 1.5                    # a window must be so many times farther than any inside the reference was
CEILING = 1.0                   # nats: natural variability may not demand more than this; a shorter window that does is dropped
CALM = 1.5                      # an episode resolves below limit / CALM
LEAST_EFFECT = 0.05             # nats: what an episode resolves by where no minimum effect is set
LEAST_WINDOW = 30               # shorter criterion windows are dropped
MERGED = 16                     # nominal bins of the criterion: 8 equal and 4 halving tails on each side
LARGEST_LOG = 40.0              # |log q| of any bin is below this
MEASURES = {"kl": 2.0, "js": 8.0}       # measure -> d, where the bias is (k - 1) / d * (1/n + 1/m)


@dataclass(frozen=True)
class GaugePlan:
    """What one gauge of the kernel is made from; gauge.h says what the arrays mean."""

    window: int
    is_js: bool
    group_of: Bytes
    in_reference: Bytes
    share: Floats
    log_share: Integers
    entropy: Integers
    sum_empty: int
    scale: float
    limit: float
    calm_limit: float
    bias_per_group: float
    source: str


def criterion_windows(window: int, m: float) -> list[int]:
    """Return the windows of the criterion beside a reference of m: n = min(window, m // 4), n // 4 and n // 16, the shorter ones of at least 30.

    >>> criterion_windows(1000, 4000), criterion_windows(1000, 600), criterion_windows(50, 600)
    ([1000, 250, 62], [150, 37], [50])
    """
    n = max(1, min(window, int(m) // 4))
    return [n, *(w for w in (n // 4, n // 16) if w >= LEAST_WINDOW)]


def criterion_gauges(reference: Reference, window: int, min_effect: float | None, variability: Sequence[float] | None) -> list[GaugePlan]:
    """Return the gauges of the criterion: KL over merged bins of each of its windows, with its limit.

    window: of the stream. min_effect: nats; None: the longest gauge alone is kept, to tell when an episode is over.
    variability: of each window, see `Study`; None: not known. A shorter window whose limit would exceed the ceiling is dropped.
    """
    groups = merged(reference.bins)
    counts = np.bincount(groups, reference.bins.counts).astype(float)
    windows = criterion_windows(window, reference.m)
    found = [0.0] * len(windows) if variability is None else variability
    bias_per_event = (int((counts > 0).sum()) - 1) / MEASURES["kl"]
    plans = []
    for w, natural in list(zip(windows, found, strict=True))[: 1 if min_effect is None else None]:
        tolerance = (LEAST_EFFECT if min_effect is None else min_effect) + bias_per_event * (1 / w + 1 / reference.m)
        if w == windows[0] or FACTOR * natural <= CEILING:
            limit, source = _limit(FACTOR * natural, tolerance)
            plans.append(_gauge(w, "kl", groups, counts, limit, limit / CALM, 0.0, source))
    return plans


def threshold_gauge(reference: Reference, window: int, measure: str, raise_at: float, resolve_at: float, mean_tau: float) -> GaugePlan:
    """Return the gauge of the threshold alarm: the bias-corrected measure of the reporting window over the stream's own bins.

    mean_tau: autocorrelation time of the bins; the bias is that of window / mean_tau and m / mean_tau observations, as in `Estimate.value`.
    """
    bias = mean_tau * (1 / window + 1 / reference.m) / MEASURES[measure]
    return _gauge(window, measure, np.arange(reference.bins.k), reference.bins.counts, raise_at, resolve_at, bias, "raise_at")


def merged(bins: NumericBins | CategoricalBins) -> npt.NDArray[np.intp]:
    """Return the group of each bin, shape (k,): regular bins merged to the nearest of 16 nominal ones, novel and missing kept."""
    if isinstance(bins, CategoricalBins):
        return np.arange(bins.k)
    nominal = nearest(bins.prior[:-2], bin_masses(MERGED, 4))
    used, groups = np.unique(nominal, return_inverse=True)
    return np.concatenate([groups, [len(used), len(used) + 1]])


def _limit(natural: float, tolerance: float) -> tuple[float, str]:
    """Return what KL must exceed, and where that comes from."""
    if min(natural, CEILING) <= tolerance:
        return tolerance, "min_effect"
    return (CEILING, "ceiling") if natural > CEILING else (natural, "natural variability")


def _gauge(
    window: int, measure: str, groups: npt.NDArray[np.intp], counts: Floats, limit: float, calm_limit: float, bias: float, source: str
) -> GaugePlan:
    k = len(counts)
    share = (counts + 0.5) / (counts.sum() + 0.5 * k)
    bits = 62 - ceil(log2(2 * LARGEST_LOG * (window + k)))
    entropy = _entropy(window, bits)
    log_share = np.rint(np.ldexp(np.log(share), bits)).astype(np.int64)
    return GaugePlan(
        window=window, is_js=measure == "js", group_of=groups.astype(np.uint8), in_reference=(counts > 0).astype(np.uint8),
        share=share, log_share=log_share, entropy=entropy,
        sum_empty=k * int(entropy[0]) - int(log_share.sum()) // 2, scale=2.0**bits, limit=limit, calm_limit=calm_limit, bias_per_group=bias,
        source=source,
    )


@lru_cache(maxsize=64)
def _entropy(window: int, bits: int) -> Integers:
    """Return F(c) = (c + 1/2) log(c + 1/2) for c = 0 .. window + 1, in units of 2^-bits; shared by all streams of one window."""
    halves = np.arange(window + 2) + 0.5
    entropy: Integers = np.rint(np.ldexp(halves * np.log(halves), bits)).astype(np.int64)
    entropy.setflags(write=False)
    return entropy
