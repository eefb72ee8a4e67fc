"""Kafka command sender: commands to the control topic of an application, for whoever commands.

Rule 1: a command is there for good once `send` returns: all replicas have it, and a retry inside the library does not write it twice.
Rule 2: no topic is made, no group joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_control import checked_topic, command_or_why, reading
from streamkl.adapters.kafka_errors import in_our_words
from streamkl.adapters.kafka_topics import Topics
from streamkl.errors import Unavailable
from streamkl.service.cloud_events import Mode
from streamkl.service.command import Command

SEND_SECONDS: Final = 15.0
READ_SECONDS: Final = 15.0
ASK_MS: Final = 10_000.0
POLL_MS: Final = 200.0
RETRIED: Final = "; it is tried again"


class KafkaSender:
    """Sends commands; meets `service.ports.CommandSender`. settings: of `client_settings`. application: whose topic it is."""

    def __init__(self, settings: Mapping[str, Any], topic: str, application: str, mode: Mode = "binary") -> None:
        self.place = topic
        self._settings, self._topics = dict(settings), Topics(settings)
        self._topic, self._application, self._mode = topic, application, mode
        self._producer: Any = None

    def send(self, command: Command) -> None:
        """Return once it is there for good."""
        key, value, headers = command.message(self._application, self._mode)
        with _once(), in_our_words(f"writing to {self._topic}"):
            producer = self._opened()
            producer.send(self._topic, value=value, key=key, headers=headers, partition=0).get(timeout=SEND_SECONDS)

    def sent_since(self, at: int) -> Sequence[tuple[int, Command]]:
        """Return (when it was sent, the command) of those that were sent since then."""
        with _once(), in_our_words(f"reading {self._topic}"):
            place = checked_topic(self._topics, self._topic)
            consumer: Any = connected(KafkaConsumer, reading(self._settings))
            try:
                consumer.assign([place])
                end = consumer.end_offsets([place], timeout_ms=ASK_MS)[place]
                first = consumer.offsets_for_times({place: max(0, at)}, timeout_ms=ASK_MS).get(place)
                consumer.seek(place, first.offset if first else end)
                return commands_until(consumer, place, end)
            finally:
                with suppress(KafkaError):
                    consumer.close(autocommit=False, timeout_ms=0)

    def close(self) -> None:
        """Disconnect."""
        self._topics.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=0)

    def _opened(self) -> Any:
        if self._producer is None:
            checked_topic(self._topics, self._topic)
            settings = {
                **self._settings, "acks": "all", "delivery_timeout_ms": SEND_SECONDS * 1000, "max_block_ms": SEND_SECONDS * 1000,
                "allow_auto_create_topics": False, "metrics_enabled": False,
            }  # fmt: skip
            settings["request_timeout_ms"] = min(settings["request_timeout_ms"], round(SEND_SECONDS * 500))
            self._producer = connected(KafkaProducer, settings)
        return self._producer


def commands_until(consumer: Any, place: TopicPartition, end: int, seconds: float = READ_SECONDS) -> list[tuple[int, Command]]:
    """Return (when it was sent, the command) of all up to an offset, from where a consumer stands. Raises Unavailable where nothing comes so long."""
    commands: list[tuple[int, Command]] = []
    came_at = monotonic()
    while (consumer.position(place, timeout_ms=ASK_MS) or 0) < end:
        records = consumer.poll(timeout_ms=POLL_MS).get(place, ())
        if records:
            came_at = monotonic()
        elif monotonic() - came_at > seconds:                   # of a broker that is away the library says nothing
            raise Unavailable(f"reading {place.topic}: nothing came for {seconds:g} s, though there is more")
        found = ((record.timestamp, command_or_why(record)) for record in records)
        commands += [(sent_at, command) for sent_at, command in found if isinstance(command, Command)]
    return commands


@contextmanager
def _once() -> Iterator[None]:
    """Nobody tries again but the one who called."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(str(error).removesuffix(RETRIED) + "; try again, or see to the address") from error
