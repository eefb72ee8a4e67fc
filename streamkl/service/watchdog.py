"""Watchdog: how far we lag behind, and whether a partition stands still though it has records.

A client may lose track of a partition without an error: it is assigned, it has records, and none comes. Reading is then begun anew at the
next offset, and told; where that does not help, it is told again each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from streamkl.errors import Unavailable
from streamkl.service.ports import RecordSource
from streamkl.service.record import Partition
from streamkl.service.shard import Shard
from streamkl.service.telemetry import Telemetry


class Watchdog:
    """Looks every few seconds."""

    def __init__(self, source: RecordSource, telemetry: Telemetry, stall_seconds: float, every_seconds: float, clock: Callable[[], float]) -> None:
        self._source, self._telemetry, self._clock = source, telemetry, clock
        self._stall_seconds, self._every_seconds = stall_seconds, every_seconds
        self._moved_at: dict[Partition, float] = {}
        self._looked_at = clock()

    def moved(self, partition: Partition) -> None:
        """Records of it came."""
        self._moved_at[partition] = self._clock()

    def forget(self, partitions: Sequence[Partition]) -> None:
        """These are not ours any more."""
        for partition in partitions:
            self._moved_at.pop(partition, None)

    def look(self, shards: Mapping[Partition, Shard], is_paused: bool = False) -> None:
        """Measure the lags, if it is time to, and begin anew where a partition stands still. Raises Unavailable."""
        now = self._clock()
        if now - self._looked_at < self._every_seconds:
            return
        self._looked_at = now
        for partition, lag in self._lags().items():
            if shard := shards.get(partition):      # what was taken and is not committed is not processed yet; what is replayed is
                self._telemetry.lag_measured(partition, max(0, lag + shard.next_offset - shard.processed))
            moved_at = self._moved_at.setdefault(partition, now)
            if lag == 0 or is_paused:
                self._moved_at[partition] = now
            elif now - moved_at >= self._stall_seconds and partition in shards:
                self._telemetry.partition_stalled(partition, lag, now - moved_at)
                self._source.start(partition, shards[partition].next_offset)
                self._moved_at[partition] = now

    def _lags(self) -> Mapping[Partition, int]:
        """Return the lags; none where they cannot be had now: that is no reason to stop."""
        try:
            return self._source.lags()
        except Unavailable as error:
            self._telemetry.unavailable("lag", str(error), self._every_seconds)
            for partition in self._moved_at:
                self._moved_at[partition] = self._clock()       # nobody knows whether it stands still
                self._telemetry.lag_measured(partition, math.nan)
            return {}
