"""Recent: the newest raw values of a stream, kept only while a reference is to be learnt from them.

Rule: at most `limit` values are kept, and a category's text is bounded: memory is, too.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from streamkl.sketch.bins import as_float, as_floats
from streamkl.sketch.categories import Category, as_categories, as_category
from streamkl.sketch.reference import Reference

Value = float | Category | None             # numeric: a double, NaN is missing; categorical: a category, None is missing


class Recent:
    """The newest values, oldest first. `present` counts those that are not missing.

    What is older than the limit goes in one piece, when it is as much as what is kept: numbers take 8 to 16 bytes each.
    """

    def __init__(self, kind: str, limit: int) -> None:
        self._kind, self._limit = kind, limit
        self._values: array[float] | list[Value] = array("d") if kind == "numeric" else []
        self.present = 0

    def __len__(self) -> int:
        return min(len(self._values), self._limit)

    def append(self, value: Value) -> None:
        """Keep one value; the oldest one goes where there is no room."""
        values = self._values
        if len(values) >= self._limit:
            self._make_room()
        values.append(value)            # type: ignore[arg-type]
        if value is not None and value == value:
            self.present += 1

    def extend(self, values: npt.NDArray[np.float64] | Sequence[Value]) -> None:
        """Keep many values, as if one by one."""
        newest = values[max(0, len(values) - self._limit):]
        kept = self.newest(max(0, self._limit - len(newest)))
        self.present = _count_present(newest) + (self.present if len(kept) == len(self) else _count_present(kept))
        if isinstance(self._values, array):
            self._values.frombytes(np.asarray(newest, float).tobytes())
        else:
            self._values.extend(newest)
        self._trim()

    def newest(self, count: int) -> npt.NDArray[np.float64] | list[Value]:
        """Return the last `count` values, oldest first; numbers as an array of their own."""
        newest = self._values[max(0, len(self._values) - min(count, self._limit)):] if count > 0 else self._values[:0]
        return np.frombuffer(newest) if isinstance(newest, array) else newest

    def forget(self, count: int) -> None:
        """Forget the newest `count` values; none that was let go comes back."""
        if count > 0:
            del self._values[:max(0, len(self._values) - self._limit)]
            self.present -= _count_present(self._values[-count:])
            del self._values[-count:]

    def usable(self) -> int:
        """Return how many values there are from the first one on that is not missing."""
        return len(self) - self.leading_missing()

    def leading_missing(self) -> int:
        """Return how many of the oldest values, in a row, are missing."""
        values = self.newest(len(self))
        if isinstance(values, np.ndarray):
            present = np.flatnonzero(~np.isnan(values))
            return int(present[0]) if len(present) else len(values)
        return next((i for i, value in enumerate(values) if value is not None), len(values))

    def learn(self, count: int) -> Reference:
        """Return the reference of the last `count` values; raises ValueError where too few of them are not missing."""
        values = self.newest(count)
        return Reference.of_floats(values) if isinstance(values, np.ndarray) else Reference.of_categories(values)      # type: ignore[arg-type]

    def _make_room(self) -> None:
        """Let the oldest value go."""
        oldest = len(self._values) - self._limit
        self.present -= _count_present(self._values[oldest:oldest + 1])
        self._trim()

    def _trim(self) -> None:
        if len(self._values) >= 2 * self._limit:
            del self._values[:len(self._values) - self._limit]


def cleaner(kind: str) -> Callable[[object], Value]:
    """Return what turns one observation into a raw value, or raises TypeError."""
    return as_float if kind == "numeric" else as_category


def cleaned(kind: str, values: Iterable[object] | npt.NDArray[np.generic]) -> npt.NDArray[np.float64] | list[Value]:
    """Return observations as raw values, all of them or none: raises TypeError or ValueError for the first that the kind does not take."""
    return as_floats(values) if kind == "numeric" else list(as_categories(values))


def _count_present(values: npt.NDArray[np.float64] | Sequence[Value]) -> int:
    if isinstance(values, (np.ndarray, array)):
        numbers = np.asarray(values)
        return len(numbers) - int(np.isnan(numbers).sum())
    return len(values) - values.count(None)
