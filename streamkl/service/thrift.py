"""Thrift: which sketches are saved when, so that a commit stays short, state stays small beside the input, and a restart need not go far back.

Rule 1: each byte of input earns a share of a byte of state; the row that needs the oldest record is saved first.
Rule 2: a row that needs no record from farther back than `save_after_records` is not saved yet: it would soon have to be saved again.
Rule 3: whatever was earned, no row may need a record from farther back than `replay_records`, or one that was taken longer than `replay_seconds`
ago: the log may not have it any more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from streamkl.service.record import Partition
from streamkl.service.shard import Shard

MOST_EARNED: Final = 1 << 20            # bytes of a partition that may be saved at once, so that a turn of the loop stays short
MOST_OWED: Final = 8 << 20
MARKS: Final = 16


class Thrift:
    """state_share: bytes of sketches per byte of input; infinite: everything is saved at once. The rest: see the rules. clock: seconds.

    Raw values of streams that learn, mature or drift are not counted: each is saved once, and only while there is something to learn.
    """

    def __init__(
        self, state_share: float, replay_records: int, save_after_records: int = 0, replay_seconds: float = math.inf,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._share, self._replay_records, self._save_after_records = state_share, replay_records, save_after_records
        self._ages = Ages(replay_seconds, clock)
        self._earned: dict[Partition, float] = {}

    def earn(self, partition: Partition, size: int) -> None:
        """So many bytes of input were taken."""
        self._earned[partition] = min(self._earned.get(partition, 0.0) + size * self._share, MOST_EARNED)

    def save(self, partition: Partition, shard: Shard) -> int:
        """Save what may and what must be saved; return how many bytes that were."""
        earned, total, is_all = self._earned.get(partition, 0.0), 0, math.isinf(self._share)
        must = shard.next_offset - self._replay_records
        old = self._ages.older(partition, shard.next_offset)
        may = max(shard.next_offset - self._save_after_records, old)
        while is_all or (first := shard.replay_from) < must or (first < old and total < MOST_EARNED) or (first < may and earned > 0):
            saved = shard.save_oldest()
            if saved is None:
                break
            earned -= saved.sketch_bytes
            total += saved.sketch_bytes + saved.value_bytes
        self._earned[partition] = max(earned, -float(MOST_OWED))
        return total

    def save_all(self, shards: Mapping[Partition, Shard], most: int) -> tuple[int, bool]:
        """Save what is not saved, until so many bytes are; return how many, and whether that was all."""
        total = 0
        for shard in shards.values():
            while saved := shard.save_oldest():
                total += saved.sketch_bytes + saved.value_bytes
                if total >= most:
                    return total, False
        return total, True


class Ages:
    """Which offset of each partition was the next one `seconds` ago, to a sixteenth of it.

    >>> times = iter([0.0, 10.0, 159.0, 160.0])
    >>> ages = Ages(160.0, lambda: next(times))
    >>> [ages.older(Partition("t", 0), offset) for offset in (5, 7, 9, 11)]
    [-1, -1, -1, 5]
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._marks: dict[Partition, deque[tuple[float, int]]] = {}

    def older(self, partition: Partition, next_offset: int) -> int:
        """Return the offset below which all was taken longer ago; -1: nothing was. Told the next offset of now."""
        if math.isinf(self._seconds):
            return -1
        now, marks = self._clock(), self._marks.setdefault(partition, deque())
        if not marks or now - marks[-1][0] >= self._seconds / MARKS or next_offset < marks[-1][1]:
            if marks and next_offset < marks[-1][1]:        # it is read anew
                marks.clear()
            marks.append((now, next_offset))
        while len(marks) > 1 and now - marks[1][0] >= self._seconds:
            marks.popleft()
        return marks[0][1] if now - marks[0][0] >= self._seconds else -1
