"""Ledger: what was taken of each partition and is not dealt with yet, and how far all is.

Rule: a position never passes something that is not dealt with, whatever was dealt with behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from streamkl.service.record import Partition


class Ledger:
    """Positions of partitions.

    >>> ledger, place = Ledger(), Partition("drift", 0)
    >>> for next_offset in (1, 2, 5):
    ...     ledger.take(place, next_offset)
    >>> ledger.done(place, 2); ledger.moved()
    {}
    >>> ledger.done(place, 1); ledger.moved()
    {Partition(topic='drift', number=0): 2}
    """

    def __init__(self) -> None:
        self._open: dict[Partition, deque[int]] = {}
        self._done: dict[Partition, set[int]] = {}
        self._moved: dict[Partition, int] = {}

    def __len__(self) -> int:
        """Return how many were taken and stand in the way."""
        return sum(map(len, self._open.values()))

    def take(self, partition: Partition, next_offset: int) -> None:
        """Note that something was taken; next_offset: where reading goes on behind it, larger than of all before."""
        self._open.setdefault(partition, deque()).append(next_offset)

    def done(self, partition: Partition, next_offset: int) -> None:
        """Note that it is dealt with; nothing happens where the partition was dropped meanwhile."""
        waiting = self._open.get(partition)
        if not waiting or next_offset < waiting[0]:
            return
        done = self._done.setdefault(partition, set())
        done.add(next_offset)
        while waiting and waiting[0] in done:
            self._moved[partition] = waiting.popleft()
            done.remove(self._moved[partition])

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are another's now."""
        for partition in partitions:
            for kept in (self._open, self._done, self._moved):
                kept.pop(partition, None)

    def moved(self) -> dict[Partition, int]:
        """Return the positions that moved and are not settled yet: all that lies below is dealt with."""
        return dict(self._moved)

    def settled(self, positions: Mapping[Partition, int]) -> None:
        """Note that these positions are stored."""
        for partition, position in positions.items():
            if self._moved.get(partition) == position:
                del self._moved[partition]
