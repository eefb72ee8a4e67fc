"""Bins of a real-valued stream, learnt from reference values.

Rule 1: without repeated values the edges are order statistics of the reference, so that the bet's predictive
probabilities are exact; a value more frequent than 1 in 64 (an atom) gets a bin of its own.
Rule 2: every double has a bin: infinities fall in the outer ones, NaN in `missing`, values between atoms where the
reference has nothing in `novel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NOMINAL = 40                # nominal bins: 24 equal central ones and 8 halving tail bins on each side
TAILS = 8
ATOM = 1 / 64               # a value more frequent than this gets a bin of its own
LEAST_REFERENCE = 100       # values that are not missing
MOST_CELLS = 250            # a bin index is one byte


class NumericBins:
    """Bins with inclusive upper edges, the counts of the reference in them, and where a value falls.

    edges: shape (c - 1,), increasing. cells: shape (c,), reference counts: cell i holds edges[i-1] < x <= edges[i].
    missing: reference observations without a value. Inner cells in which the reference has nothing are one bin, `novel`.
    k: number of bins; the last two are `novel` (index `unseen`) and `missing`.
    """

    def __init__(self, edges: Floats, cells: Floats, missing: float) -> None:
        self.edges, self.cells = edges.copy(), cells.copy()
        gaps = cells.copy()
        gaps[-1] += 1                                   # the gap above the largest reference value
        is_regular = gaps > 0
        is_regular[0] = is_regular[-1] = True
        regular = np.flatnonzero(is_regular)
        self.k = len(regular) + 2
        self.unseen, self.missing = self.k - 2, self.k - 1
        self.bin_of_cell = np.full(len(cells), self.unseen, np.uint8)
        self.bin_of_cell[regular] = np.arange(len(regular))
        self.counts = np.concatenate((cells[regular], (0.0, missing)))
        self.prior = np.concatenate((np.maximum(gaps[regular], 0.5), (0.5, 0.5 + missing)))
        self.rows = np.concatenate((nearest(self.prior[:-2], bin_masses()), (NOMINAL, NOMINAL + 1))).astype(np.uint8)
        self._regular = regular
        for array in (self.edges, self.cells, self.counts, self.prior, self.rows, self.bin_of_cell):
            array.setflags(write=False)                 # the kernel reads them as they are

    @classmethod
    def learn(cls, values: Floats) -> NumericBins:
        """Return the bins of `values` (NaN is missing), as spec/evidence.py defines them.

        Raises ValueError with fewer than 100 values that are not missing.
        >>> bins = NumericBins.learn(np.arange(1000.0))
        >>> bins.k, bins.labels()[0], int(bins.index(np.array([3.0]))[0])
        (34, '(-inf, 4]', 0)
        """
        x = np.sort(values[~np.isnan(values)])
        if len(x) < LEAST_REFERENCE:
            raise ValueError(f"a reference needs at least {LEAST_REFERENCE} values that are not missing; it has {len(x)}: give more of them")
        edges = _edges(x)
        cells = np.bincount(np.searchsorted(edges, x, "left"), minlength=len(edges) + 1).astype(float)
        return cls(edges, cells, float(len(values) - len(x)))

    def index(self, values: Floats) -> npt.NDArray[np.uint8]:
        """Return the bin of each value, shape (n,)."""
        found = self.bin_of_cell[np.searchsorted(self.edges, values, "left")]
        found[np.isnan(values)] = self.missing
        return found

    def labels(self, groups: npt.NDArray[np.intp] | None = None) -> list[str]:
        """Return a name for each bin: `(1, 2]`, `= 3` for an atom, then `novel` and `missing`.

        groups: shape (k,), increasing, which bins are taken together; None: each stands alone. One name for each group.
        """
        with np.errstate(over="ignore"):
            is_value = np.r_[False, self.edges[1:] == np.nextafter(self.edges[:-1], np.inf), False]     # cell i is a single value
        shown = self.edges.copy()
        fences = np.flatnonzero(is_value[1:-1] & ~is_value[:-2])        # the edge just below an atom is shown as the atom
        shown[fences] = self.edges[fences + 1]
        texts = ["-inf", *_texts(shown), "inf"]
        together = np.arange(self.k) if groups is None else groups
        cells = np.split(self._regular, np.flatnonzero(np.diff(together[:-2])) + 1)
        names = []
        for group in cells:
            first, last = int(group[0]), int(group[-1])
            is_open = last + 1 < len(is_value) and bool(is_value[last + 1]) and not is_value[last]
            names.append(_label(texts[first], texts[last + 1], first == last and bool(is_value[first]), is_open))
        return [*names, "novel", "missing"]


@lru_cache(maxsize=8)
def bin_masses(bins: int = NOMINAL, tails: int = TAILS) -> Floats:
    """Return the nominal mass of each bin, shape (bins,): equal in the centre, halving towards both ends, the outermost doubled."""
    halving = 0.5 ** np.arange(1, tails + 1)
    halving[-1] = halving[-2]
    centre = 1.0 / (bins - 2 * tails + 2 * halving.sum())
    masses = np.concatenate([(halving * centre)[::-1], np.full(bins - 2 * tails, centre), halving * centre])
    masses.setflags(write=False)                        # shared by all
    return masses


def nearest(weights: Floats, masses: Floats) -> npt.NDArray[np.intp]:
    """Return, for each weight in order, the nominal bin of `masses` in which the middle of its share lies."""
    shares = weights / weights.sum()
    middle = np.cumsum(shares) - shares / 2
    return np.asarray(np.searchsorted(np.cumsum(masses)[:-1], middle, "left"))


def as_float(value: object) -> float:
    """Return an observation as a double: None is NaN (missing), an integer beyond the doubles is infinite.

    Raises TypeError for text and for what is not a number.
    >>> as_float(None), as_float(3), as_float(10**400), as_float(-10**400)
    (nan, 3.0, inf, -inf)
    """
    if value is None:
        return float("nan")
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"a numeric stream takes numbers, got the text {value[:40]!r}; convert it, or use kind='categorical'")
    if isinstance(value, (complex, np.complexfloating)):
        raise TypeError(f"a numeric stream takes real numbers, got {value!r}; watch its real part or its size")
    try:
        return float(value)                             # type: ignore[arg-type]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")     # type: ignore[operator]
    except (TypeError, ValueError) as error:
        raise TypeError(f"a numeric stream takes numbers, got a {type(value).__name__}; convert it to float") from error


def as_floats(values: Sequence[object] | Iterable[object] | npt.NDArray[np.generic]) -> Floats:
    """Return observations as doubles, shape (n,); None is NaN. Raises TypeError for text, ValueError unless one-dimensional."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"a text is not a sequence of observations: {values[:40]!r}; pass a list or an array")
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        array = np.require(values, np.float64, ["C", "A"])
    else:
        array = np.fromiter(map(as_float, values), np.float64)
    if array.ndim != 1:
        raise ValueError(f"observations must be one-dimensional, got shape {array.shape}; pass one stream at a time")
    return array


