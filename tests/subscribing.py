"""Subscriptions under test: events, places of events with a feed for each, and a subscription over memory twins."""

from __future__ import annotations

import dataclasses
import json
import sqlite3

from broker import unique

from streamkl.adapters.delivery_store import DeliveryFile
from streamkl.adapters.file_subscription import FileFeed
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_subscription import KafkaFeed
from streamkl.adapters.memory_subscription import MemoryFeed, MemoryPlace, MemoryStore
from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.adapters.sqlite_subscription import SqliteFeed
from streamkl.detect.event import DriftEvent
from streamkl.divergence import Estimate
from streamkl.service.alerts import Alerts
from streamkl.service.delivery import Delivery, Retry
from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.event_filter import EventFilter
from streamkl.service.record import Partition
from streamkl.service.subscription import Subscription
from streamkl.service.work import UnitOfWork

QUICK = Retry(attempts=3, seconds=30.0, first_wait_seconds=0.0, longest_wait_seconds=0.0, jitter_seconds=0.0)
PLACE = Partition("drift", 0)
FOREIGN = b'{"kind": "order"}'


def event(stream: str, number: int, kl: float = 0.2, **changes: object) -> DriftEvent:
    """An event of a stream; number: which of it."""
    plain = {
        "id": f"{stream} {number}", "kind": "drift.raised", "stream": stream, "index": number, "position": number, "at": 1_700_000_000_000 + number,
        "episode": number, "evidence": 2e6, "budget": 1e6, "guarantee": "exact", "divergence": {"kl": Estimate(kl, kl / 2, 2 * kl, kl, "nats")},
        "criterion": (), "bins": (), "window_n": 100, "reference_n": 600,
    }  # fmt: skip
    return DriftEvent(**{**plain, **changes})


def events(streams: int, each: int) -> list[DriftEvent]:
    """So many of each stream, in turn."""
    return [event(f"s{stream}", number) for number in range(each) for stream in range(streams)]


def newer(one: DriftEvent) -> dict[str, object]:
    """The data of an event of which a field has another type."""
    return {**one.to_dict(), "episode": {"number": one.episode}}


class OfMemory:
    """The twin."""

    def __init__(self, folder) -> None:
        self.place = MemoryPlace()

    def write(self, written) -> None:
        for one in written:
            self.place.append(PLACE, one.to_json().encode())

    def write_foreign(self) -> None:
        self.place.append(PLACE, FOREIGN)

    def write_newer(self, one) -> None:
        self.place.append(PLACE, json.dumps(newer(one)).encode())

    def open(self):
        return MemoryFeed(self.place)

    def close(self) -> None:
        """Of memory nothing is held open."""


class OfFile:
    """A file of JSON lines."""

    def __init__(self, folder) -> None:
        self.path = folder / "events 50%.jsonl"
        self.path.touch()
        self.url = f"file://{self.path}"
        self.stores = []

    def write(self, written) -> None:
        with self.path.open("a") as file:
            file.writelines(one.to_json() + "\n" for one in written)

    def write_foreign(self) -> None:
        with self.path.open("ab") as file:
            file.write(FOREIGN + b"\n")

    def write_newer(self, one) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(newer(one)) + "\n")

    def store(self):
        for store in self.stores:
            store.close()                       # the life before has ended
        self.stores.append(DeliveryFile(f"{self.path}.subscription", "group", str(self.path)))
        return self.stores[-1]

    def open(self):
        return FileFeed(str(self.path), self.store(), look_seconds=0.005)

    def close(self) -> None:
        for store in self.stores:
            store.close()


class OfSqlite(OfFile):
    """A state file, which the service still holds."""

    def __init__(self, folder) -> None:
        self.path = folder / "state.db"
        self.url = f"sqlite://{self.path}"
        self.stores = []
        self.units = 0
        self.checkpoint = SqliteCheckpoint(str(self.path), "checkout")

    def write(self, written) -> None:
        self.units += 1
        self.checkpoint.commit(UnitOfWork({Partition("payments", 3): self.units}, {}, written))

    def write_foreign(self) -> None:
        self._insert("foreign", FOREIGN.decode())

    def write_newer(self, one) -> None:
        self._insert("newer", json.dumps(newer(one)))

    def _insert(self, id, text) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute("INSERT INTO events(id, kind, stream, json) VALUES (?, 'x', 'x', ?)", (id, text))
        connection.close()

    def open(self):
        return SqliteFeed(str(self.path), self.store(), look_seconds=0.005)

    def close(self) -> None:
        super().close()
        self.checkpoint.close()


class OfKafka:
    """A topic, written in transactions, some of which are aborted, and a group that reads it."""

    def __init__(self, broker, partitions: int = 1) -> None:
        self.broker = broker
        self.topic = broker.topic("drift", partitions=partitions)
        self.group = unique("group")
        self.url = f"kafka://{broker.bootstrap}/{self.topic}"
        self.producer = broker.producer(transactional_id=self.topic)
        self.producer.init_transactions()
        self.feeds = []

    def write(self, written, is_kept: bool = True) -> None:
        modes = [Alerts("checkout", "binary"), Alerts("checkout", "structured")]
        if is_kept:
            self.write([dataclasses.replace(one, id=f"aborted {one.id}") for one in written[:3]], is_kept=False)
        self.send([modes[number % 2].drift_event(one) for number, one in enumerate(written)], is_kept)

    def write_foreign(self) -> None:
        self.send([(b"k", FOREIGN, [])])

    def write_newer(self, one) -> None:
        key, value, headers = Alerts("checkout").drift_event(one)
        later = [(name, content.replace(b".v1", b".v2") if name == "ce_type" else content) for name, content in headers]
        self.send([(key, value, later)])

    def send(self, messages, is_kept: bool = True) -> None:
        self.producer.begin_transaction()
        for key, value, headers in messages:
            self.producer.send(self.topic, key=key, value=value, headers=list(headers))
        self.producer.flush()
        if is_kept:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

    def open(self):
        for feed in self.feeds:
            feed.close()
        self.feeds.append(KafkaFeed(client_settings([self.broker.bootstrap]), self.topic, self.group, session_timeout_seconds=6.0))
        return self.feeds[-1]

    def close(self) -> None:
        for feed in self.feeds:
            feed.close()
        self.producer.close()


class Setting:
    """A subscription over memory twins, which outlive it: `place`, `store`; and what it counted."""

    def __init__(self, written=(), most: int = 3) -> None:
        self.place, self.store, self.meter = MemoryPlace(), MemoryStore(), PrometheusMeter()
        self.most = most
        for one in written:
            self.place.append(PLACE, one.to_json().encode())

    def subscription(self, corrector=None, retry: Retry = QUICK, timeout_seconds: float = 30.0, wanted: EventFilter | None = None) -> Subscription:
        self.feed = MemoryFeed(self.place, self.store.at_step, self.most)
        delivery = None if corrector is None else Delivery(corrector, retry, timeout_seconds)
        telemetry = DeliveryTelemetry("group", self.meter)
        return Subscription("group", self.feed, self.store, self.store, wanted or EventFilter(), delivery, telemetry, clock=lambda: 1_700_000_000.0)

    def count(self, outcome: str) -> float:
        return self.meter.value("streamkl_deliveries_total", subscription="group", outcome=outcome) or 0.0
