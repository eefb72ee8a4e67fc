"""Alarms: what may stand in the place of the rule's evidence (`harness.Alarm`).

Rule: where a choice had to be made, it favours the baselines. Each begins with the (strided) values of the reference already seen, as the
evidence does; its flag stays up until the criterion opens, for as much as one criterion window; river's never see a missing value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from harness import numbers
from numpy.typing import NDArray
from open_data import Stream
from river.drift import KSWIN
from scipy.stats import ks_2samp
from specification.evidence import CategoricalBins, NumericBins
from specification.fast_evidence import FastEvidence

from streamkl.detect.watching import Watching, bins_of
from streamkl.sketch.reference import Reference

JS_WINDOW = 150
JS_BINS = 10                    # of equal share in the reference
BLOCK = 4096                    # rows whose JS is computed together
COIN = 0.002
KNOWN_KS: dict[tuple[int, int, int], object] = {}


class Always:
    """Always up: the criterion alone raises."""

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        pass

    def is_up(self, row: int) -> bool:
        return True

    def raised(self) -> None:
        pass


class OwnEvidence:
    """The rule's own evidence, as the product keeps it."""

    def __init__(self, budget: float) -> None:
        self._budget = budget

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        self._watching = watching

    def is_up(self, row: int) -> bool:
        return self._watching.stride * self._watching.tracker.evidence >= self._budget

    def raised(self) -> None:
        pass


class River:
    """A detector of river, made afresh for each reference and after each episode, fed every stride-th row, or every one.

    memory: values fed that it can use. is_scaled: it is fed z-scores by the reference, for a threshold that has the values' unit.
    """

    def __init__(self, stream: Stream, make: Callable[[], object], memory: int = 10**9, is_strided: bool = True, is_scaled: bool = False) -> None:
        self._values, self._make, self._memory = numbers(stream), make, memory
        self._is_strided, self._is_scaled = is_strided, is_scaled
        self._centre, self._spread, self._last_up = 0.0, 1.0, -1

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        self._stride, self._patience, self._next = watching.stride if self._is_strided else 1, watching.criterion()[0].window, row
        earlier = [self._values[i] for i in learnt]
        if self._is_scaled:
            self._centre, self._spread = float(np.nanmean(earlier)), float(np.nanstd(earlier)) or 1.0
        self._detector = self._make()
        for x in earlier[:: self._stride][-self._memory:]:
            self._feed(x)

    def is_up(self, row: int) -> bool:
        if row == self._next:
            self._next += self._stride
            if self._feed(self._values[row]):
                self._last_up = row + self._patience - 1
        return row <= self._last_up

    def raised(self) -> None:
        self._last_up = -1

    def _feed(self, x: float) -> bool:
        if x == x:
            self._detector.update((x - self._centre) / self._spread)
        return x == x and self._detector.drift_detected


class Coin:
    """Says drift at random, one value in 500, and looks at none: what a wrapped baseline catches as well as this, it does not catch itself."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        self.drift_detected = False

    def update(self, x: float) -> None:
        self.drift_detected = self._random.random() < COIN


def kswin() -> KSWIN:
    return KSWIN(seed=1)


def quick_kswin() -> AbstractContextManager[object]:
    """KSWIN as it is, but several times as fast: samples of one size know few distances, each with one p-value."""
    return patch("river.drift.kswin.stats", SimpleNamespace(ks_2samp=_ks_2samp))


def _ks_2samp(x: list[float], y: list[float], method: str) -> object:
    both = np.concatenate([x, y])
    ranks = [np.searchsorted(np.sort(sample), both, "right") for sample in (x, y)]
    key = len(x), len(y), int(np.abs(ranks[0] * len(y) - ranks[1] * len(x)).max())
    if key not in KNOWN_KS:
        KNOWN_KS[key] = ks_2samp(x, y, method=method)
    return KNOWN_KS[key]


class JsThreshold:
    """JS of the last 150 rows - all of them, no stride - against the reference beyond so many bits."""

    def __init__(self, stream: Stream, bits: float) -> None:
        self._stream, self._bits = stream, bits

        self._last_up = -1

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        self._patience = watching.criterion()[0].window
        self._bins = EqualShares(self._stream, learnt)
        self._from, self._is_beyond = row, np.zeros(0, bool)

    def is_up(self, row: int) -> bool:
        if row >= self._from + len(self._is_beyond):
            self._from, self._is_beyond = row, self._bins.js(row, row + BLOCK) > self._bits
        if self._is_beyond[row - self._from]:
            self._last_up = row + self._patience - 1
        return row <= self._last_up

    def raised(self) -> None:
        self._last_up = -1


class EqualShares:
    """The reference in the rows `learnt` of a stream, in bins as a user would make them: quantiles or categories, then unseen and missing."""

    def __init__(self, stream: Stream, learnt: Sequence[int]) -> None:
        self._stream = stream
        if stream.kind == "numeric":
            values = stream.values[np.array(learnt)]
            self._edges = np.unique(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, JS_BINS + 1)[1:-1]))
            self._k = len(self._edges) + 2
        else:
            self._code = {category: i for i, category in enumerate(sorted({stream.values[row] for row in learnt}))}
            self._k = len(self._code) + 1
        self._shares = np.bincount(self._index(learnt), minlength=self._k) / len(learnt)

    def js(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the JS, in bits, of the window that ends in each row from `first` to before `last`; 0 where it is not full."""
        last = min(last, len(self._stream.values))
        begin = max(0, first - JS_WINDOW + 1)
        counts = np.zeros((last - begin + 1, self._k))
        counts[np.arange(1, last - begin + 1), self._index(range(begin, last))] = 1
        counts = counts.cumsum(axis=0)
        found = _js_bits((counts[JS_WINDOW:] - counts[:-JS_WINDOW]) / JS_WINDOW, self._shares)
        return np.r_[np.zeros(last - first - len(found)), found]

    def _index(self, rows: Sequence[int]) -> NDArray[np.intp]:
        if self._stream.kind == "categorical":
            return np.array([self._code.get(self._stream.values[row], self._k - 1) for row in rows], int)
        values = self._stream.values[np.array(rows)]
        return np.where(np.isnan(values), self._k - 1, np.searchsorted(self._edges, values, "left"))


