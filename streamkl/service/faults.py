"""Faults: bad rows and values by reason, each with its count, its first line and an example.

Rule 1: a fault is counted, never fatal; `--strict` is the caller's decision.
Rule 2: memory is bounded: reasons are few (they never contain a value) and an example is at most 40 characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streamkl.service.batch import Reject

EXAMPLE_LENGTH = 40


class Fault(NamedTuple):
    """All faults of one reason."""

    reason: str
    number: int
    first_line: int
    example: str


class Faults:
    """Counts faults by reason.

    >>> faults = Faults()
    >>> faults.add([Reject(7, "not a number", "12ms"), Reject(9, "not a number", "x")])
    >>> list(faults)
    [Fault(reason='not a number', number=2, first_line=7, example='12ms')]
    """

    def __init__(self) -> None:
        self._by_reason: dict[str, Fault] = {}

    def add(self, rejects: Iterable[Reject]) -> None:
        """Count these; lines may come in any order."""
        for line, reason, example in rejects:
            known = self._by_reason.get(reason)
            if known is None:
                self._by_reason[reason] = Fault(reason, 1, line, _shortened(example))
            elif line < known.first_line:
                self._by_reason[reason] = Fault(reason, known.number + 1, line, _shortened(example))
            else:
                self._by_reason[reason] = known._replace(number=known.number + 1)

    def __iter__(self) -> Iterator[Fault]:
        """Yield them by first line."""
        return iter(sorted(self._by_reason.values(), key=lambda fault: fault.first_line))

    def __len__(self) -> int:
        return len(self._by_reason)


def _shortened(example: str) -> str:
    return example if len(example) <= EXAMPLE_LENGTH else example[: EXAMPLE_LENGTH - 3] + "..."
