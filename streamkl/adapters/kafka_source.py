"""Kafka source: the records of some topics, as one member of a consumer group.

Rule 1: a rebalance arrives as data, with the poll in which it was settled; `kafka_rebalance.py` keeps it until then.
Rule 2: offsets are the checkpoint's: nothing is committed here, and no position is ever reset - an offset that is gone is an error.
Rule 3: what is handed on as membership is that of a settled group, else the last such: the client shows the next generation before it has said
what was lost, and none at all after it left the group, which a broker takes for no membership, and fences nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Literal

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import MemberState, OffsetAndMetadata

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import explained, in_our_words
from streamkl.adapters.kafka_predecessor import remove_predecessor
from streamkl.adapters.kafka_rebalance import Holdings, Listener, SteadyJoin
from streamkl.errors import StateError, Unavailable
from streamkl.service.record import Arrivals, Partition, Run

OFFSETS_SECONDS = 5.0
LEAVE_SECONDS = 3.0
FETCH_MAX_BYTES = 16 << 20
PARTITION_FETCH_BYTES = 8 << 20
MOVED_ON = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
METADATA_SECONDS = 60.0
"""New partitions of a topic are seen within this time."""


class KafkaSource:
    """Brings the records of its topics; meets `service.ports.RecordSource`.

    settings: of `client_settings`. start_at: where a partition begins of which nothing was ever committed. poll_records_max: records in one poll.
    session_timeout_seconds: silence after which the group gives our partitions away. max_poll_interval_seconds: so long may pass between polls.
    """

    is_replayable = True

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        group: str,
        *,
        instance: str = "",
        start_at: Literal["earliest", "latest"] = "earliest",
        poll_records_max: int = 10_000,
        session_timeout_seconds: float = 30.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> None:
        self._settings = {
            **settings,
            "client_id": f"{settings['client_id']}-{instance}" if instance else settings["client_id"],
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "max_poll_records": poll_records_max,
            "fetch_max_bytes": FETCH_MAX_BYTES,
            "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
            "session_timeout_ms": round(session_timeout_seconds * 1000),
            "heartbeat_interval_ms": round(min(3.0, session_timeout_seconds / 3) * 1000),
            "max_poll_interval_ms": round(max_poll_interval_seconds * 1000),
            "metadata_max_age_ms": round(METADATA_SECONDS * 1000),
            "metrics_enabled": False,
        }
        self._client = dict(settings)
        self._instance = instance
        self._topics = list(topics)
        self._group = group
        self._start_at = start_at
        self._consumer: Any = None
        self._holdings = Holdings()
        self._join: Any = None
        self._started: set[TopicPartition] = set()
        self._membership: object = None

    def poll(self, timeout_seconds: float) -> Arrivals:
        """Return what is there now; wait at most so long for the first record."""
        until = monotonic() + timeout_seconds
        consumer = self._subscribed()
        try:
            with self._join.polling():
                found = consumer.poll(timeout_ms=max(0.0, until - monotonic()) * 1000)
        except OffsetOutOfRangeError as error:
            self._refuse_what_is_gone()
            raise Unavailable(f"reading {self._what()}: {error}; the log has the offset, so it is tried again") from error
        except KafkaError as error:
            raise explained(error, f"reading {self._what()}") from error
        gained, lost = self._holdings.changes()
        self._started -= lost
        membership = consumer.group_metadata()
        if membership.state == MemberState.STABLE:
            self._membership = membership
        runs = [Run(Partition(*place), records) for place, records in found.items()]
        return Arrivals(runs, _ours(gained), _ours(lost), False, self._membership)

    def start(self, partition: Partition, offset: int | None) -> int:
        """Read a gained partition from this offset on, None: from where `start_at` says; return the offset."""
        consumer, place = self._subscribed(), TopicPartition(*partition)
        with in_our_words(f"starting {partition}"):
            first = consumer.beginning_offsets([place], timeout_ms=OFFSETS_SECONDS * 1000)[place]
            end = consumer.end_offsets([place], timeout_ms=OFFSETS_SECONDS * 1000)[place]
        if offset is None:
            offset = first if self._start_at == "earliest" else end
        check_offset(partition, offset, first, end)
        consumer.seek(place, offset)
        _resume(consumer, [place])
        self._started.add(place)
        return offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Bring no records of these until `resume`; polls go on, so that the group keeps us."""
        self._subscribed().pause(*self._held(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Bring records of these again."""
        _resume(self._subscribed(), self._held(partitions))

    def lags(self) -> Mapping[Partition, int]:
        """Return how many offsets lie between what was handed out and the end, of each partition that was started."""
        places = sorted(self._started)
        if not places:
            return {}
        consumer = self._subscribed()
        with in_our_words(f"asking for the ends of {self._what()}"):
            ends = consumer.end_offsets(places, timeout_ms=OFFSETS_SECONDS * 1000)
            return {Partition(*place): max(0, ends[place] - consumer.position(place)) for place in places}

    def committed(self, partition: Partition) -> int | None:
        """Return the group's offset of a partition; None where nothing was ever committed."""
        with in_our_words(f"asking for the offset of group {self._group}"):
            found = self._subscribed().committed(TopicPartition(*partition), timeout_ms=OFFSETS_SECONDS * 1000)
        return None if found is None or found < 0 else int(found)

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit offsets of the group; return whether they stand: not where the group goes on without us, which the next poll tells."""
        if self._consumer is None:
            return False
        plain = {TopicPartition(*partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        try:
            self._consumer.commit(plain, timeout_ms=OFFSETS_SECONDS * 1000)
        except MOVED_ON:
            return False
        except KafkaError as error:
            raise explained(error, f"committing offsets of group {self._group}") from error
        return True

    def close(self) -> None:
        """Leave the group, at once; what was handed out and not committed comes again to whoever is next."""
        consumer, self._consumer = self._consumer, None
        self._started.clear()
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=LEAVE_SECONDS * 1000)
            except KafkaError as error:
                raise explained(error, f"leaving group {self._group}") from error

    def _subscribed(self) -> Any:
        """Return the consumer; the first call connects and subscribes."""
        if self._consumer is None:
            if self._instance:
                remove_predecessor(self._client, self._group, self._settings["client_id"])
            settings = {**self._settings, "partition_assignment_strategy": [StickyPartitionAssignor()]}
            consumer = connected(KafkaConsumer, settings)
            try:
                self._check_topics(consumer)
                consumer.subscribe(topics=self._topics, listener=Listener(consumer, self._holdings))
                self._join, self._consumer = SteadyJoin(consumer), consumer
            finally:
                if self._consumer is None:
                    consumer.close(autocommit=False, timeout_ms=0)
        return self._consumer

    def _check_topics(self, consumer: Any) -> None:
        with in_our_words(f"looking for {', '.join(self._topics)}"):
            missing = [topic for topic in self._topics if not consumer.partitions_for_topic(topic)]
        if missing:
            raise Unavailable(
                f"topic {', '.join(missing)} is not on {', '.join(self._settings['bootstrap_servers'])}, or we have no right to DESCRIBE it; "
                f"create it with: kafka-topics --create --topic {missing[0]} --partitions 6"
            )

    def _refuse_what_is_gone(self) -> None:
        """Raise StateError where a position is not in the log; after a change of leader a broker may say so for a moment of one that is."""
        places = sorted(self._started)
        with in_our_words(f"reading {self._what()}"):
            firsts = self._consumer.beginning_offsets(places, timeout_ms=OFFSETS_SECONDS * 1000)
            ends = self._consumer.end_offsets(places, timeout_ms=OFFSETS_SECONDS * 1000)
            for place in places:
                check_offset(Partition(*place), self._consumer.position(place), firsts[place], ends[place])

    def _held(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        return [place for place in (TopicPartition(*partition) for partition in partitions) if place in self._started]

    def _what(self) -> str:
        return f"{', '.join(self._topics)} as group {self._group}"


def _resume(consumer: Any, places: Sequence[TopicPartition]) -> None:
    """Resume, and have fetched anew what lay ready: the library (3.0.12) brings what it parked only once another partition has records again.

    A position is that of what was handed out, so that nothing is lost or repeated.
    """
    for parked in ("_paused_partition_records", "_paused_completed_fetches"):
        for place in places:
            getattr(consumer._fetcher, parked, {}).pop(place, None)
    consumer.resume(*places)


def _ours(places: set[TopicPartition]) -> list[Partition]:
    return [Partition(*place) for place in sorted(places)]


def check_offset(partition: Partition, offset: int, first: int, end: int) -> None:
    """Raise StateError unless the log has this offset, or ends there."""
    if offset < first:
        raise StateError(
            f"{partition}: reading goes on at offset {offset}, but the log begins at {first}: {first - offset} records were deleted by retention "
            "before they were read; raise retention.ms of the topic, and to go on without them discard the state: streamkl run --discard-state '*'"
        )
    if offset > end:
        raise StateError(
            f"{partition}: reading goes on at offset {offset}, but the log ends at {end}: the topic was made anew, or has lost records; "
            "restore it, or discard the state: streamkl run --discard-state '*'"
        )
