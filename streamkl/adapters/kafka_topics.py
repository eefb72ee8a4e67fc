"""Kafka topics: how many partitions a topic has, whether it is compacted, where its partitions end.

Rule: what is asked for is there, or the error holds the command that makes it so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import InvalidTopicError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import explained, in_our_words
from streamkl.errors import ConfigError, StateError, Unavailable

OUTPUT_SETTINGS = "--config max.message.bytes=2097152"
"""Of a topic that is only written; deploy/topics.sh says the same. A dead letter is the record as it came plus headers, so larger than it."""
STATE_SETTINGS = " ".join(
    f"--config {setting}"
    for setting in (
        "cleanup.policy=compact", "segment.bytes=33554432", "segment.ms=3600000", "min.cleanable.dirty.ratio=0.1", "delete.retention.ms=86400000",
        "max.message.bytes=8388608",
    )
)
"""Of the state topic; deploy/topics.sh says the same, and why."""


class Topics:
    """Asks a broker about topics; connects at the first question."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self._admin: Any = None

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return topic -> number of partitions; a topic that is not there is not in it. Raises ConfigError where we have no right to one."""
        with in_our_words(f"looking for {', '.join(topics)}"):
            found = self._client().describe_topics(list(topics))
        counts = {}
        for topic in found:
            name, fault = topic["name"], for_code(topic["error_code"])
            if fault in (TopicAuthorizationFailedError, InvalidTopicError):
                raise explained(fault(name), f"looking for {name}")
            if fault is not UnknownTopicOrPartitionError and topic["partitions"]:
                counts[name] = len(topic["partitions"])
        return counts

    def check_state(self, state: str, inputs: Sequence[str]) -> int:
        """Return the number of partitions of the state topic.

        Raises ConfigError where it is not there or not compacted, StateError where it has not as many partitions as the largest input topic.
        """
        counts = self.partitions([state, *inputs])
        missing = [topic for topic in inputs if topic not in counts]
        if missing:
            raise Unavailable(f"topic {', '.join(missing)} is not there, or we have no right to DESCRIBE it; create it with kafka-topics --create")
        most = max(counts[topic] for topic in inputs)
        if state not in counts:
            raise ConfigError(f"state topic {state} is not there; create it with: {self.creation(state, most, STATE_SETTINGS)}")
        if counts[state] != most:
            largest = next(topic for topic in inputs if counts[topic] == most)
            raise StateError(
                f"state topic {state} has {counts[state]} partitions and {largest} has {most}, but partition n of an input is kept in partition n; "
                f"{self._remedy(state, counts[state], most)}"
            )
        policy = self._setting(state, "cleanup.policy")
        if policy not in (None, "compact"):
            change = f"kafka-configs {self._where} --alter --entity-type topics --entity-name {state} --add-config cleanup.policy=compact"
            raise ConfigError(f"state topic {state} has cleanup.policy={policy}, so that state would be deleted with time; run: {change}")
        return most

    def check_output(self, topics: Sequence[str]) -> None:
        """Raise ConfigError where a topic that we write to is not there."""
        counts = self.partitions(topics)
        for topic in topics:
            if topic not in counts:
                creation = self.creation(topic, 1, OUTPUT_SETTINGS)
                raise ConfigError(f"topic {topic} is not there, or we have no right to it; create it with: {creation}")

    def message_bytes_max(self, topic: str) -> int | None:
        """Return how large a batch of messages may be that the topic takes; None where we have no right to see it."""
        told = self._setting(topic, "max.message.bytes")
        return None if told is None else int(told)

    def end(self, topic: str, partition: int) -> int:
        """Return the offset behind the last record of a partition, of committed transactions or not."""
        place = TopicPartition(topic, partition)
        with in_our_words(f"asking for the end of {topic}[{partition}]"):
            return int(self._client().list_partition_offsets({place: OffsetSpec.LATEST})[place].offset)

    def start(self, topic: str, partition: int) -> int:
        """Return the first offset of a partition that is still there."""
        place = TopicPartition(topic, partition)
        with in_our_words(f"asking for the start of {topic}[{partition}]"):
            return int(self._client().list_partition_offsets({place: OffsetSpec.EARLIEST})[place].offset)

    def close(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    @property
    def _where(self) -> str:
        return f"--bootstrap-server {','.join(self._settings['bootstrap_servers'])}"

    def creation(self, topic: str, partitions: int, settings: str = "") -> str:
        """Return the command that makes a topic."""
        return f"kafka-topics {self._where} --create --topic {topic} --partitions {partitions} {settings}".rstrip()

    def _remedy(self, state: str, have: int, most: int) -> str:
        if have < most:
            return f"add some: kafka-topics {self._where} --alter --topic {state} --partitions {most}"
        return f"make it anew with {most}, or take another name of it; streams are then learnt anew"

    def _setting(self, topic: str, name: str) -> str | None:
        """Return a setting of a topic; None where we have no right to see it, which is no fault."""
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
        with in_our_words(f"looking at the settings of {topic}"):
            told = self._client().describe_configs([wanted], config_filter="all")
        found = told.get("topic", {}).get(topic, {}).get(name)
        return None if found is None or found["value"] is None else str(found["value"])

    def _client(self) -> Any:
        if self._admin is None:
            self._admin = connected(KafkaAdminClient, self._settings)
        return self._admin
