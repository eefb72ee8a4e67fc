"""Thrift: which sketches are saved when, so that a commit stays short, state stays small beside the input, and a restart need not go far back.

Rule 1: each byte of input earns a share of a byte of state; the row that needs the oldest record is saved first.
Rule 2: a row that needs no record from farther back than `save_after_records` is not saved yet: it would soon have to be saved again.
Rule 3: whatever was earned, no row may need a record from farther back than `replay_records`, or one that is older than `replay_seconds`
by its timestamp: the log may not have it any more.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from streamkl.service.record import Partition
from streamkl.service.shard import Shard

MOST_EARNED: Final = 1 << 20            # bytes of a partition that may be saved at once, so that a turn of the loop stays short
MOST_FOR_AGE: Final = 1 << 17           # the same, of what is saved for its age alone
MOST_OWED: Final = 8 << 20
MARKS: Final = 16


class Thrift:
    """state_share: bytes of sketches per byte of input; infinite: everything is saved at once. The rest: see the rules. clock: wall time in ms.

    Raw values of streams that learn, mature or drift are not counted: each is saved once, and only while there is something to learn.
    """

    def __init__(
        self, state_share: float, replay_records: int, save_after_records: int = 0, replay_seconds: float = math.inf,
        clock: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self._share, self._replay_records, self._save_after_records = state_share, replay_records, save_after_records
        self._ages = Ages(replay_seconds, clock)
        self._earned: dict[Partition, float] = {}

    def earn(self, partition: Partition, size: int, next_offset: int = 0, at_ms: int | None = None) -> None:
        """So many bytes of input were taken, records below next_offset, the newest of this time (ms UTC; None: they have none)."""
        self._earned[partition] = min(self._earned.get(partition, 0.0) + size * self._share, MOST_EARNED)
        self._ages.note(partition, next_offset, at_ms)

    def forget(self, partition: Partition) -> None:
        """The partition is read anew, or another's."""
        self._earned.pop(partition, None)
        self._ages.forget(partition)

    def save(self, partition: Partition, shard: Shard) -> int:
        """Save what may and what must be saved, some of all where that is asked for; return how many bytes that were."""
        if shard.is_repeated:
            return self.save_all({partition: shard}, MOST_EARNED)[0]
        earned, total, is_all = self._earned.get(partition, 0.0), 0, math.isinf(self._share)
        must = shard.next_offset - self._replay_records             # a row that needs an older record is saved whatever it costs,
        old = self._ages.older(partition)                           # one that needs one that retention may take a few in each turn,
        may = max(shard.next_offset - self._save_after_records, old)    # and one that needs an older one than this where it was earned
        while (
            is_all or (first := shard.replay_from) < must or (first < old and total < MOST_FOR_AGE) or (first < may and earned > 0)
        ):
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
    """Below which offset all records of a partition are older than so many seconds, by their own timestamps, to a sixteenth of it.

    Retention goes by these, too, and a restart changes nothing in them. clock: wall time in ms; records without a time have no age.

    >>> ages = Ages(160.0, lambda: 1_000_000)
    >>> for offset, at_ms in ((5, 800_000), (7, 835_000), (9, 990_000)):
    ...     ages.note(Partition("t", 0), offset, at_ms)
    >>> ages.older(Partition("t", 0))
    7
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._ms, self._clock = seconds * 1000, clock
        self._marks: dict[Partition, deque[tuple[float, int]]] = {}
        self._older: dict[Partition, int] = {}

    def note(self, partition: Partition, next_offset: int, at_ms: int | None) -> None:
        """Records below this offset were taken, the newest of this time."""
        marks = self._marks.setdefault(partition, deque())
        if at_ms is not None and at_ms >= 0 and (not marks or at_ms - marks[-1][0] >= self._ms / MARKS):
            marks.append((at_ms, next_offset))

    def older(self, partition: Partition) -> int:
        """Return the offset below which all are older; -1: it is not known of any."""
        marks, oldest = self._marks.get(partition, ()), self._clock() - self._ms
        while marks and marks[0][0] <= oldest:
            self._older[partition] = marks.popleft()[1]
        return self._older.get(partition, -1)

    def forget(self, partition: Partition) -> None:
        """It is read anew, or another's."""
        self._marks.pop(partition, None)
        self._older.pop(partition, None)
