"""Kafka events: the drift events of a topic, from its beginning, of committed transactions alone.

Rule 1: nobody's group is joined and nothing is committed: whoever reads, the service does not notice.
Rule 2: the end is reached by position: markers of transactions are offsets at which no record is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import in_our_words
from streamkl.adapters.kafka_topics import Topics
from streamkl.detect.event import DriftEvent
from streamkl.errors import RecordError, Unavailable
from streamkl.service.alerts import drift_event
from streamkl.service.cloud_events import received

POLL_SECONDS: Final = 0.2
ASK_MS: Final = 30_000.0     # the library would wait for ever, or for minutes
RETRIED: Final = "; it is tried again"


class KafkaEvents:
    """Reads the drift events of a topic; meets `service.ports.EventReader`. settings: of `client_settings`."""

    def __init__(self, settings: Mapping[str, Any], topic: str) -> None:
        self.name = topic
        self.foreign = 0
        self._settings = {
            **settings,
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            "enable_incremental_fetch_sessions": False,
            "metrics_enabled": False,
        }
        self._topic = topic
        self._topics = Topics(settings)
        self._consumer: Any = None

    def batches(self, is_following: bool) -> Iterator[list[DriftEvent]]:
        """See `EventReader.batches`. Raises ConfigError where the broker refuses us."""
        try:
            yield from self._batches(is_following)
        except Unavailable as error:
            raise Unavailable(str(error).removesuffix(RETRIED) + "; try again, or see to the address") from error

    def close(self) -> None:
        """Disconnect."""
        self._topics.close()
        if self._consumer is not None:
            with suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=0)

    def _batches(self, is_following: bool) -> Iterator[list[DriftEvent]]:
        number = self._topics.partitions([self._topic]).get(self._topic)
        if number is None:
            raise Unavailable(f"topic {self._topic} is not there, or we have no right to DESCRIBE it; see the name, or start the service first")
        places = [TopicPartition(self._topic, partition) for partition in range(number)]
        self._consumer = consumer = connected(KafkaConsumer, self._settings)
        with in_our_words(f"reading {self._topic}"):
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places, timeout_ms=ASK_MS)
            while is_following or any(_position(consumer, place) < ends[place] for place in places):
                runs = consumer.poll(timeout_ms=POLL_SECONDS * 1000)
                yield [event for run in runs.values() for record in run if (event := self._read(record)) is not None]

    def _read(self, record: Any) -> DriftEvent | None:
        try:
            return drift_event(received(record.value, record.headers).data)
        except RecordError:
            self.foreign += 1
            return None


def _position(consumer: Any, place: TopicPartition) -> int:
    """Return the offset that is read next. Raises KafkaTimeoutError where it is not known in time."""
    found = consumer.position(place, timeout_ms=ASK_MS)
    if found is None:
        raise KafkaTimeoutError(f"the position in {place.topic}[{place.partition}] is not known after {ASK_MS / 1000:g} s")
    return int(found)
