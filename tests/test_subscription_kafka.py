"""Subscriptions over a real broker: groups, rebalances, long deliveries, dead letters, and offsets that are gone."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest
from broker import unique
from kafka import TopicPartition
from subscribing import QUICK, OfKafka, event, events

from streamkl import subscription
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_subscription import KafkaFeed
from streamkl.adapters.kafka_undelivered import message
from streamkl.adapters.memory_subscription import MemoryStore
from streamkl.errors import ConfigError, RecordError, StateError
from streamkl.service.alerts import Alerts
from streamkl.service.delivery import Delivery
from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.event_filter import EventFilter
from streamkl.service.incoming import Incoming, Undelivered, of_message
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.subscription import Subscription

SECONDS = 60.0


@pytest.fixture
def place(broker):
    made = OfKafka(broker, partitions=3)
    yield made
    made.close()


class Member:
    """A member of a group, run by a thread of its own."""

    def __init__(self, place, tmp_path, corrector, **settings) -> None:
        self.subscription = subscription(place.url, place.group, corrector, store=tmp_path / unique("store"), **settings)
        self.thread = threading.Thread(target=self.subscription.run, daemon=True)

    def __enter__(self) -> Member:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.subscription.stop()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.subscription.close()


def until(holds, what="") -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.02)


def always_refused(one):
    raise RecordError("no use for it")


def test_the_offset_of_the_group_is_behind_what_was_dealt_with(place, tmp_path):
    place.write(events(6, 5))
    seen = []
    with Member(place, tmp_path, seen.append):
        until(lambda: len(seen) == 30)
    ends = {partition: max(record.offset for record in place.broker.read(place.topic) if record.partition == partition) + 1
            for partition in {record.partition for record in place.broker.read(place.topic)}}  # fmt: skip
    assert place.broker.committed(place.group, place.topic) == ends
    assert {one.id for one in seen} == {one.id for one in events(6, 5)}
    place.write([event("later", 0)])
    with Member(place, tmp_path, seen.append):      # another store, which knows nothing: the group's offset says where to go on
        until(lambda: len(seen) == 31)
    assert seen[-1].stream == "later"


def test_two_groups_each_get_all(place, tmp_path):
    place.write(events(2, 3))
    for group in ("one", "two"):
        seen = []
        made = subscription(place.url, unique(group), seen.append, store=tmp_path / group)
        assert made.run_once(5.0) == 6
        made.close()
        assert len(seen) == 6


def test_members_that_come_and_go_lose_nothing_and_keep_the_order(place, tmp_path):
    written = events(12, 40)
    seen, lock = [], threading.Lock()

    def correct(one):
        time.sleep(0.002)
        with lock:
            seen.append(one.id)

    def write() -> None:
        for begin in range(0, len(written), 24):
            place.write(written[begin : begin + 24])
            time.sleep(0.15)

    writer = threading.Thread(target=write)
    with contextlib.ExitStack() as first:
        first.enter_context(Member(place, tmp_path, correct))
        writer.start()
        until(lambda: len(seen) > 50)
        with Member(place, tmp_path, correct):
            until(lambda: len(seen) > 200)
            first.close()                               # the first one leaves
            until(lambda: len(set(seen)) > 300)
            with Member(place, tmp_path, correct):
                until(lambda: len(set(seen)) == len(written), "every event")
    writer.join()
    assert set(seen) == {one.id for one in written}
    assert len(seen) - len(set(seen)) <= 6              # at most what was on its way, or not committed yet, at a rebalance
    for stream in range(12):
        assert [one for one in dict.fromkeys(seen) if one.startswith(f"s{stream} ")] == [f"s{stream} {number}" for number in range(40)]


def test_a_member_joins_while_another_ones_corrector_hangs_and_takes_its_share(place, tmp_path):
    place.write(events(12, 2))
    end, first, second = threading.Event(), [], []

    def hangs(one):
        first.append(one)
        end.wait(SECONDS)

    try:
        with Member(place, tmp_path, hangs):
            until(lambda: first)
            with Member(place, tmp_path, second.append):
                until(lambda: second, "a share of the one that joined")
                assert len(first) == 1
                end.set()
                until(lambda: len({one.id for one in first + second}) == 24)
    finally:
        end.set()


def test_a_delivery_that_takes_longer_than_a_poll_may_keeps_its_partitions(place):
    place.write([event("a", 0), event("a", 1)])
    settings, calls = client_settings([place.broker.bootstrap]), []
    feed = KafkaFeed(settings, place.topic, place.group, session_timeout_seconds=6.0, max_poll_interval_seconds=1.5)

    def correct(one):
        calls.append(one.index)
        time.sleep(2.5)

    store = MemoryStore()
    made = Subscription("slow", feed, store, store, EventFilter(), Delivery(correct, QUICK, 30.0), DeliveryTelemetry("slow"))
    while len(calls) < 2:
        made.run_once(1.0)
    place.write([event("a", 2)])
    made.run_once(5.0)
    made.close()
    assert calls == [0, 1, 2]
    assert sum(place.broker.committed(place.group, place.topic).values()) > 3


def test_a_dead_letter_goes_to_its_topic_as_it_came_with_the_reason(place, tmp_path):
    letters = place.broker.topic(name=f"{place.topic}.{place.group}.dead-letters")
    place.write(events(1, 1))
    (original,) = place.broker.read(place.topic)
    made = subscription(place.url, place.group, always_refused, store=tmp_path / "store")
    assert made.run_once(5.0) == 1
    made.close()
    (letter,) = place.broker.read(letters)
    assert (letter.key, letter.value) == (original.key, original.value)
    assert letter.headers[: len(original.headers)] == original.headers
    told = {name: content.decode() for name, content in letter.headers if name.startswith("streamkl_")}
    assert told.pop("streamkl_failed_at").endswith("Z")
    assert told == {
        "streamkl_reason": "no use for it", "streamkl_subscription": place.group, "streamkl_attempts": "1", "streamkl_topic": place.topic,
        "streamkl_partition": str(original.partition), "streamkl_offset": str(original.offset),
    }  # fmt: skip
    assert of_message(letter, letter.offset + 1).event == events(1, 1)[0]


def test_without_the_topic_a_dead_letter_goes_to_the_store_and_the_log_says_how_to_make_it(place, tmp_path, caplog):
    place.write(events(1, 1))
    made = subscription(place.url, place.group, always_refused, store=tmp_path / "store")
    assert made.run_once(5.0) == 1
    made.close()
    row = sqlite3.connect(tmp_path / "store").execute("SELECT id, reason FROM dead_letters").fetchall()
    assert row == [("s0 0", "no use for it")]
    creation = f"kafka-topics --bootstrap-server {place.broker.bootstrap} --create --topic {place.topic}.{place.group}.dead-letters"
    assert creation in caplog.text


def test_a_topic_for_dead_letters_that_was_asked_for_must_be_there(place, tmp_path):
    place.write(events(1, 1))
    made = subscription(place.url, place.group, always_refused, store=tmp_path / "store", dead_letters="not-there")
    with pytest.raises(ConfigError, match="create it with: kafka-topics"):
        made.run_once(5.0)
    made.close()
    assert place.broker.committed(place.group, place.topic) == {}


def test_a_dead_letter_fits_into_its_topic():
    record = PlainRecord("drift", 0, 7, None, b"key", b"v" * 5000, [("trace", b"\x01")])
    letter = Undelivered(Incoming(Partition("drift", 0), 8, record), "group", "x", 1, 0)
    assert message(letter).value == record.value
    cut = message(letter, 2000)
    assert dict(cut.headers)["streamkl_value_bytes"] == b"5000"
    assert len(cut.value) < 2000
    assert dict(cut.headers)["streamkl_reason"] == b"x"


def test_an_event_of_version_two_is_a_dead_letter_and_the_rest_goes_on(place, tmp_path):
    letters = place.broker.topic(name=f"{place.topic}.{place.group}.dead-letters")
    place.write([event("a", 0)])
    place.write_newer(event("a", 1))
    place.write_foreign()
    place.write([event("a", 2)])
    seen = []
    made = subscription(place.url, place.group, seen.append, store=tmp_path / "store")
    made.run_once(5.0)
    made.close()
    assert [one.index for one in seen] == [0, 2]
    (letter,) = place.broker.read(letters)
    assert b"version 2" in dict(letter.headers)["streamkl_reason"]


def test_offsets_that_retention_took_are_an_error_with_the_remedy(place, tmp_path):
    place.write([event("a", number) for number in range(10)])
    seen = []
    with Member(place, tmp_path, seen.append):
        until(lambda: len(seen) == 10)
    (partition,) = {record.partition for record in place.broker.read(place.topic)}
    end = place.broker.committed(place.group, place.topic)[partition]
    place.write([event("a", number) for number in range(10, 20)])
    place.broker.admin().delete_records({TopicPartition(place.topic, partition): end + 5})
    made = subscription(place.url, place.group, seen.append, store=tmp_path / "store")
    with pytest.raises(StateError, match=f"kafka-consumer-groups .* --group {place.group} .* --reset-offsets"):
        made.run_once(5.0)
    made.close()


def test_what_was_done_and_not_committed_is_not_delivered_again(place, tmp_path):
    """As a kill leaves it: the store knows, the group does not."""
    place.write(events(1, 5))
    seen = []
    made = subscription(place.url, place.group, seen.append, store=tmp_path / "store")
    for one in events(1, 3):
        made._store.done(one.id)
    assert made.run_once(5.0) == 2
    made.close()
    assert [one.index for one in seen] == [3, 4]


def test_a_member_takes_the_place_of_another_one_of_its_instance_before_that_one_times_out(place, tmp_path):
    place.write(events(1, 3))
    first = subscription(place.url, place.group, store=tmp_path / "store", instance="one")
    while not first.poll(1.0):
        pass
    began_at = time.monotonic()
    seen = []
    second = subscription(place.url, place.group, seen.append, store=tmp_path / "store", instance="one")
    while len(seen) < 3:
        second.run_once(1.0)
    assert time.monotonic() - began_at < 8.0                # of the ten seconds that the group would wait for the first one
    second.close()
    first.close()


def test_by_hand_too_what_is_acknowledged_is_committed_and_the_rest_comes_again(place, tmp_path):
    place.write([event("a", number) for number in range(4)])
    made = subscription(place.url, place.group, store=tmp_path / "store")
    polled = []
    while len(polled) < 4:
        polled += made.poll(1.0)
    for one in (polled[0], polled[1], polled[3]):
        made.ack(one)
    made.close()
    again = subscription(place.url, place.group, store=tmp_path / "store")
    found = []
    until(lambda: found.extend(again.poll(0.2)) or found)
    assert [one.index for one in found] == [2]
    again.close()


def test_a_topic_that_is_not_there_yet_is_waited_for(broker, tmp_path):
    topic, seen = unique("later"), []
    made = subscription(f"kafka://{broker.bootstrap}/{topic}", unique("group"), seen.append, store=tmp_path / "store")
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    time.sleep(1.0)
    assert thread.is_alive()
    broker.topic(name=topic)
    producer = broker.producer()
    key, value, headers = Alerts("checkout").drift_event(event("a", 0))
    producer.send(topic, key=key, value=value, headers=headers).get(30)
    producer.close()
    until(lambda: seen)
    made.stop()
    thread.join(SECONDS)
    made.close()


def test_a_broker_that_was_away_is_waited_for_and_nothing_is_lost_or_repeated(place, tmp_path):
    place.write(events(2, 10))
    seen = []

    def correct(one):
        seen.append(one.id)
        time.sleep(0.05)

    try:
        with Member(place, tmp_path, correct):
            until(lambda: len(seen) >= 3)
            place.broker.kill()
            time.sleep(2.0)
            place.broker.restore()
            producer = place.broker.producer()
            key, value, headers = Alerts("checkout").drift_event(event("later", 0))
            producer.send(place.topic, key=key, value=value, headers=headers).get(30)
            producer.close()
            until(lambda: len(set(seen)) == 21)
    finally:
        place.broker.restore()
    assert len(seen) == 21
