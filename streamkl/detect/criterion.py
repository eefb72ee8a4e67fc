"""Criterion: how far a window must be from the reference before an alarm is worth raising.

Rule 1: the criterion never raises on its own: the evidence must have reached the budget too.
Rule 2: a limit says where it comes from; a person can recompute each KL from the counts.
A gauge keeps one window's divergence natively; this file plans the gauges of a stream.
"""

from __future__ import annotations

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


def criterion_gauges(reference: Reference, window: int, min_effect: float | None) -> list[GaugePlan]:
    """Return the gauges of the criterion: KL over merged bins of the windows n, n/4 and n/16 (those of at least 30).

    window: of the stream; n = min(window, m // 4). min_effect: nats. The limit is min_effect plus the bias of each window.
    Without min_effect the longest gauge alone is kept, to tell when an episode is over.
    """
    groups = merged(reference.bins)
    counts = np.bincount(groups, reference.bins.counts).astype(float)
    n = max(1, min(window, int(reference.m) // 4))
    windows = [n] if min_effect is None else [n, *(w for w in (n // 4, n // 16) if w >= LEAST_WINDOW)]
    effect = LEAST_EFFECT if min_effect is None else min_effect
    occupied = int((counts > 0).sum())
    plans = []
    for w in windows:
        limit = effect + (occupied - 1) / MEASURES["kl"] * (1 / w + 1 / reference.m)
        plans.append(_gauge(w, "kl", groups, counts, limit, limit / CALM, 0.0))
    return plans


def threshold_gauge(reference: Reference, window: int, measure: str, raise_at: float, resolve_at: float) -> GaugePlan:
    """Return the gauge of the threshold alarm: the bias-corrected measure of the reporting window over the stream's own bins."""
    bias = (1 / window + 1 / reference.m) / MEASURES[measure]
    return _gauge(window, measure, np.arange(reference.bins.k), reference.bins.counts, raise_at, resolve_at, bias)


def merged(bins: NumericBins | CategoricalBins) -> npt.NDArray[np.intp]:
    """Return the group of each bin, shape (k,): regular bins merged to the nearest of 16 nominal ones, novel and missing kept."""
    if isinstance(bins, CategoricalBins):
        return np.arange(bins.k)
    nominal = nearest(bins.prior[:-2], bin_masses(MERGED, 4))
    used, groups = np.unique(nominal, return_inverse=True)
    return np.concatenate([groups, [len(used), len(used) + 1]])


def _gauge(window: int, measure: str, groups: npt.NDArray[np.intp], counts: Floats, limit: float, calm_limit: float, bias: float) -> GaugePlan:
    k = len(counts)
    share = (counts + 0.5) / (counts.sum() + 0.5 * k)
    bits = 62 - ceil(log2(2 * LARGEST_LOG * (window + k)))
    entropy = _entropy(window, bits)
    log_share = np.rint(np.ldexp(np.log(share), bits)).astype(np.int64)
    return GaugePlan(
        window=window, is_js=measure == "js", group_of=groups.astype(np.uint8), in_reference=(counts > 0).astype(np.uint8),
        share=share, log_share=log_share, entropy=entropy,
        sum_empty=k * int(entropy[0]) - int(log_share.sum()) // 2, scale=2.0**bits, limit=limit, calm_limit=calm_limit, bias_per_group=bias,
    )


@lru_cache(maxsize=64)
def _entropy(window: int, bits: int) -> Integers:
    """Return F(c) = (c + 1/2) log(c + 1/2) for c = 0 .. window + 1, in units of 2^-bits; shared by all streams of one window."""
    halves = np.arange(window + 2) + 0.5
    entropy: Integers = np.rint(np.ldexp(halves * np.log(halves), bits)).astype(np.int64)
    entropy.setflags(write=False)
    return entropy
