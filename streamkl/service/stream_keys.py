"""Stream keys: which rows of a batch belong to which key.

Rule 1: a row without a key (empty, null, absent) belongs to no stream: it is a fault, and left out.
Rule 2: the number of keys is bounded; rows of further keys are counted as a fault that says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamkl.service.batch import Reject

KEY_LENGTH = 1000


class StreamKeys:
    """Groups rows by key; the keys are numbered in order of appearance, and so bounded.

    >>> StreamKeys("k", 2).groups(["b", "a", "b", ""], [2, 3, 4, 5])
    ({'b': array([0, 2]), 'a': array([1])}, [Reject(line=5, reason='column k: no key', example='')])
    """

    def __init__(self, column: str, keys_max: int) -> None:
        self._column = column
        self._keys_max = keys_max
        self._known: set[str] = set()

    def groups(self, fields: Sequence[object], lines: Sequence[int]) -> tuple[dict[str, NDArray[np.intp]], list[Reject]]:
        """Return key -> its rows in order, and the faults of the rows that have no usable key."""
        keys = fields if set(map(type, fields)) == {str} else list(map(key_of, fields))
        distinct = list(dict.fromkeys(keys))
        number_of = {key: number for number, key in enumerate(distinct)}
        numbers = np.fromiter(map(number_of.__getitem__, keys), np.intp, len(keys))
        rows = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
        groups: dict[str, NDArray[np.intp]] = {}
        rejects: list[Reject] = []
        for key, rows_of_key in zip(map(str, distinct), rows, strict=True):
            reason = self._fault(key)
            if reason:
                rejects += [Reject(lines[row], f"column {self._column}: {reason}", key) for row in rows_of_key.tolist()]
            else:
                self._known.add(key)
                groups[key] = rows_of_key
        return groups, rejects

    def _fault(self, key: str) -> str | None:
        if key in self._known:
            return None
        if not key:
            return "no key"
        if len(key) > KEY_LENGTH:
            return f"key longer than {KEY_LENGTH} characters"
        if len(self._known) >= self._keys_max:
            return f"more than {self._keys_max} keys, the rows of further ones are left out; watch a coarser --key"
        return None


def key_of(field: object) -> str:
    """Return a key as text; an object or a list is no key.

    >>> [key_of(field) for field in ("EU", 1, 1.0, 1.5, True, None, [1])]
    ['EU', '1', '1', '1.5', 'true', '', '']
    """
    if isinstance(field, str):
        return field
    if isinstance(field, bool):
        return "true" if field else "false"
    if isinstance(field, float) and field.is_integer():
        return format(field, ".0f")
    return str(field) if isinstance(field, int | float) else ""
