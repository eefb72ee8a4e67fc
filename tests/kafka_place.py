"""A place for a Kafka checkpoint: the topics and the group of one application, units of work to commit there, and whatever was made for it."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from broker import unique
from kafka.structs import ConsumerGroupMetadata
from kafka_worker import SimpleWorker

from streamkl.adapters.kafka_checkpoint import KafkaCheckpoint
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_source import KafkaSource
from streamkl.detect.event import DriftEvent
from streamkl.divergence import Estimate
from streamkl.errors import StreamklError
from streamkl.service.alerts import Alerts
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.work import DeadLetter, Reading, UnitOfWork

if TYPE_CHECKING:
    from broker import Broker

ESTIMATE = Estimate(0.2, 0.1, 0.3, 0.25, "nats")


class Place:
    """Topics and a group of one application, and the checkpoints that were made for it."""

    def __init__(self, broker: Broker, partitions: int = 2) -> None:
        self.broker = broker
        self.application = unique("app")
        self.input = broker.topic("input", partitions)
        self.state = broker.topic("state", partitions, is_compacted=True)
        self.events, self.letters, self.readings = (broker.topic(hint) for hint in ("drift", "dead-letters", "divergence"))
        self.group = unique("group")
        self.member: tuple[Any, ...] | None = None
        self.made: list[Any] = []

    def checkpoint(self, instance: str = "one", **settings: Any) -> KafkaCheckpoint:
        given = {
            "application": self.application, "instance": instance, "group": self.group, "topics": [self.input], "state_topic": self.state,
            "events_topic": self.events, "dead_letters_topic": self.letters, "readings_topic": self.readings, "publisher": Alerts(self.application),
        }
        self.made.append(KafkaCheckpoint(client_settings(self.broker.bootstrap.split(",")), **{**given, **settings}))
        return self.made[-1]

    def source(self, **settings: Any) -> KafkaSource:
        quick = {"session_timeout_seconds": 6.0, **settings}
        self.made.append(KafkaSource(client_settings(self.broker.bootstrap.split(",")), [self.input], self.group, **quick))
        return self.made[-1]

    def membership(self) -> ConsumerGroupMetadata:
        """What the group says of a member that stays in it; the first call joins."""
        if self.member is None:
            worker = SimpleWorker(self.source())
            worker.until(lambda w: len(w.held) > 0 and w.membership is not None)
            assert isinstance(worker.membership, ConsumerGroupMetadata)
            self.member = tuple(worker.membership)
        return ConsumerGroupMetadata(*self.member)

    def leave(self) -> None:
        """Let the group be empty."""
        self.member = None
        for one in self.made:
            if isinstance(one, KafkaSource):
                one.close()

    def seen(self) -> list[int]:
        """How many messages readers of committed transactions see: drift events, dead letters, readings, state."""
        return [len(self.broker.read(topic)) for topic in (self.events, self.letters, self.readings, self.state)]

    def partition(self, number: int = 0) -> Partition:
        return Partition(self.input, number)

    def close(self) -> None:
        """Close all that was made here; what cannot be closed now is not what is tested."""
        for one in self.made:
            with contextlib.suppress(StreamklError):
                one.close()


def event(name: str) -> DriftEvent:
    return DriftEvent(
        id=name, kind="drift.raised", stream="payments/EU", index=7, position=7, at=1_700_000_000_000, change_index=None, episode=1,
        evidence=math.inf, budget=1e6, guarantee="exact", divergence={"kl": ESTIMATE}, criterion=(), bins=(), changed=(), window_n=100,
        reference_n=600, source=None, reason="",
    )  # fmt: skip


def unit(place: Place, number: int, **changes: Any) -> UnitOfWork:
    """One of each: the offset is its number."""
    where = place.partition()
    record = PlainRecord(place.input, 0, number, None, b"\xff key", b"\x00 broken", [("trace", b"\x01")])
    reading = Reading("payments/EU", where, number, None, "watching", 5, ESTIMATE, ESTIMATE, 1.0, 1e6, 100)
    whole = {
        "replay_from": {where: number}, "changes": {where: {b"stream": str(number).encode()}}, "events": [event(f"e{number}")],
        "dead_letters": [DeadLetter(record, "no JSON")], "readings": [reading],
    }  # fmt: skip
    if "membership" not in changes:
        whole["membership"] = place.membership()
    return UnitOfWork(**{**whole, **changes})
