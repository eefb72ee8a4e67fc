"""Kafka control: the control topic, read beside the service's loop by a thread of its own, which alone waits for the broker.

Rule 1: nobody's group is joined, nothing is committed: how far commands were carried out stands in the state, with what they did.
Rule 2: the topic has one partition: commands have one order. Any other is refused; where there is none it is looked for again now and then.
Rule 3: what is read and not asked for yet is bounded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import in_our_words
from streamkl.adapters.kafka_topics import Topics
from streamkl.errors import ConfigError, RecordError, StreamklError, Unavailable
from streamkl.service.command import Command, command_received
from streamkl.service.ports import CommandBatch

MOST: Final = 500
POLL_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 5.0
ASK_MS: Final = 10_000.0
CLOSE_SECONDS: Final = 3.0
CONTROL_SETTINGS: Final = "--config retention.ms=2592000000"
"""Of the control topic: a command is there for a month; deploy/topics.sh says the same."""


class KafkaCommands:
    """Reads a control topic; meets `service.ports.CommandSource`. settings: of `client_settings`."""

    def __init__(self, settings: Mapping[str, Any], topic: str, retry_seconds: float = RETRY_SECONDS) -> None:
        self._settings = {**reading(settings), "max_poll_records": MOST}
        self._topics, self._topic, self._retry_seconds = Topics(settings), topic, retry_seconds
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._found: deque[tuple[int, Command | str]] = deque()
        self._first = self._next = 0                    # `found` is all there is from `first` up to `next`
        self._end: int | None = None
        self._wanted: int | None = None                 # read from there, please
        self._anew_at: int | None = None                # this offset was asked for, and lies behind the end
        self._error: StreamklError | None = None

    def end(self) -> int | None:
        """Return the offset that the next command will have, as it was last known."""
        self._begin()
        with self._lock:
            self._raise()
            return self._end

    def read(self, offset: int) -> CommandBatch:
        """Return what was read from this offset on; nothing where it has to be read first."""
        self._begin()
        with self._lock:
            self._raise()
            if self._anew_at == offset:
                self._anew_at = None
                return CommandBatch(list(self._found), self._next, True)
            if self._end is None or not self._first <= offset <= self._next:
                self._wanted = offset
                return CommandBatch([], offset)
            while self._found and self._found[0][0] < offset:
                self._found.popleft()
            self._first = offset
            return CommandBatch(list(self._found), self._next)

    def close(self) -> None:
        """Let go of the topic."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="control", daemon=True)
            self._thread.start()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Read until it is closed, whatever happens to the broker."""
        while not self._stop.is_set():
            try:
                self._follow()
            except StreamklError as error:
                with self._lock:
                    self._error, self._end = error, None
                self._stop.wait(self._retry_seconds)
        self._topics.close()

    def _follow(self) -> None:
        place = checked_topic(self._topics, self._topic)
        consumer: Any = connected(KafkaConsumer, self._settings)
        try:
            with in_our_words(f"reading {self._topic}"):
                consumer.assign([place])
                end = consumer.end_offsets([place], timeout_ms=ASK_MS)[place]
                consumer.seek(place, end)
                with self._lock:
                    self._found.clear()
                    self._first = self._next = self._end = end
                    self._error = None
                while not self._stop.is_set():
                    self._go_where_wanted(consumer, place)
                    self._read(consumer, place)
        finally:
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=0)

    def _go_where_wanted(self, consumer: Any, place: TopicPartition) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        first, end = consumer.beginning_offsets([place], timeout_ms=ASK_MS)[place], consumer.end_offsets([place], timeout_ms=ASK_MS)[place]
        is_anew = wanted > end
        start = first if is_anew else max(first, wanted)
        consumer.seek(place, start)
        with self._lock:
            self._found.clear()
            self._first, self._next, self._end = (first if is_anew else wanted), start, end
            self._anew_at = wanted if is_anew else None

    def _read(self, consumer: Any, place: TopicPartition) -> None:
        with self._lock:
            is_full = len(self._found) >= MOST
        if is_full:
            self._stop.wait(POLL_SECONDS)
            return
        try:
            records = consumer.poll(timeout_ms=POLL_SECONDS * 1000).get(place, ())
        except OffsetOutOfRangeError:                   # retention was faster: go on with what is left
            with self._lock:
                self._wanted = self._next
            return
        position = consumer.position(place, timeout_ms=ASK_MS)
        with self._lock:
            self._found.extend((record.offset, command_or_why(record)) for record in records)
            self._next = max(self._next, position or 0)
            self._end = max(self._end or 0, self._next)


def reading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a consumer that is in no group."""
    return {
        **settings, "group_id": None, "enable_auto_commit": False, "auto_offset_reset": "none", "isolation_level": "read_committed",
        "allow_auto_create_topics": False, "enable_incremental_fetch_sessions": False, "metrics_enabled": False,
    }  # fmt: skip


def command_or_why(record: Any) -> Command | str:
    """Return the command of a message, or why it is none."""
    try:
        return command_received(record.value, record.headers)
    except RecordError as error:
        return str(error)


def checked_topic(topics: Topics, topic: str) -> TopicPartition:
    """Return the one partition of a control topic. Raises Unavailable where the topic is not there, ConfigError where it has several."""
    count = topics.partitions([topic]).get(topic)
    if count is None:
        creation = topics.creation(topic, 1, CONTROL_SETTINGS)
        raise Unavailable(f"control topic {topic} is not there, or we have no right to it; create it with: {creation}")
    if count != 1:
        raise ConfigError(f"control topic {topic} has {count} partitions, and commands need one order: make it anew with one, or name another one")
    return TopicPartition(topic, 0)
