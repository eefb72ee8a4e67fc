"""Kafka transactions: one transactional producer whose every step ends in bounded time, and which is usable again after any failure.

What the library (3.0.12) leaves to its caller, and what is therefore done here:

Rule 1: no step waits for ever. The library's own commit, abort and sending of offsets do where the broker is away.
Rule 2: before a commit every message is known to be written. The library commits without those that were given up after their delivery timeout,
and, where a batch lost its sequence while the commit was under way, commits nothing and reports success.
Rule 3: a batch that a topic finds too large is halved and sent again; the library's flush ends with an error meanwhile, and is called again.
Rule 4: fenced after the transaction timed out is not fenced by a successor: the broker itself ends what is open for too long.
Rule 5: a producer that cannot abort is thrown away, with its thread; the next one first ends what the old one left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_errors import FENCED, explained
from streamkl.errors import Unavailable
from streamkl.service.cloud_events import Message

TIMEOUT_SECONDS = 30.0
STEP_SECONDS = 15.0
ABORT_SECONDS = 3.0
BATCH_BYTES = 900_000
"""One batch of a partition; brokers take 1,048,588 bytes by default, and the client sends one at a time for each partition."""
REQUEST_BYTES = 32 << 20
LINGER_SECONDS = 5.0
"""A batch is sent when it is full, or with the flush that ends every unit: never one record at a time."""


class Transactions:
    """A transactional producer. Every method raises Unavailable, or StateError where another process has taken its id."""

    def __init__(self, settings: Mapping[str, Any], transactional_id: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.id = transactional_id
        self._timeout_seconds = timeout_seconds
        self._settings = {
            **settings,
            "request_timeout_ms": min(settings["request_timeout_ms"], round((STEP_SECONDS - LINGER_SECONDS) * 1000)),
            "transactional_id": transactional_id,
            "transaction_timeout_ms": round(timeout_seconds * 1000),
            "acks": "all",
            "batch_size": BATCH_BYTES,
            "linger_ms": LINGER_SECONDS * 1000,
            "max_request_size": REQUEST_BYTES,
            "delivery_timeout_ms": STEP_SECONDS * 1000,
            "max_block_ms": STEP_SECONDS * 1000,
            "retry_backoff_ms": 20,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        self._producer: Any = None
        self._sent: list[tuple[str, Any]] = []    # topic, and what becomes of the message
        self._begun_at = 0.0

    def open(self) -> None:
        """Connect, fence every predecessor of this id, and end what it left open. Does nothing where that is done."""
        if self._producer is not None:
            return
        producer = connected(KafkaProducer, self._settings)
        try:
            producer.init_transactions()
            self._producer, self._begun_at = producer, monotonic()
        except KafkaError as error:
            raise explained(error, f"starting transactions of {self.id}") from error
        finally:
            if self._producer is None:
                _discard(producer)

    def begin(self) -> None:
        """Begin a transaction."""
        with self._step("beginning a transaction"):
            self._begun_at, self._sent = monotonic(), []
            self._producer.begin_transaction()

    def send(self, topic: str, messages: Iterable[Message], partition: int | None = None) -> None:
        """Add messages to the transaction; they are on their way, not there yet. partition: None: by key."""
        with self._step(f"writing to {topic}"):
            send, sent = self._producer.send, self._sent
            for key, value, headers in messages:
                sent.append((topic, send(topic, value=value, key=key, headers=headers, partition=partition)))

    def flush(self) -> None:
        """Return when every message is written."""
        with self._step("writing"):
            sent, self._sent = self._sent, []
            self._flush_all(sent)
        failed = [(topic, future.exception) for topic, future in sent if not future.succeeded()]
        if failed:
            first = self._manager().last_error
            topic, error = next((one for one in failed if type(one[1]) is type(first)), failed[0])
            with self._step(f"writing to {topic}"):
                raise error or KafkaTimeoutError("a message was not written")

    def offsets(self, offsets: Mapping[TopicPartition, int], group: ConsumerGroupMetadata) -> None:
        """Add the group's offsets to the transaction. A group that has gone on to another generation refuses them."""
        with self._step(f"committing offsets of group {group.group_id}"):
            plain = {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}
            self._wait(self._manager().send_offsets_to_transaction(plain, group))

    def commit(self) -> None:
        """Make the transaction stand."""
        with self._step("committing"):
            self._wait(self._manager().begin_commit())

    def abandon(self) -> None:
        """Abort whatever is open; where that fails, throw the producer away. Never raises what the library raises."""
        if self._producer is None:
            return
        self._sent = []
        try:
            self._wait(self._manager().begin_abort(), ABORT_SECONDS)
        except KafkaError:
            self.close()

    def close(self) -> None:
        """Let go of the producer; what is open is left to the next `open` of this id, or to the broker's timeout."""
        producer, self._producer = self._producer, None
        if producer is not None:
            _discard(producer)

    def _flush_all(self, sent: list[tuple[str, Any]]) -> None:
        """Return when nothing is on its way, or time is up."""
        deadline = monotonic() + STEP_SECONDS
        while (left := deadline - monotonic()) > 0:
            try:
                self._producer.flush(timeout=left)
            except UnknownError:
                if self._manager().last_error is not None:
                    raise
            if all(future.is_done for _, future in sent):
                return

    def _manager(self) -> Any:
        """Return the part of the producer whose results can be waited for in bounded time; the producer's own methods wait for ever."""
        return self._producer._transaction_manager

    def _wait(self, result: Any, seconds: float = STEP_SECONDS) -> None:
        self._producer._sender.wakeup()
        if not result.wait(timeout_ms=seconds * 1000):
            raise KafkaTimeoutError(f"no answer within {seconds:g} s")

    @contextmanager
    def _step(self, doing: str) -> Iterator[None]:
        what = f"{doing} as {self.id}"
        if self._producer is None:
            raise Unavailable(f"{what}: not connected; it is tried again")
        try:
            yield
        except KafkaError as error:
            cause = self._cause(error)
            if isinstance(cause, FENCED) and monotonic() - self._begun_at >= self._timeout_seconds:
                raise Unavailable(f"{what}: the transaction took longer than {self._timeout_seconds:g} s and was ended; it is tried again") from error
            raise explained(cause, what) from error

    def _cause(self, error: KafkaError) -> BaseException:
        """Return what first went wrong: later calls only say that something did."""
        first = self._manager().last_error
        return first if isinstance(first, BaseException) else error


def _discard(producer: Any) -> None:
    """End a producer's thread without waiting for what it still wants to send."""
    producer._sender.force_close()
    producer._sender.join(ABORT_SECONDS)
    with suppress(KafkaError):                           # which only says that there was something left to send
        producer.close(timeout=0)
