"""Kafka state: the compacted state topic, read: what the last committed write of each key was.

Rule 1: a partition is read to its end by position: markers of transactions and gaps of compaction are offsets at which no record is.
Rule 2: the end is that of all transactions, open ones too: what lies behind an open one counts, and is waited for until that one has ended.
Rule 3: partition n of every input topic is kept in partition n; a key is the topic's name, a zero byte, and the state's own key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import explained, in_our_words
from streamkl.adapters.kafka_topics import Topics
from streamkl.adapters.kafka_transactions import TIMEOUT_SECONDS
from streamkl.errors import Unavailable
from streamkl.service.record import Partition

FETCH_BYTES = 8 << 20
POLL_SECONDS = 0.2
HANGING_SECONDS = 15.0
"""Beyond its timeout a transaction may hang until the broker looks, every ten seconds."""
POSITION_MS = 1000.0
STALL_SECONDS = TIMEOUT_SECONDS + HANGING_SECONDS
"""Longer than a hanging transaction lasts, and shorter than a worker may be silent before it counts as dead (60 s)."""


class KafkaState:
    """Reads the state topic, and the group's committed offsets. group: only asked for its offsets, never joined."""

    def __init__(self, settings: Mapping[str, Any], topic: str, group: str, stall_seconds: float = STALL_SECONDS) -> None:
        self._settings = {
            **settings,
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "enable_incremental_fetch_sessions": False,
            "max_poll_records": 100_000,
            "fetch_max_wait_ms": 100,
            "fetch_max_bytes": FETCH_BYTES,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "metrics_enabled": False,
        }
        self._topic = topic
        self._group = group
        self._stall_seconds = stall_seconds
        self.topics = Topics(settings)
        self._consumer: Any = None

    def check(self, inputs: Sequence[str], outputs: Sequence[str]) -> int:
        """Return the number of partitions of the state topic; raises where it or another topic of ours is of no use, see `Topics`."""
        self.topics.check_output(outputs)
        return self.topics.check_state(self._topic, inputs)

    def committed(self, partition: Partition) -> int | None:
        """Return the group's offset, None where it has none; an offset of an open transaction is waited for."""
        with in_our_words(f"asking for the offset of {partition} in group {self._group}"):
            offset = self._reader().committed(TopicPartition(*partition), timeout_ms=self._stall_seconds * 1000)
        return None if offset is None or offset < 0 else int(offset)

    def entries(self, partition: Partition) -> dict[bytes, bytes]:
        """Return key -> value as they are committed now, those of this topic."""
        prefix, number = state_key(partition, b""), partition.number
        end, start = self.topics.end(self._topic, number), self.topics.start(self._topic, number)
        entries: dict[bytes, bytes] = {}
        skip = len(prefix)
        for record in self._records(number, start, end):
            key, value = record.key, record.value
            if key is None or not key.startswith(prefix):
                continue
            if value is None:
                entries.pop(key[skip:], None)
            else:
                entries[key[skip:]] = value
        return entries

    def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        self.topics.close()
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=0)
            except KafkaError as error:
                raise explained(error, f"closing the reader of {self._topic}") from error

    def _records(self, number: int, start: int, end: int) -> Any:
        """Yield the committed records of a partition from start to end."""
        if start >= end:
            return
        consumer, place = self._reader(), TopicPartition(self._topic, number)
        with in_our_words(f"restoring from {self._topic}[{number}]"):
            consumer.assign([place])
            consumer.seek(place, start)
            position, moved_at = start, monotonic()
            while position < end:
                yield from consumer.poll(timeout_ms=POLL_SECONDS * 1000).get(place, ())
                before, position = position, consumer.position(place, timeout_ms=POSITION_MS) or position
                if position > before:
                    moved_at = monotonic()
                elif monotonic() - moved_at > self._stall_seconds:
                    raise Unavailable(
                        f"restoring from {self._topic}[{number}]: no progress for {self._stall_seconds:g} s at offset {position} of {end}; "
                        "a transaction of another program may be open; it is tried again"
                    )

    def _reader(self) -> Any:
        if self._consumer is None:
            self._consumer = connected(KafkaConsumer, self._settings)
        return self._consumer


def state_key(partition: Partition, key: bytes) -> bytes:
    """Return the key of an entry in the state topic.

    >>> state_key(Partition("payments", 3), b"EU/amount")
    b'payments\\x00EU/amount'
    """
    return partition.topic.encode() + b"\0" + key
