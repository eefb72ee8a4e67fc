"""Kafka undelivered: dead letters of a subscription, in a topic: the event as it came, with headers that say why it could not be delivered.

Rule 1: headers behind the event's own: streamkl_reason, streamkl_subscription, streamkl_attempts, streamkl_failed_at (RFC 3339), and where it came
from: streamkl_topic, streamkl_partition, streamkl_offset. What is larger than the topic takes is cut as `kafka_dead_letters.py` says.
Rule 2: where the topic is not there the letter goes to the store, and the command that makes the topic is told; a topic that was asked for
by name must be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_dead_letters import DEFAULT_BYTES, fitting
from streamkl.adapters.kafka_errors import in_our_words
from streamkl.adapters.kafka_topics import OUTPUT_SETTINGS, Topics
from streamkl.errors import ConfigError
from streamkl.service.cloud_events import Message, rfc3339
from streamkl.service.incoming import Undelivered
from streamkl.service.ports import DeadLetters

SEND_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 3.0


class KafkaUndelivered:
    """Keeps dead letters in a topic; meets `service.ports.DeadLetters`. instead: where they go while it is not there; None: that is an error."""

    def __init__(self, settings: Mapping[str, Any], topic: str, instead: DeadLetters | None) -> None:
        self._settings = {
            **settings, "acks": "all", "linger_ms": 0, "delivery_timeout_ms": SEND_SECONDS * 1000, "max_block_ms": SEND_SECONDS * 1000,
            "allow_auto_create_topics": False, "metrics_enabled": False, "max_request_size": 32 << 20,
        }  # fmt: skip
        self._topic = topic
        self._instead = instead
        self._topics = Topics(settings)
        self._producer: Any = None
        self._servers = ",".join(settings["bootstrap_servers"])

    def bury(self, letter: Undelivered) -> tuple[str, str]:
        """See `DeadLetters.bury`. Raises ConfigError where a topic that was asked for is not there."""
        if not self._is_there():
            creation = f"kafka-topics --bootstrap-server {self._servers} --create --topic {self._topic} --partitions 1 {OUTPUT_SETTINGS}"
            if self._instead is None:
                raise ConfigError(f"topic {self._topic} for dead letters is not there, or we have no right to it; create it with: {creation}")
            place, _ = self._instead.bury(letter)
            return place, f"topic {self._topic} is not there, or we have no right to it; create it with: {creation}"
        if self._producer is None:
            self._producer = connected(KafkaProducer, self._settings)
        with in_our_words(f"writing to {self._topic}"):
            key, value, headers = message(letter, self._topics.message_bytes_max(self._topic) or DEFAULT_BYTES)
            self._producer.send(self._topic, key=key, value=value, headers=headers).get(timeout=SEND_SECONDS)
        return f"topic {self._topic}", ""

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        self._topics.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=CLOSE_SECONDS)

    def _is_there(self) -> bool:
        try:
            return self._topic in self._topics.partitions([self._topic])
        except ConfigError:
            if self._instead is None:
                raise
            return False


def message(letter: Undelivered, bytes_max: int = DEFAULT_BYTES) -> Message:
    """Return a dead letter as a message that a topic takes."""
    record = letter.incoming.record
    told = {
        "reason": letter.reason,
        "subscription": letter.group,
        "attempts": str(letter.attempts),
        "failed_at": rfc3339(letter.at) or "",
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
    }
    ours = [(f"streamkl_{name}", text.encode("utf-8", "backslashreplace")) for name, text in told.items()]
    return fitting(record.key, record.value, list(record.headers), ours, bytes_max)
