"""The simplest worker for tests of the Kafka adapters: it starts what it gains, drops what it loses, and keeps what came.

Rule: it judges every poll: a record of a partition that it does not hold, or an offset out of order, is an assertion at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from streamkl.adapters.kafka_source import KafkaSource
from streamkl.service.record import Arrivals, Partition, Record

SECONDS = 30.0


class SimpleWorker:
    """Polls a source; `begin`: partition -> offset at which it starts, None where it is not there."""

    def __init__(self, source: KafkaSource, begin: Callable[[Partition], int | None] = lambda partition: None) -> None:
        self.source = source
        self.begin = begin
        self.held: dict[Partition, int] = {}
        self.gained: list[Partition] = []
        self.lost: list[Partition] = []
        self.records: list[Record] = []
        self.membership: object = None

    def step(self, timeout_seconds: float = 0.1) -> Arrivals:
        arrivals = self.source.poll(timeout_seconds)
        self.membership = arrivals.membership
        for partition in arrivals.lost:
            del self.held[partition]                                  # an unknown one is a KeyError
            self.lost.append(partition)
        for partition, records in arrivals.runs:
            assert partition in self.held, f"records of {partition}, which is not held"
            assert all(record.offset >= self.held[partition] for record in records), f"{partition} went back"
            assert [record.offset for record in records] == sorted(record.offset for record in records)
            self.held[partition] = records[-1].offset + 1
            self.records += records
        for partition in arrivals.gained:
            offset = self.begin(partition)
            self.source.start(partition, offset)
            self.held[partition] = offset or 0
            self.gained.append(partition)
        return arrivals

    def until(self, is_done: Callable[[SimpleWorker], bool], *others: SimpleWorker, seconds: float = SECONDS) -> None:
        """Step, the others too, until the condition holds."""
        deadline = time.monotonic() + seconds
        while not is_done(self):
            assert time.monotonic() < deadline, f"holds {self.held}, {len(self.records)} records after {seconds} s"
            for worker in (self, *others):
                worker.step()

    def offsets(self) -> Mapping[Partition, int]:
        return dict(self.held)

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]
