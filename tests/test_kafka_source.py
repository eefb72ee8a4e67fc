"""The Kafka source against a real broker: rebalances as data, nothing lost, nothing of others, and plain words where it cannot go on."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from kafka import TopicPartition
from kafka_worker import SimpleWorker

from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_rebalance import Holdings
from streamkl.adapters.kafka_source import KafkaSource
from streamkl.errors import StateError, Unavailable
from streamkl.service.record import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker import Broker


@pytest.fixture
def source_of() -> Iterator[Callable[..., KafkaSource]]:
    """Makes sources and closes them."""
    made: list[KafkaSource] = []

    def make(broker: Broker, topic: str, group: str, **settings: Any) -> KafkaSource:
        quick = {"session_timeout_seconds": 6.0, **settings}
        made.append(KafkaSource(client_settings(broker.bootstrap.split(",")), [topic], group, **quick))
        return made[-1]

    yield make
    for source in made:
        with contextlib.suppress(Unavailable):
            source.close()


def unique(hint: str) -> str:
    from broker import unique

    return unique(hint)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(start, start + count)]


# ------------------------------------------------------------------------ reading


def test_every_record_comes_once_and_in_order_from_where_a_partition_was_started(broker, source_of):
    topic = broker.topic("plain")
    broker.produce(topic, numbered(5000))
    worker = SimpleWorker(source_of(broker, topic, unique("group"), poll_records_max=700), lambda partition: 1234)
    worker.until(lambda w: len(w.records) >= 5000 - 1234)
    assert worker.values() == numbered(5000 - 1234, 1234)
    assert worker.step(0.2).runs == []


def test_a_record_is_what_was_sent_with_key_headers_and_time(broker, source_of):
    topic = broker.topic("whole")
    producer = broker.producer()
    producer.send(topic, b"value", b"\xff key", [("a", b"1"), ("a", b"2")], timestamp_ms=1_700_000_000_123).get(10)
    producer.send(topic, None, b"gone").get(10)
    producer.close()
    worker = SimpleWorker(source_of(broker, topic, unique("group")))
    worker.until(lambda w: len(w.records) == 2)
    first, second = worker.records
    assert (first.topic, first.partition, first.offset, first.timestamp) == (topic, 0, 0, 1_700_000_000_123)
    assert (first.key, first.value, list(first.headers)) == (b"\xff key", b"value", [("a", b"1"), ("a", b"2")])
    assert (second.key, second.value) == (b"gone", None)


def test_records_of_aborted_transactions_never_come(broker, source_of):
    topic = broker.topic("aborted")
    producer = broker.producer(transactional_id=unique("writer"))
    producer.init_transactions()
    for number in range(6):
        producer.begin_transaction()
        producer.send(topic, str(number).encode())
        producer.flush()
        producer.commit_transaction() if number % 2 else producer.abort_transaction()
    producer.close()
    source = source_of(broker, topic, unique("group"))
    worker = SimpleWorker(source)
    worker.until(lambda w: len(w.records) == 3)
    worker.step(0.3)
    assert worker.values() == [b"1", b"3", b"5"]
    assert source.lags() == {Partition(topic, 0): 0}                 # the markers of the transactions are no lag


def test_a_gained_partition_waits_until_it_is_started(broker, source_of):
    topic = broker.topic("waits")
    broker.produce(topic, numbered(10))
    source = source_of(broker, topic, unique("group"))
    gained: list[Partition] = []
    deadline = time.monotonic() + 20
    while not gained and time.monotonic() < deadline:
        gained += source.poll(0.2).gained
    assert gained == [Partition(topic, 0)]
    for _ in range(5):
        assert source.poll(0.1) == ([], [], [], False, source.poll(0.0).membership)
    assert source.lags() == {}
    source.start(gained[0], 7)
    records = [record.offset for _ in range(20) for run in source.poll(0.1).runs for record in run.records]
    assert records == [7, 8, 9]


@pytest.mark.parametrize(("start_at", "expected"), [("earliest", numbered(20)), ("latest", numbered(10, 10))])
def test_a_new_group_begins_where_the_configuration_says(broker, source_of, start_at, expected):
    topic = broker.topic("begin")
    broker.produce(topic, numbered(10))
    worker = SimpleWorker(source_of(broker, topic, unique("group"), start_at=start_at))
    worker.until(lambda w: bool(w.held))
    broker.produce(topic, numbered(10, 10))
    worker.until(lambda w: len(w.records) >= len(expected))
    assert worker.values() == expected


def test_a_paused_partition_is_silent_until_it_is_resumed_and_then_misses_nothing(broker, source_of):
    topic = broker.topic("paused", partitions=2)
    for number in (0, 1):
        broker.produce(topic, numbered(3000), partition=number)
    source = source_of(broker, topic, unique("group"), poll_records_max=100)
    worker = SimpleWorker(source)
    worker.until(lambda w: bool(w.records))
    first = worker.records[0].partition                              # of it most is fetched already, and lies ready
    silent, other = Partition(topic, first), Partition(topic, 1 - first)
    source.pause([silent])
    worker.until(lambda w: sum(record.partition == other.number for record in w.records) == 3000)
    before = sum(record.partition == first for record in worker.records)
    assert before == 100
    assert source.lags() == {silent: 3000 - before, other: 0}
    source.resume([silent])
    worker.until(lambda w: len(w.records) == 6000)
    assert [r.offset for r in worker.records if r.partition == first] == list(range(3000))


# ------------------------------------------------------------------------ rebalances


def test_a_rebalance_comes_as_data_and_only_what_moves_is_lost(broker, source_of):
    topic, group = broker.topic("moves", partitions=4), unique("group")
    partitions = [Partition(topic, number) for number in range(4)]
    first = SimpleWorker(source_of(broker, topic, group))
    first.until(lambda w: sorted(w.held) == partitions)
    second = SimpleWorker(source_of(broker, topic, group), lambda partition: 0)
    second.until(lambda w: len(w.held) == 2, first)
    first.until(lambda w: len(w.held) == 2, second)
    assert sorted([*first.held, *second.held]) == partitions
    assert sorted(first.lost) == sorted(second.held)
    assert len(first.gained) == 4                                    # what was kept was never lost and gained again
    second.source.close()
    first.until(lambda w: len(w.held) == 4)
    assert sorted(first.gained[4:]) == sorted(first.lost)


def test_nothing_is_lost_and_nobody_reads_what_is_anothers_while_members_come_and_go(broker, source_of):
    topic, group = broker.topic("churn", partitions=3), unique("group")
    places: dict[Partition, int] = {}                                # what a checkpoint would hold: all that was read, at once

    class Committing(SimpleWorker):
        def step(self, timeout_seconds: float = 0.05) -> Any:
            arrivals = super().step(timeout_seconds)
            places.update({run.partition: self.held[run.partition] for run in arrivals.runs})
            return arrivals

    workers = [Committing(source_of(broker, topic, group, poll_records_max=50), lambda partition: places.get(partition, 0))]
    sent = 0
    for turn in range(5):
        for number in range(3):
            broker.produce(topic, numbered(400, sent), partition=number)
        sent += 400
        if turn in (1, 2):
            workers.append(Committing(source_of(broker, topic, group, poll_records_max=50), lambda partition: places.get(partition, 0)))
        if turn == 3:
            workers[0].source.close()
            gone = workers.pop(0)
        workers[-1].until(lambda w: sum(places.values()) >= 3 * sent, *workers[:-1])  # noqa: B023
    read = [(record.partition, record.value) for worker in [gone, *workers] for record in worker.records]
    assert sorted(set(read)) == sorted((number, value) for number in range(3) for value in numbered(2000))
    assert len(read) == 6000


def test_changes_are_told_as_they_are_whatever_happens_between_two_polls():
    a, b = TopicPartition("t", 0), TopicPartition("t", 1)
    holdings = Holdings()
    assert holdings.hold({a, b}) == {a, b}
    assert holdings.hold({a}) == set()
    assert holdings.changes() == ({a}, set())                        # b came and went before anybody knew
    assert holdings.hold({a, b}) == {b}
    assert holdings.changes() == ({b}, set())                        # a was taken away and given back: nobody else had it
    holdings.hold(set())
    assert holdings.hold({a}) == {a}
    assert holdings.changes() == ({a}, {a, b})                       # somebody else may have had a: it is both
    assert holdings.changes() == (set(), set())


def test_who_is_silent_too_long_loses_its_partitions_and_is_told_at_its_next_poll(broker, source_of):
    topic, group = broker.topic("silent", partitions=2), unique("group")
    first = SimpleWorker(source_of(broker, topic, group, max_poll_interval_seconds=1.5))
    first.until(lambda w: len(w.held) == 2)
    stale = first.membership
    second = SimpleWorker(source_of(broker, topic, group), lambda partition: 0)
    second.until(lambda w: len(w.held) == 2)                         # the first one does not poll meanwhile
    broker.produce(topic, numbered(5), partition=0)
    first.until(lambda w: len(w.lost) == 2, second)
    assert first.membership == stale or first.membership.generation_id > stale.generation_id
    first.until(lambda w: len(w.held) == 1 and len(second.held) == 1, second)
    assert first.membership.generation_id > stale.generation_id


def test_membership_is_never_that_of_no_member(broker, source_of):
    topic, group = broker.topic("member"), unique("group")
    source = source_of(broker, topic, group, max_poll_interval_seconds=1.0)
    worker = SimpleWorker(source)
    worker.until(lambda w: bool(w.held))
    for _ in range(10):
        worker.step()                                                # a first member joins twice: it learns of the topic meanwhile
    known = worker.membership
    deadline = time.monotonic() + 10
    while source._consumer.group_metadata().member_id and time.monotonic() < deadline:
        time.sleep(0.05)                                             # the client leaves by itself
    assert source._consumer.group_metadata().generation_id == -1
    seen = [source.poll(0.0).membership for _ in range(200)]
    assert all(membership.generation_id >= known.generation_id and membership.member_id for membership in seen)


# ------------------------------------------------------------------------ what is not there


def test_records_deleted_by_retention_are_refused_with_the_remedy(broker, source_of):
    topic = broker.topic("retention")
    broker.produce(topic, numbered(100))
    broker.admin().delete_records({TopicPartition(topic, 0): 40})
    source = source_of(broker, topic, unique("group"))
    worker = SimpleWorker(source, lambda partition: 39)
    with pytest.raises(StateError, match=r"goes on at offset 39, but the log begins at 40: 1 records were deleted.*--discard-state"):
        worker.until(lambda w: False)
    source.start(Partition(topic, 0), 40)
    worker.held[Partition(topic, 0)] = 40
    worker.until(lambda w: len(w.records) == 60)


def test_retention_that_overtakes_a_reader_is_refused_too(broker, source_of):
    topic = broker.topic("overtaken")
    broker.produce(topic, numbered(100))
    worker = SimpleWorker(source_of(broker, topic, unique("group"), poll_records_max=10))
    worker.until(lambda w: len(w.records) == 10)
    broker.produce(topic, numbered(100, 100))
    broker.admin().delete_records({TopicPartition(topic, 0): 150})
    with pytest.raises(StateError, match="goes on at offset 100, but the log begins at 150: 50 records"):
        worker.until(lambda w: False)                                # what was fetched ahead still comes
    assert worker.values() == numbered(100)


def test_an_offset_behind_the_end_is_refused(broker, source_of):
    topic = broker.topic("short")
    broker.produce(topic, numbered(5))
    with pytest.raises(StateError, match=r"goes on at offset 6, but the log ends at 5: the topic was made anew"):
        SimpleWorker(source_of(broker, topic, unique("group")), lambda partition: 6).until(lambda w: False)


def test_a_topic_that_is_not_there_is_said_and_read_once_it_is(broker, source_of):
    topic = unique("later")
    source = source_of(broker, topic, unique("group"))
    with pytest.raises(Unavailable, match=f"topic {topic} is not on .* create it with: kafka-topics --create --topic {topic}"):
        source.poll(0.1)
    broker.topic(name=topic)
    broker.produce(topic, numbered(3))
    worker = SimpleWorker(source)
    worker.until(lambda w: len(w.records) == 3)


def test_a_broker_that_nobody_runs_is_unavailable_within_seconds(monkeypatch):
    monkeypatch.setattr("streamkl.adapters.kafka_client.REQUEST_TIMEOUT_SECONDS", 2.0)
    from broker import Cluster  # noqa: F401  # puts the folder of the cluster on the path
    from kafka_cluster import free_ports

    source = KafkaSource(client_settings([f"127.0.0.1:{free_ports(1)[0]}"]), ["t"], "g")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="connecting to 127"):
        source.poll(0.1)
    assert time.monotonic() - began < 6
    source.close()