def js_of_stream(stream: Stream, warmup: int) -> NDArray[np.float64]:
    """Return the JS, in bits, of each window of a stream against its first rows, as it is watched in most places: for ever."""
    shares = EqualShares(stream, range(warmup))
    blocks = [shares.js(first, first + BLOCK) for first in range(warmup, len(stream.values), BLOCK)]
    return np.concatenate([np.zeros(warmup), *blocks])


def _js_bits(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = (p + q) / 2
    return 0.5 * (_relative_bits(p, middle) + _relative_bits(np.broadcast_to(q, p.shape), middle))


def _relative_bits(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    return (p * np.log2(np.divide(p, q, out=np.ones_like(p), where=p > 0))).sum(axis=1)


class SpecifiedEvidence:
    """The evidence of the specification: as it is, it must raise exactly where the product does; or with one of its parts left out."""

    def __init__(self, stream: Stream, budget: float, rolls_back: bool = True, freezes: bool = True) -> None:
        self._stream, self._budget, self._rolls_back, self._freezes = stream, budget, rolls_back, freezes
        self._reference: Reference | None = None

    def begin(self, watching: Watching, learnt: Sequence[int], row: int) -> None:
        if watching.reference is self._reference:
            self._resume()
        else:
            self._reference, self._stride = watching.reference, watching.stride
            self._evidence = FastEvidence(_as_specified(watching.reference), self._budget, watching.stride)
            self._bins, self._first = bins_of(watching.reference, self._stream.values[row:]).tolist(), row
            self._keep()
        self._next, self._fed = row, 0

    def is_up(self, row: int) -> bool:
        evidence = self._evidence
        if row == self._next:
            self._next += self._stride
            if evidence.t >= evidence.refresh_at and evidence.evidence <= 2 * self._fed:
                self._keep()
            b = self._bins[row - self._first]
            evidence.update(b, criterion=False)             # the verdict is the harness's
            self._fed += 1
            if not self._freezes and evidence.evidence >= evidence.budget and evidence.total < evidence.cap:
                evidence.counts[b] += 1
                evidence.total += 1
        return evidence.evidence >= evidence.budget

    def raised(self) -> None:
        """All wealth is gone, and the reference is as it was before the wealth began to rise."""
        evidence = self._evidence
        evidence.wealth[:] = 0.0
        evidence.plug_in = [0.0] * len(evidence.plug_in)
        evidence.evidence = 0.0
        if self._rolls_back:
            evidence.counts, evidence.unseen = list(self._kept[0]), set(self._kept[1])
            evidence.total = sum(evidence.counts)

    def _resume(self) -> None:
        evidence = self._evidence
        evidence.refresh_at = evidence.t
        for ring, counts in zip(evidence.rings, evidence.window_counts, strict=True):
            ring.clear()
            counts[:] = [0] * len(counts)

    def _keep(self) -> None:
        self._kept = list(self._evidence.counts), set(self._evidence.unseen)


def _as_specified(reference: Reference) -> NumericBins | CategoricalBins:
    """Return the product's bins as the specification's; that both are the same is what other tests show."""
    bins = object.__new__(NumericBins if reference.kind == "numeric" else CategoricalBins)
    bins.k, bins.g, bins.rows = reference.bins.k, reference.bins.prior, reference.bins.rows
    return bins
