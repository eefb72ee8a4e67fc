"""Categories of a stream, learnt from reference values.

Rule 1: at most 30 categories, each seen at least 10 times, have a bin; then come `other` (rare, unseen) and `missing`.
Rule 2: categories differ by JSON type: 1 and 1.0 are one; True, 1 and "1" are three. NaN is missing.
Rule 3: a category is bounded: text beyond 200 characters is kept as its beginning and a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from streamkl.sketch.bins import LEAST_REFERENCE

Category = str | tuple[str, int | float | bool]         # a text, or a number or boolean with its JSON type

TOP = 30
LEAST_COUNT = 10
LONGEST_TEXT = 200


class CategoricalBins:
    """The kept categories in order of frequency, the counts of the reference, and where a value falls.

    counts: shape (k,), k = kept + 2; the last two are `other` (index `unseen`) and `missing`.
    """

    def __init__(self, kept: Sequence[Category], counts: npt.NDArray[np.float64]) -> None:
        self.kept = tuple(kept)
        self.counts = counts
        self.k = len(self.kept) + 2
        self.unseen, self.missing = self.k - 2, self.k - 1
        self.prior = counts + 0.5                       # Jeffreys
        self.rows = np.arange(self.k, dtype=np.uint8)
        for array in (self.counts, self.prior, self.rows):
            array.setflags(write=False)                 # the kernel reads them as they are
        self._bin_of: dict[Category | None, int] = {category: i for i, category in enumerate(self.kept)}
        self._bin_of[None] = self.missing
        self.bin_of_text = {category: i for category, i in self._bin_of.items() if isinstance(category, str)}

    @classmethod
    def learn(cls, categories: Iterable[Category | None]) -> CategoricalBins:
        """Return the bins of `categories` (None is missing), as spec/evidence.py defines them.

        Raises ValueError with fewer than 100 that are not missing.
        >>> CategoricalBins.learn(as_category(x) for x in ["a"] * 90 + [1] * 20 + [None]).labels()
        ['a', '1', 'other', 'missing']
        """
        return cls.from_tally(Counter(categories))

    @classmethod
    def from_tally(cls, tally: Mapping[Category | None, float]) -> CategoricalBins:
        """Return the bins of counted categories; the key None counts the missing ones."""
        present = {c: n for c, n in tally.items() if c is not None}
        total = sum(present.values())
        if total < LEAST_REFERENCE:
            raise ValueError(f"a reference needs at least {LEAST_REFERENCE} values that are not missing; it has {total:g}: give more of them")
        frequent = (c for c, n in present.items() if n >= LEAST_COUNT)
        kept = sorted(frequent, key=lambda c: (-present[c], str(("string", c) if isinstance(c, str) else c)))[:TOP]
        counts = [present[c] for c in kept]
        return cls(kept, np.array([*counts, total - sum(counts), tally.get(None, 0)], float))

    def find(self, value: object) -> int:
        """Return the bin of one observation; raises TypeError for what is no category."""
        return self._bin_of.get(as_category(value), self.unseen)

    def index(self, categories: Sequence[Category | None]) -> npt.NDArray[np.uint8]:
        """Return the bin of each category, shape (n,)."""
        return np.fromiter(map(self._bin_of.get, categories, repeat(self.unseen)), np.uint8, len(categories))

    def labels(self, groups: npt.NDArray[np.intp] | None = None) -> list[str]:
        """Return a name for each bin; text that could be taken for another name stands in double quotes. Categories are never grouped."""
        return [*map(_label, self.kept), "other", "missing"]


def as_category(value: object) -> Category | None:
    """Return the category of an observation: a text itself, another value with its JSON type; None for None and NaN.

    Raises TypeError for anything but str, int, float, bool and None.
    >>> as_category(True), as_category(1.0) == as_category(1), as_category("1"), as_category(float("nan"))
    (('boolean', True), True, '1', None)
    """
    if isinstance(value, (np.bool_, np.integer, np.floating, np.str_)) and not isinstance(value, np.timedelta64):
        value = value.item()
    if isinstance(value, str):
        return _bounded(str.__str__(value))         # of an Enum too
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, (int, float)):
        return ("number", _number(value)) if value == value else None
    raise TypeError(f"a category is a str, int, float, bool or None, got a {type(value).__name__}; convert it to text")


def as_categories(values: Iterable[object]) -> list[Category | None]:
    """Return the categories of observations, length n; raises TypeError as `as_category` does."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"a text is not a sequence of observations: {values[:40]!r}; pass a list or an array")
    is_plain = isinstance(values, np.ndarray) and values.dtype.kind in "biufUO"
    listed: list[Any] = cast(Any, values).tolist() if is_plain else list(values)        # where a masked array has None
    types = set(map(type, listed))
    if types == {str} and _are_short(listed):
        return cast(list[Category | None], listed)
    if types == {int} and min(listed) >= -(2**63) and max(listed) < 2**63:
        return [("number", value) for value in listed]
    return [as_category(value) for value in listed]


def are_categories(values: Iterable[object]) -> bool:
    """Whether stored values are categories as `as_category` makes them, all different."""
    listed = list(values)
    return len(set(listed)) == len(listed) and all(as_category(c[1] if isinstance(c, tuple) else c) == c and c is not None for c in listed)


def _are_short(texts: list[str]) -> bool:
    """Whether all texts are their own categories: the common case, told without looking at each in Python."""
    return len(max(texts, key=len)) <= LONGEST_TEXT and "".join(texts).isascii()


def _bounded(text: str) -> str:
    if text.isascii() and len(text) <= LONGEST_TEXT:
        return text
    raw = text.encode("utf-8", "backslashreplace")          # lone surrogates have no UTF-8
    text = raw.decode("utf-8")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT // 2]}...#{hashlib.sha256(raw).hexdigest()[:16]}"


def _number(value: int | float) -> int | float:
    """Return the number as stored: whole numbers within 64 bits as int, others as float."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2.0**63 else float(value)
    if -(2**63) <= value < 2**64:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _label(category: Category) -> str:
    if not isinstance(category, str):
        return json.dumps(category[1])
    return json.dumps(category, ensure_ascii=False) if category in ("other", "missing") or _reads_as_json(category) else category


def _reads_as_json(text: str) -> bool:
    if text in ("true", "false"):
        return True
    try:
        return json.dumps(_number(float(text))) == text
    except (ValueError, OverflowError):
        return False
