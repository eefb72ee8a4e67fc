"""Kafka state reader: what the state topic and the group hold of each partition, read while a service writes it.

Rule: nothing is changed: no transaction is begun, so that nobody is fenced; no group is joined, no offset committed, no topic made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamkl.adapters.kafka_source import check_offset
from streamkl.adapters.kafka_state import KafkaState
from streamkl.adapters.kafka_topics import Topics
from streamkl.service.record import Partition
from streamkl.service.work import Restored

TRIES: Final = 10


class KafkaStateReader:
    """Reads the state of a group. settings: of `client_settings`. topics: the input topics."""

    def __init__(self, settings: Mapping[str, Any], topics: Sequence[str], state_topic: str, group: str) -> None:
        self._topics, self._inputs = Topics(settings), list(topics)
        self._state = KafkaState(settings, state_topic, group)

    def partitions(self) -> list[Partition]:
        """Return the partitions of the input topics.

        Raises ConfigError where the state topic is missing or not compacted, StateError where it has another number of partitions, Unavailable.
        """
        self._state.check(self._inputs, ())
        counts = self._topics.partitions(self._inputs)
        return [Partition(topic, number) for topic in sorted(counts) for number in range(counts[topic])]

    def restore(self, partition: Partition) -> Restored:
        """Return all that is committed of a partition, offset and entries of one moment - or, where a service never rests, the entries alone."""
        offset = self._state.committed(partition)
        for _ in range(TRIES):
            before, entries = offset, self._state.entries(partition)
            offset = self._state.committed(partition)
            if offset == before:
                return Restored(offset, entries)
        return Restored(None, entries)

    def reached(self, partition: Partition, offset: int | None) -> str:
        """Return where an offset lies in the log. Raises StateError where it cannot be read from."""
        first, end = self._topics.start(*partition), self._topics.end(*partition)
        if offset is not None:
            check_offset(partition, offset, first, end)
        return f"the log reaches from {first} to {end}"

    def close(self) -> None:
        """Disconnect."""
        self._topics.close()
        self._state.close()