def _edges(x: Floats) -> Floats:
    """Return the inclusive upper edges for sorted values x: order statistics at the nominal ranks, atoms fenced in."""
    m = len(x)
    distinct, counts = np.unique(x, return_counts=True)
    atoms = distinct[counts > max(ATOM * m, 3)]
    tails = 8 if m >= 3000 else 4 if m >= 400 else 2         # every bin holds at least one reference gap
    masses = bin_masses(NOMINAL - 2 * (TAILS - tails), tails)
    ranks = np.clip(np.rint(np.cumsum(masses)[:-1] * (m + 1)).astype(int), 1, m)
    if len(distinct) == m:
        _spread(ranks, m)
    plain = np.setdiff1d(x[ranks - 1], atoms)
    with np.errstate(over="ignore"):                         # below an atom at infinity
        return np.unique(np.r_[plain, atoms, np.nextafter(atoms, -np.inf)])


def _spread(ranks: npt.NDArray[np.intp], m: int) -> None:
    """Make the ranks strictly increasing within 1..m, in place, so that no bin is empty."""
    for i in range(1, len(ranks)):
        ranks[i] = max(ranks[i], ranks[i - 1] + 1)
    above = m + 1
    for i in range(len(ranks) - 1, -1, -1):
        above = ranks[i] = min(ranks[i], above - 1)


def _label(lower: str, upper: str, is_value: bool, is_open: bool) -> str:
    return f"= {upper}" if is_value else f"({lower}, {upper}{')' if is_open or upper == 'inf' else ']'}"


def _texts(numbers: Floats) -> list[str]:
    """Return the numbers as text, with the fewest digits (4 or more) that keep different ones apart."""
    apart = len(np.unique(numbers))
    for digits in range(4, 17):
        texts = [f"{x + 0.0:.{digits}g}" for x in numbers]
        if len(set(texts)) == apart:
            return texts
    return [repr(float(x)) for x in numbers]
