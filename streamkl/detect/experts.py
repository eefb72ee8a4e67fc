"""Experts: the fixed bets against a reference, and the stake that one stream starts with.

Rule: the table of likelihood ratios is made once per process and shared by all streams; a stream holds only its rows.
Source: tests/specification/evidence.py is the meaning; "Shiryaev-Roberts e-detectors", Shin, Ramdas & Rinaldo (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamkl.sketch.bins import NOMINAL, NumericBins, bin_masses
from streamkl.sketch.categories import CategoricalBins

Floats = npt.NDArray[np.float64]

PLUG_IN_SHARE = 0.25                # prior of the histogram's own bets, the rest is the experts'
THETAS = (0.12, 0.30, 0.75)         # tilts, in standard units
DIRECTION_PRIOR = (4, 2, 1, 1)      # location, scale, skewness, kurtosis
TAIL_MASSES = (0.01, 0.001)
TAIL_ODDS = (4.0, 20.0)
CATEGORY_ODDS = (0.25, 0.5, 0.75, 1.33, 2.0, 4.0, 8.0)
CLIP = 2.8                          # normal scores beyond count as this
CACHE_LINE = 64                     # bytes
LANES = 8                           # experts are padded to a multiple of it


@dataclass(frozen=True)
class Stake:
    """What the evidence of one stream starts from.

    table: (rows, experts) likelihood ratios. prior: (experts,) with 1 - PLUG_IN_SHARE folded in. rows: (k,) row of each bin.
    counts: (k,) Polya counts of the reference. is_unseen: whether novel/other and missing were never met. budget: A / stride.
    """

    table: Floats
    prior: Floats
    rows: npt.NDArray[np.uint8]
    counts: Floats
    is_unseen: tuple[bool, bool]
    budget: float


def stake(bins: NumericBins | CategoricalBins, budget: float, stride: int) -> Stake:
    """Return the stake of a stream with these bins; `budget` in events per false alarm, of which every stride-th is bet on."""
    table, prior = numeric_table() if isinstance(bins, NumericBins) else categorical_table(bins.k)
    counts = bins.prior
    if stride > 1:                  # edges from all observations, the weight of one in `stride`
        counts = np.maximum(counts / stride, np.r_[np.full(bins.k - 2, 1e-3), 0.5, 0.5])
    return Stake(table, prior, bins.rows, counts, (bool(bins.prior[-2] == 0.5), bool(bins.prior[-1] == 0.5)), budget / stride)


@lru_cache(maxsize=1)
def numeric_table() -> tuple[Floats, Floats]:
    """Return the table of every real-valued stream: 42 rows (40 nominal bins, novel, missing), 40 experts; and the prior."""
    masses = bin_masses()
    bets, prior = _directions(masses)
    rare = [*_tails(masses), *_extras()]
    bets += rare
    prior += [1.0 / len(rare)] * len(rare)
    return _padded(np.array(bets).T, np.array(prior))


@lru_cache(maxsize=1)
def log_ratios() -> Floats:
    """Return the log-likelihood ratios of every third numeric expert, shape (42 rows, 14): the others bet on the same, up to a factor."""
    table, prior = numeric_table()
    logs: Floats = np.log(table[:, prior > 0][:, ::3])
    logs.setflags(write=False)
    return logs


@lru_cache(maxsize=32)
def categorical_table(k: int) -> tuple[Floats, Floats]:
    """Return the table of categorical streams with k bins: one expert for each bin and odds ratio, all of equal prior."""
    odds = len(CATEGORY_ODDS)
    table = np.ones((k, odds * k))
    for c in range(k):
        table[c, odds * c:odds * (c + 1)] = CATEGORY_ODDS
    return _padded(table, np.ones(odds * k))


def _directions(masses: Floats) -> tuple[list[Floats], list[float]]:
    """Tilts of the reference along location, scale, skewness and kurtosis, both ways; and their prior."""
    bets, prior = [], []
    for direction, weight in zip(_polynomials(masses, len(DIRECTION_PRIOR)).T, DIRECTION_PRIOR, strict=True):
        for theta in THETAS:
            for sign in (1.0, -1.0):
                tilt = np.exp(sign * theta * direction)
                bets.append(np.r_[tilt / (masses * tilt).sum(), 1.0, 1.0])
                prior.append(weight / (2 * len(THETAS)))
    return bets, prior


def _tails(masses: Floats) -> list[Floats]:
    """More of the low tail, of the high one, of both."""
    upper = np.cumsum(masses)
    bets = []
    for mass in TAIL_MASSES:
        low, high = upper <= mass * 1.3, 1 - (upper - masses) <= mass * 1.3
        bets += [np.r_[np.where(tail, odds, 1.0), 1.0, 1.0] for tail in (low, high, low | high) for odds in TAIL_ODDS]
    return bets


def _extras() -> list[Floats]:
    """More novel values, more missing ones."""
    bets = []
    for extra in (NOMINAL, NOMINAL + 1):
        for odds in TAIL_ODDS:
            bet = np.ones(NOMINAL + 2)
            bet[extra] = odds
            bets.append(bet)
    return bets


def _polynomials(masses: Floats, count: int) -> Floats:
    """Return polynomials of the bins' mean normal score, orthonormal under masses, shape (bins, count)."""
    scores = np.clip(_normal_scores(masses), -CLIP, CLIP)
    found: list[Floats] = []
    for power in np.vander(scores, count + 1, increasing=True).T:
        rest = power.copy()
        for earlier in found:
            rest -= (masses * rest * earlier).sum() * earlier
        found.append(rest / np.sqrt((masses * rest * rest).sum()))
    return np.array(found[1:]).T


def _normal_scores(masses: Floats) -> Floats:
    """Return E[Z | bin] of a standard normal cut into bins of these masses, shape (bins,)."""
    from statistics import NormalDist  # only where the table is made: importing streamkl stays quick

    normal = NormalDist()
    inner = np.cumsum(masses)[:-1]
    density = np.r_[0.0, [normal.pdf(normal.inv_cdf(p)) for p in inner], 0.0]
    return np.asarray((density[:-1] - density[1:]) / masses)


def _padded(table: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Pad the experts with ones of prior 0 (they never hold wealth) and fold the experts' share into the prior."""
    rows, experts = table.shape
    padded = _aligned((rows, -(-experts // LANES) * LANES), 1.0)
    padded[:, :experts] = table
    shares = _aligned((padded.shape[1],), 0.0)
    shares[:experts] = (1 - PLUG_IN_SHARE) * prior / prior.sum()
    padded.setflags(write=False)
    shares.setflags(write=False)
    return padded, shares


def _aligned(shape: tuple[int, ...], value: float) -> Floats:
    """Return an array that begins with a line of the cache: eight doubles are then read in one piece."""
    size = int(np.prod(shape))
    room = np.full(size + CACHE_LINE // 8, value)
    start = -room.__array_interface__["data"][0] % CACHE_LINE // 8
    return room[start:start + size].reshape(shape)
