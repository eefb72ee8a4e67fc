"""Thrift: how many bytes of sketches may be saved, so that a commit stays short and state stays small beside the input.

Rule 1: each byte of input earns a share of a byte of state; the row that needs the oldest record is saved first.
Rule 2: whatever was earned, no row may need a record from farther back than `replay_records`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from streamkl.service.record import Partition
from streamkl.service.shard import Shard

MOST_EARNED = 8 << 20


class Thrift:
    """state_share: bytes of sketches per byte of input; infinite: everything is saved at once. replay_records: see rule 2.

    Raw values of streams that learn, mature or drift are not counted: each is saved once, and only while there is something to learn.
    """

    def __init__(self, state_share: float, replay_records: int) -> None:
        self._share, self._replay_records = state_share, replay_records
        self._earned: dict[Partition, float] = {}

    def earn(self, partition: Partition, size: int) -> None:
        """So many bytes of input were taken."""
        self._earned[partition] = min(self._earned.get(partition, 0.0) + size * self._share, MOST_EARNED)

    def save(self, partition: Partition, shard: Shard) -> int:
        """Save what may and what must be saved; return how many bytes that were."""
        earned, total = self._earned.get(partition, 0.0), 0
        while earned > 0 or math.isinf(self._share) or shard.replay_from < shard.next_offset - self._replay_records:
            saved = shard.save_oldest()
            if saved is None:
                break
            earned -= saved.sketch_bytes
            total += saved.sketch_bytes + saved.value_bytes
        self._earned[partition] = max(earned, -float(MOST_EARNED))
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
