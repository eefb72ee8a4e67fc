"""Kafka checkpoint: a unit of work is one transaction of drift events, dead letters, readings, state and offsets.

Rule 1: all of a unit stands, or nothing: readers of committed transactions never see a part.
Rule 2: who is no member of the group any more commits nothing: offsets go with the membership of the records, and the broker compares it.
Rule 3: a bad record never stops a unit: a dead letter is made as small as its topic asks, see `kafka_dead_letters`.
Rule 4: who was fenced stops: another process has our place, and may have restored what we would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from kafka import TopicPartition
from kafka.structs import ConsumerGroupMetadata

from streamkl.adapters.kafka_dead_letters import DEFAULT_BYTES, sendable
from streamkl.adapters.kafka_state import HANGING_SECONDS, KafkaState, state_key
from streamkl.adapters.kafka_transactions import REQUEST_BYTES, TIMEOUT_SECONDS, Transactions
from streamkl.detect.event import DriftEvent
from streamkl.errors import StateError, Unavailable
from streamkl.service.cloud_events import Message
from streamkl.service.record import Partition
from streamkl.service.work import Reading, Restored, UnitOfWork

STEPS: Final = ("begin", "events", "dead_letters", "readings", "changes", "flush", "offsets", "commit", "committed")
"""`at_step` is called with each, before the step is done; with the last when the unit stands."""


class Publisher(Protocol):
    """Makes messages; `service.alerts.Alerts` does."""

    def drift_event(self, event: DriftEvent) -> Message: ...

    def reading(self, reading: Reading) -> Message: ...


class KafkaCheckpoint:
    """Commits and restores by Kafka; meets `service.ports.Checkpoint`.

    settings: of `client_settings`. The transactional id is `<application>.<instance>`: two processes of one instance fence each other.
    topics: the input topics. dead_letters_topic, readings_topic: None: not published. at_step: told before each of STEPS; tests crash there.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        application: str,
        instance: str,
        group: str,
        topics: Sequence[str],
        state_topic: str,
        events_topic: str,
        dead_letters_topic: str | None = None,
        readings_topic: str | None = None,
        publisher: Publisher,
        transaction_timeout_seconds: float = TIMEOUT_SECONDS,
        at_step: Callable[[str], None] | None = None,
    ) -> None:
        self._application = application
        self._group = group
        self._topics = list(topics)
        self._state_topic = state_topic
        self._events_topic = events_topic
        self._dead_letters_topic = dead_letters_topic
        self._readings_topic = readings_topic
        self._outputs = [topic for topic in (events_topic, dead_letters_topic, readings_topic) if topic is not None]
        self._publisher = publisher
        self._at_step = at_step or _nothing
        self._transactions = Transactions(settings, f"{application}.{instance}", transaction_timeout_seconds)
        self._state = KafkaState(settings, state_topic, group, transaction_timeout_seconds + HANGING_SECONDS)
        self._partitions = 0
        self._letter_bytes = DEFAULT_BYTES

    def restore(self, partition: Partition) -> Restored:
        """Return the group's offset of a partition and all entries that are committed of it.

        The offset is asked for first: an offset and a state that do not belong together would else be possible while a predecessor still commits.
        Raises ConfigError where the state topic is missing or not compacted, StateError where it has another number of partitions.
        """
        self._transactions.open()
        if partition.number >= self._partitions:
            self._check()
        if partition.number >= self._partitions:
            raise StateError(f"{partition} is kept in partition {partition.number} of {self._state_topic}, which has {self._partitions}; add some")
        offset = self._state.committed(partition)
        return Restored(offset, self._state.entries(partition))

    def commit(self, work: UnitOfWork) -> None:
        """Make all of a unit stand, or nothing of it. Raises Unavailable where it is not known to stand, StateError where we are fenced."""
        group = _membership(work.membership, self._group)
        self._transactions.open()
        stands = False
        try:
            self._write(work, group)
            stands = True
        finally:
            if not stands:
                self._transactions.abandon()
        self._at_step("committed")

    def close(self) -> None:
        """Let go of what is held open."""
        self._transactions.close()
        self._state.close()

    def _check(self) -> None:
        """Look at all topics; ask what the one of the dead letters takes."""
        partitions = self._state.check(self._topics, self._outputs)
        if self._dead_letters_topic is not None:
            self._letter_bytes = min(REQUEST_BYTES, self._state.topics.message_bytes_max(self._dead_letters_topic) or DEFAULT_BYTES)
        self._partitions = partitions

    def _write(self, work: UnitOfWork, group: ConsumerGroupMetadata) -> None:
        at_step, transactions = self._at_step, self._transactions
        at_step("begin")
        transactions.begin()
        at_step("events")
        transactions.send(self._events_topic, map(self._publisher.drift_event, work.events))
        at_step("dead_letters")
        if self._dead_letters_topic is not None:
            letters = (sendable(letter, self._application, self._letter_bytes) for letter in work.dead_letters)
            transactions.send(self._dead_letters_topic, letters)
        at_step("readings")
        if self._readings_topic is not None:
            transactions.send(self._readings_topic, map(self._publisher.reading, work.readings))
        at_step("changes")
        for partition, changes in work.changes.items():
            transactions.send(self._state_topic, _state_messages(partition, changes), partition.number)
        at_step("flush")
        transactions.flush()
        at_step("offsets")
        if work.replay_from:
            transactions.offsets({TopicPartition(*partition): offset for partition, offset in work.replay_from.items()}, group)
        at_step("commit")
        transactions.commit()


def _nothing(step: str) -> None:
    """Do nothing at a step."""


def _membership(membership: object, group: str) -> ConsumerGroupMetadata:
    """Return the membership to commit with. Raises Unavailable where it is none: a broker takes offsets of nobody, and fences nothing then."""
    if not isinstance(membership, ConsumerGroupMetadata) or membership.generation_id < 0 or not membership.member_id:
        raise Unavailable(f"we are no member of group {group} now, so that nothing may be committed; records are read again once we are")
    return membership


def _state_messages(partition: Partition, changes: Mapping[bytes, bytes | None]) -> Iterable[Message]:
    prefix = state_key(partition, b"")
    return (Message(prefix + key, value, []) for key, value in changes.items())
