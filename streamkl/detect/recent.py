"""Recent: the newest raw values of a stream, kept only while a reference is to be learnt from them.

Rule: at most `limit` values are kept, and a category's text is bounded: memory is, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from streamkl.sketch.bins import as_float, as_floats
from streamkl.sketch.categories import Category, as_categories, as_category
from streamkl.sketch.reference import Reference

Value = float | Category | None             # numeric: a double, NaN is missing; categorical: a category, None is missing


class Recent:
    """The newest values, oldest first. `present` counts those that are not missing."""

    def __init__(self, kind: str, limit: int) -> None:
        self._kind = kind
        self._values: deque[Value] = deque(maxlen=limit)
        self.present = 0

    def __len__(self) -> int:
        return len(self._values)

    def append(self, value: Value) -> None:
        """Keep one value; the oldest one goes where there is no room."""
        if len(self._values) == self._values.maxlen:
            self.present -= _count_present((self._values[0],))
        self._values.append(value)
        self.present += _count_present((value,))

    def extend(self, values: npt.NDArray[np.float64] | Sequence[Value]) -> None:
        """Keep many values, as if one by one."""
        limit = self._values.maxlen or 0
        plain = values[-limit:].tolist() if isinstance(values, np.ndarray) else values[-limit:]
        dropped = islice(self._values, max(0, len(self._values) + len(plain) - limit))
        self.present += _count_present(plain) - _count_present(dropped)
        self._values.extend(plain)

    def newest(self, count: int) -> list[Value]:
        """Return the last `count` values, oldest first."""
        return list(islice(self._values, max(0, len(self._values) - count), None))

    def learn(self, count: int) -> Reference:
        """Return the reference of the last `count` values; raises ValueError where too few of them are not missing."""
        return reference_of(self._kind, self.newest(count))


def reference_of(kind: str, values: Sequence[Value]) -> Reference:
    """Return the reference of raw values."""
    return Reference.of_floats(np.array(values, float)) if kind == "numeric" else Reference.of_categories(values)    # type: ignore[arg-type]


def cleaner(kind: str) -> Callable[[object], Value]:
    """Return what turns one observation into a raw value, or raises TypeError."""
    return as_float if kind == "numeric" else as_category


def cleaned(kind: str, values: Iterable[object] | npt.NDArray[np.generic]) -> npt.NDArray[np.float64] | list[Value]:
    """Return observations as raw values, all of them or none: raises TypeError or ValueError for the first that the kind does not take."""
    return as_floats(values) if kind == "numeric" else list(as_categories(values))


def _count_present(values: Iterable[Value]) -> int:
    return sum(value is not None and value == value for value in values)
