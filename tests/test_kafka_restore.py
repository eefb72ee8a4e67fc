"""Restoring from a real state topic: to the end by position, whatever lies there, and refused where it cannot be right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Timer

import pytest
from broker import Broker, unique
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_place import Place, unit

from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_state import KafkaState
from streamkl.errors import ConfigError, StateError, Unavailable
from streamkl.service.work import Restored, UnitOfWork


@pytest.fixture
def place(broker: Broker) -> Iterator[Place]:
    made = Place(broker)
    yield made
    made.close()


def test_gaps_of_compaction_and_aborted_transactions_at_the_end_do_not_hold_a_restore_up(place):
    often = {"segment_bytes": 1 << 20, "segment_ms": 100, "min_cleanable_dirty_ratio": 0.01, "delete_retention_ms": 0}
    place.state = place.broker.topic("state", 2, is_compacted=True, **often)
    checkpoint, where = place.checkpoint(), place.partition()
    member = place.membership()
    for number in range(60):
        checkpoint.commit(UnitOfWork({where: number}, {where: {b"a": b"%d" % number, b"b%d" % (number % 3): b"x" * 40_000}}, membership=member))
    checkpoint.commit(UnitOfWork({where: 60}, {where: {b"b0": None}}, membership=place.membership()))
    deadline = time.monotonic() + 30
    while len(records := place.broker.read(place.state)) > 60:
        assert time.monotonic() < deadline, f"not compacted: {len(records)} records"
        time.sleep(0.3)                                              # until the broker's cleaner has been there
    foreign = place.broker.producer(transactional_id=unique("foreign"))
    foreign.init_transactions()
    for _ in range(2):
        foreign.begin_transaction()
        foreign.send(place.state, b"never", place.input.encode() + b"\0a", partition=0)
        foreign.flush()
        foreign.abort_transaction()
    foreign.close()
    began = time.monotonic()
    assert checkpoint.restore(where) == Restored(60, {b"a": b"59", b"b1": b"x" * 40_000, b"b2": b"x" * 40_000})
    assert time.monotonic() - began < 5


def test_what_was_aborted_is_never_restored(place):
    checkpoint, where = place.checkpoint(), place.partition()
    checkpoint.commit(unit(place, 1))
    foreign = place.broker.producer(transactional_id=unique("foreign"))
    foreign.init_transactions()
    foreign.begin_transaction()
    foreign.send(place.state, b"never", place.input.encode() + b"\0stream", partition=0)
    foreign.flush()
    foreign.abort_transaction()
    foreign.close()
    assert checkpoint.restore(where) == Restored(1, {b"stream": b"1"})


def test_what_was_committed_behind_an_open_transaction_is_waited_for(place):
    checkpoint, where = place.checkpoint(), place.partition()
    hanging = place.broker.producer(transactional_id=unique("hanging"), transaction_timeout_ms=60_000)
    hanging.init_transactions()
    hanging.begin_transaction()
    hanging.send(place.state, b"open", b"foreign", partition=0)
    hanging.flush()
    checkpoint.commit(UnitOfWork({where: 7}, {where: {b"a": b"behind"}}, membership=place.membership()))
    ending = Timer(2.0, hanging.abort_transaction)
    ending.start()
    began = time.monotonic()
    assert checkpoint.restore(where) == Restored(7, {b"a": b"behind"})
    assert time.monotonic() - began > 1.5                            # it was not read before the other one ended
    ending.join()
    hanging.close()


def test_a_transaction_that_hangs_is_ended_by_its_timeout_and_until_then_unavailable(place):
    where = place.partition()
    hanging = place.broker.producer(transactional_id=unique("hanging"), transaction_timeout_ms=4000)
    hanging.init_transactions()
    hanging.begin_transaction()
    hanging.send(place.state, b"open", b"foreign", partition=0)
    hanging.flush()
    checkpoint = place.checkpoint()
    checkpoint._state = KafkaState(client_settings(place.broker.bootstrap.split(",")), place.state, place.group, stall_seconds=0.5)
    with pytest.raises(Unavailable, match=r"no progress for 0\.5 s at offset 0 of 1"):
        checkpoint.restore(where)
    checkpoint.close()
    assert place.checkpoint("other").restore(where) == Restored(None, {})
    hanging.close(timeout=0)


def test_an_offset_of_an_open_transaction_is_waited_for(place):
    where, checkpoint = place.partition(), place.checkpoint()
    checkpoint.commit(unit(place, 1))
    leaving = place.broker.producer(transactional_id=unique("leaving"))
    leaving.init_transactions()
    leaving.begin_transaction()
    leaving.send(place.state, b"9", place.input.encode() + b"\0stream", partition=0)
    leaving.send_offsets_to_transaction({TopicPartition(*where): OffsetAndMetadata(9, "", -1)}, place.membership())
    ending = Timer(1.0, leaving.commit_transaction)
    ending.start()
    assert checkpoint.restore(where) == Restored(9, {b"stream": b"9"})
    ending.join()
    leaving.close()


def test_state_without_an_offset_is_handed_back_as_it_is(place):
    checkpoint, where = place.checkpoint(), place.partition()
    checkpoint.commit(unit(place, 5))
    place.leave()
    place.broker.admin().delete_group_offsets(place.group, [TopicPartition(*where)])
    assert checkpoint.restore(where) == Restored(None, {b"stream": b"5"})


def test_a_missing_state_topic_is_said_with_the_command_that_makes_it(place):
    name = unique("missing")
    wanted = rf"state topic {name} is not there; create it with: kafka-topics .* --create --topic {name} --partitions 2 .*=compact"
    with pytest.raises(ConfigError, match=wanted):
        place.checkpoint(state_topic=name).restore(place.partition())


def test_a_missing_topic_of_events_is_said_at_once_too(place):
    name = unique("missing")
    with pytest.raises(ConfigError, match=f"topic {name} is not there.*--create --topic {name} --partitions 1"):
        place.checkpoint(events_topic=name).restore(place.partition())


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_state_topic_that_forgets_with_time_is_refused(place, policy):
    name = place.broker.topic("state", 2, cleanup_policy=policy)
    told = ",".join(sorted(policy.split(",")))
    with pytest.raises(ConfigError, match=r"has cleanup.policy=.*run: kafka-configs .* --add-config cleanup.policy=compact") as refused:
        place.checkpoint(state_topic=name).restore(place.partition())
    assert any(f"cleanup.policy={one}," in str(refused.value) for one in {policy, told, ",".join(reversed(told.split(",")))})


@pytest.mark.parametrize(("partitions", "remedy"), [(1, "add some: kafka-topics .* --alter .* --partitions 2"), (3, "make it anew with 2")])
def test_a_state_topic_with_another_number_of_partitions_is_refused(place, partitions, remedy):
    name = place.broker.topic("state", partitions, is_compacted=True)
    with pytest.raises(StateError, match=rf"has {partitions} partitions and {place.input} has 2, .*{remedy}"):
        place.checkpoint(state_topic=name).restore(place.partition())


def test_partitions_added_to_an_input_are_refused_when_they_are_gained(place):
    checkpoint = place.checkpoint()
    checkpoint.restore(place.partition(1))
    place.broker.admin().create_partitions({place.input: 3})
    with pytest.raises(StateError, match=r"has 2 partitions and .* has 3"):
        checkpoint.restore(place.partition(2))
