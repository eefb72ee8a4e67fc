"""Reference: the distribution that a stream is compared with: its bins, and how often each was seen.

Rule: a reference never changes; learning anew makes another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamkl.errors import StateError
from streamkl.sketch import blob
from streamkl.sketch.bins import LEAST_REFERENCE, MOST_CELLS, Floats, NumericBins, as_floats
from streamkl.sketch.categories import CategoricalBins, Category, are_categories, as_categories, as_category

VERSION = 1
LARGEST = 1e15              # observations


@dataclass(frozen=True)
class ReferenceState:
    """What is stored of a reference: numeric ones have edges and cells, categorical ones kept categories and counts."""

    kind: str
    is_exact: bool
    edges: bytes
    counts: list[int | float]
    missing: float
    kept: list[str | tuple[str, int | float | bool]]
    order: bytes | None


class Reference:
    """The distribution compared with; make one with `fit` or `from_counts`.

    kind: "numeric" or "categorical". m: observations in it, the missing ones included.
    bins: where values fall, with the counts. is_exact: nothing seen in it contradicts the budget's proof: no value is missing or
    repeated, and each says nothing of the next one. order: shape (m,), the bin of each observation in time, or None: not known, or no
    longer needed.
    """

    def __init__(
        self, kind: str, bins: NumericBins | CategoricalBins, is_exact: bool = False, order: npt.NDArray[np.uint8] | None = None
    ) -> None:
        self.kind, self.bins, self.is_exact, self.order = kind, bins, is_exact, order
        self.m = float(bins.counts.sum())

    @classmethod
    def fit(cls, values: Iterable[object] | npt.NDArray[np.generic], kind: str = "numeric") -> Reference:
        """Learn the reference of `values` (None and NaN are missing).

        Raises ValueError with fewer than 100 values that are not missing or for an unknown kind, TypeError for values that the kind does not take.
        >>> Reference.fit(range(1000)).m
        1000.0
        """
        if kind == "numeric":
            return cls.of_floats(as_floats(values))
        if kind == "categorical":
            return cls.of_categories(as_categories(values))
        raise ValueError(f"kind={kind!r} is unknown; use 'numeric' or 'categorical'")

    @classmethod
    def of_floats(cls, values: Floats) -> Reference:
        """Learn from doubles, shape (n,); NaN is missing."""
        bins = NumericBins.learn(values)
        return cls("numeric", bins, _are_distinct(values) and _are_unordered(values), bins.index(values))

    @classmethod
    def of_categories(cls, categories: Sequence[Category | None]) -> Reference:
        """Learn from categories; None is missing."""
        bins = CategoricalBins.learn(categories)
        return cls("categorical", bins, order=bins.index(categories))

    @classmethod
    def from_counts(cls, edges_or_categories: Sequence[object], counts: Sequence[float], missing: float = 0.0) -> Reference:
        """Return the reference of a histogram that is known already.

        Numeric: inclusive upper edges, increasing, and len(counts) == len(edges) + 1 (the last counts what lies above).
        Categorical: categories, all different, and as many counts. Raises ValueError otherwise, and below 100 observations.
        >>> Reference.from_counts([0.0, 1.0], [50, 100, 50]).bins.labels()
        ['(-inf, 0]', '(0, 1]', '(1, inf)', 'novel', 'missing']
        """
        heads, sizes = list(edges_or_categories), as_floats(counts)
        if not np.isfinite([*sizes, missing]).all() or (sizes < 0).any() or missing < 0:
            raise ValueError("counts and missing must be numbers that are not negative, in one dimension; correct them")
        if sizes.sum() + missing > LARGEST:
            raise ValueError(f"a reference holds at most {LARGEST:g} observations; these counts sum to {sizes.sum() + missing:g}: scale them down")
        if sizes.sum() < LEAST_REFERENCE:
            raise ValueError(f"a reference needs at least {LEAST_REFERENCE} values that are not missing, not {sizes.sum():g}: give more of them")
        if len(sizes) == len(heads) + 1:
            return cls("numeric", NumericBins(_checked_edges(heads), sizes, float(missing)))
        if len(sizes) == len(heads):
            return cls("categorical", _checked_categories(heads, sizes, float(missing)))
        raise ValueError(f"{len(heads)} edges or categories and {len(sizes)} counts do not fit; give one count more than edges, or one per category")

    def merge(self, other: Reference) -> Reference:
        """Return the reference of both sets of observations; associative and commutative.

        Raises ValueError unless both have the same bins: fit one, and count the others over its edges (or categories).
        >>> both = Reference.from_counts([0.0], [60, 60]).merge(Reference.from_counts([0.0], [40, 80]))
        >>> both == Reference.from_counts([0.0], [100, 140])
        True
        """
        ours, theirs = self.bins, other.bins
        if isinstance(ours, NumericBins) and isinstance(theirs, NumericBins) and np.array_equal(ours.edges, theirs.edges):
            return Reference("numeric", NumericBins(ours.edges, ours.cells + theirs.cells, float(ours.counts[-1] + theirs.counts[-1])))
        if isinstance(ours, CategoricalBins) and isinstance(theirs, CategoricalBins) and ours.kept == theirs.kept:
            return Reference("categorical", CategoricalBins(ours.kept, ours.counts + theirs.counts))
        raise ValueError(f"{self!r} and {other!r} do not have the same bins; give both the same edges or categories")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.to_state() == other.to_state()

    def __hash__(self) -> int:
        return hash((self.kind, self.m, self.bins.k))

    def __repr__(self) -> str:
        return f"<Reference: {self.kind}, {self.m:g} observations in {self.bins.k} bins>"

    def to_bytes(self) -> bytes:
        """Return the reference as a blob (versioned, checksummed)."""
        return blob.seal("reference", VERSION, self.to_state())

    @classmethod
    def from_bytes(cls, stored: bytes) -> Reference:
        """Return the reference of a blob; raises StateError where it is damaged, of another kind or of another version."""
        return cls.from_state(blob.unseal("reference", VERSION, stored, ReferenceState))

    def to_state(self) -> ReferenceState:
        """Return plain values from which `from_state` makes the same reference."""
        bins, order = self.bins, None if self.order is None else self.order.tobytes()
        if isinstance(bins, NumericBins):
            return ReferenceState(self.kind, self.is_exact, bins.edges.tobytes(), _short(bins.cells), float(bins.counts[-1]), [], order)
        return ReferenceState(self.kind, self.is_exact, b"", _short(bins.counts), float(bins.counts[-1]), list(bins.kept), order)

    @classmethod
    def from_state(cls, state: ReferenceState) -> Reference:
        """Return the reference of `to_state`; raises StateError where its parts do not fit each other."""
        try:
            counts, edges = np.array(state.counts, float), np.frombuffer(state.edges)
            _check_counts(counts, state.missing)
            bins = _bins_of(state, counts, edges)
            order = None if state.order is None else np.frombuffer(state.order, np.uint8)
            if order is not None and (len(order) != bins.counts.sum() or order.max() >= bins.k):
                raise ValueError("its order is not that of its counts")
        except ValueError as error:
            raise StateError(f"the stored reference is inconsistent: {error}; learn it again") from error
        return cls(state.kind, bins, state.is_exact and state.kind == "numeric", order)

    def without_order(self) -> Reference:
        """Return the same distribution, no longer knowing in which order it was seen."""
        return Reference(self.kind, self.bins, self.is_exact)


def _bins_of(state: ReferenceState, counts: Floats, edges: Floats) -> NumericBins | CategoricalBins:
    if state.kind == "numeric" and len(counts) == len(edges) + 1:
        return NumericBins(_checked_edges(edges), counts, state.missing)
    if state.kind == "categorical" and len(counts) == len(state.kept) + 2 <= 32 and are_categories(state.kept):
        return CategoricalBins(state.kept, counts.copy())
    raise ValueError(f"{len(counts)} counts do not fit a {state.kind} one")


def _short(counts: Floats) -> list[int | float]:
    """Return counts as whole numbers where they are, which are stored in fewer bytes."""
    return [int(count) if count.is_integer() else count for count in counts.tolist()]


def _are_distinct(values: Floats) -> bool:
    return not np.isnan(values).any() and len(np.unique(values)) == len(values)


def _are_unordered(values: Floats) -> bool:
    """Whether the ranks of neighbours are as little correlated as those of independent values, within three standard deviations."""
    m = len(values)
    ranks = np.empty(m)
    ranks[np.argsort(values, kind="stable")] = np.arange(m) - (m - 1) / 2
    return bool(abs(ranks[1:] @ ranks[:-1]) <= 3 / np.sqrt(m) * (ranks @ ranks))


def _check_counts(counts: Floats, missing: float) -> None:
    sizes = np.append(counts, missing)
    if not np.isfinite(sizes).all() or (sizes < 0).any() or not LEAST_REFERENCE <= counts.sum() <= LARGEST or missing > LARGEST:
        raise ValueError("its counts are not numbers of at least 0, or fewer than 100, or too many")


def _checked_edges(edges: Sequence[object] | Floats) -> Floats:
    upper = as_floats(edges)
    if not 1 <= len(upper) < MOST_CELLS - 2:
        raise ValueError(f"a reference has 1 to {MOST_CELLS - 3} edges, got {len(upper)}; merge neighbouring bins")
    if np.isnan(upper).any() or (np.diff(upper) <= 0).any():
        raise ValueError("edges must increase; sort them and drop repeated ones")
    return upper


def _checked_categories(values: Sequence[object], sizes: Floats, missing: float) -> CategoricalBins:
    tally: dict[Category | None, float] = {}
    for value, size in zip(values, sizes, strict=True):
        category = as_category(value)
        if category is None or category in tally:
            raise ValueError(f"category {value!r} is missing or stands twice; give each once, and the missing ones as missing=")
        tally[category] = float(size)
    tally[None] = missing
    return CategoricalBins.from_tally(tally)
