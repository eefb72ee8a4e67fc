"""The Kafka checkpoint against a real broker: all of a unit or nothing, and fenced by who is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker, unique
from kafka.structs import ConsumerGroupMetadata
from kafka_place import Place, unit
from kafka_worker import SimpleWorker

from streamkl.adapters.kafka_checkpoint import STEPS
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_transactions import Transactions
from streamkl.errors import StateError, Unavailable
from streamkl.service.cloud_events import Message
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.work import DeadLetter, Restored, UnitOfWork

HERE = Path(__file__).resolve().parent


@pytest.fixture
def place(broker: Broker) -> Iterator[Place]:
    made = Place(broker)
    yield made
    made.close()


# ------------------------------------------------------------------------ what is committed


def test_a_unit_is_there_whole_and_the_next_process_restores_it(place):
    checkpoint = place.checkpoint()
    assert checkpoint.restore(place.partition()) == Restored(None, {})
    checkpoint.commit(unit(place, 5))
    assert place.seen() == [1, 1, 1, 1]
    assert place.broker.committed(place.group, place.input) == {0: 5}
    assert checkpoint.restore(place.partition()) == Restored(5, {b"stream": b"5"})
    assert place.checkpoint("two").restore(place.partition()) == Restored(5, {b"stream": b"5"})
    assert place.checkpoint("two").restore(place.partition(1)) == Restored(None, {})


@pytest.mark.parametrize("seconds", [1, 30, 600])
def test_whatever_a_request_may_take_a_transaction_stands(place, seconds):
    transactions = Transactions(client_settings(place.broker.bootstrap.split(","), request_timeout_seconds=seconds), unique("transactions"))
    transactions.open()
    transactions.begin()
    transactions.send(place.letters, [Message(b"key", b"value", [])])
    transactions.flush()
    transactions.commit()
    transactions.close()
    assert [record.value for record in place.broker.read(place.letters)] == [b"value"]


def test_a_dead_letter_keeps_key_bytes_and_headers_and_says_why_and_from_where(place):
    place.checkpoint().commit(unit(place, 5))
    (letter,) = place.broker.read(place.letters)
    assert (letter.key, letter.value, letter.headers[0]) == (b"\xff key", b"\x00 broken", ("trace", b"\x01"))
    told = dict(letter.headers[1:])
    assert told["streamkl_reason"] == b"no JSON"
    assert (told["streamkl_topic"], told["streamkl_partition"], told["streamkl_offset"]) == (place.input.encode(), b"0", b"5")


@pytest.mark.parametrize(("key", "value", "sent"), [(b"k", None, None), (None, None, b""), (None, b"v", b"v")])
def test_a_record_without_key_or_value_or_with_an_empty_header_can_be_a_dead_letter(place, key, value, sent):
    record = PlainRecord(place.input, 0, 3, None, key, value, [("empty", None)])  # type: ignore[list-item]
    place.checkpoint().commit(unit(place, 5, dead_letters=[DeadLetter(record, "no JSON")]))
    (letter,) = place.broker.read(place.letters)
    assert (letter.key, letter.value, letter.headers[0]) == (key, sent, ("empty", b""))
    assert (("streamkl_value", b"null") in letter.headers) == (key is None and value is None)


def test_a_deleted_entry_is_a_tombstone_and_is_not_restored(place):
    checkpoint, where = place.checkpoint(), place.partition()
    checkpoint.commit(UnitOfWork({where: 1}, {where: {b"a": b"1", b"b": b"2"}}, membership=place.membership()))
    checkpoint.commit(UnitOfWork({where: 2}, {where: {b"a": None}}, membership=place.membership()))
    assert checkpoint.restore(where) == Restored(2, {b"b": b"2"})
    assert [(record.key, record.value) for record in place.broker.read(place.state)][-1] == (place.input.encode() + b"\0a", None)


def test_input_topics_share_the_partition_of_their_number_and_are_told_apart(place):
    other = place.broker.topic("other", 1)
    checkpoint = place.checkpoint(topics=[place.input, other])
    here, there = place.partition(1), Partition(other, 0)
    checkpoint.commit(UnitOfWork({here: 1, there: 2}, {here: {b"s": b"here"}, there: {b"s": b"there"}}, membership=place.membership()))
    keys = {record.partition: record.key for record in place.broker.read(place.state)}
    assert keys == {1: place.input.encode() + b"\0s", 0: other.encode() + b"\0s"}
    assert checkpoint.restore(here) == Restored(1, {b"s": b"here"})
    assert checkpoint.restore(there) == Restored(2, {b"s": b"there"})
    assert checkpoint.restore(place.partition(0)) == Restored(None, {})


def test_a_state_larger_than_one_fetch_is_restored_whole(place):
    checkpoint, where, local = place.checkpoint(), place.partition(), random.Random(4)
    values = {b"%d" % number: local.randbytes(40_000) for number in range(600)}                 # 24 MB, fetches take 8
    names = sorted(values)
    for start in range(0, 600, 100):
        changes = {name: values[name] for name in names[start : start + 100]}
        checkpoint.commit(UnitOfWork({where: start}, {where: changes}, membership=place.membership()))
    assert checkpoint.restore(where) == Restored(500, values)


# ------------------------------------------------------------------------ all or nothing


class Crash(Exception):
    """What a test raises in the middle of a commit."""


@pytest.mark.parametrize("at", STEPS)
def test_a_failure_at_any_step_leaves_all_or_nothing_and_the_next_commit_works(place, at):
    armed = [False]

    def crash(step: str) -> None:
        if armed[0] and step == at:
            raise Crash

    checkpoint = place.checkpoint(at_step=crash)
    checkpoint.commit(unit(place, 1))
    armed[0] = True
    with pytest.raises(Crash):
        checkpoint.commit(unit(place, 2))
    armed[0] = False
    stands = 2 if at == "committed" else 1
    assert place.seen() == [stands] * 4
    assert checkpoint.restore(place.partition()) == Restored(stands, {b"stream": b"%d" % stands})
    checkpoint.commit(unit(place, 3))
    assert place.seen() == [stands + 1] * 4
    assert checkpoint.restore(place.partition()) == Restored(3, {b"stream": b"3"})


def test_every_step_is_told_in_order(place):
    told: list[str] = []
    place.checkpoint(at_step=told.append).commit(unit(place, 1))
    assert tuple(told) == STEPS


DYING = """
import os, signal, sys
sys.path.insert(0, {here!r})
from broker import Broker, unique
import kafka_place as tests

def die(step):
    if step == {at!r} and armed:
        os.kill(os.getpid(), signal.SIGKILL)

armed = []
place = tests.Place.__new__(tests.Place)
place.__dict__.update({place!r}, broker=Broker({bootstrap!r}), made=[])
checkpoint = place.checkpoint(at_step=die)
checkpoint.commit(tests.unit(place, 1))
armed.append(True)
checkpoint.commit(tests.unit(place, 2))
"""


@pytest.mark.parametrize("at", STEPS)
def test_kill_9_at_any_step_leaves_all_or_nothing_for_the_successor(place, at):
    place.membership()
    names = {name: value for name, value in vars(place).items() if name not in ("broker", "made")}
    script = DYING.format(here=str(HERE), at=at, place=names, bootstrap=place.broker.bootstrap)
    died = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    checkpoint, stands = place.checkpoint(), 2 if at == "committed" else 1
    assert checkpoint.restore(place.partition()) == Restored(stands, {b"stream": b"%d" % stands})
    assert place.seen() == [stands] * 4
    checkpoint.commit(unit(place, 3))
    assert place.seen() == [stands + 1] * 4


# ------------------------------------------------------------------------ fencing


def test_a_second_process_with_the_same_instance_stops_the_first(place):
    first, second = place.checkpoint(), place.checkpoint()
    first.commit(unit(place, 1))
    second.restore(place.partition())
    with pytest.raises(StateError, match=r"another process took our place: it runs with the same application and instance"):
        first.commit(unit(place, 2))
    assert place.seen() == [1] * 4
    second.commit(unit(place, 3))
    assert second.restore(place.partition()) == Restored(3, {b"stream": b"3"})


@pytest.mark.parametrize("at", STEPS[1:-1])
def test_a_successor_in_the_middle_of_a_commit_stops_it(place, at):
    second = place.checkpoint()

    def meanwhile(step: str) -> None:
        if step == at:
            second.restore(place.partition())

    first = place.checkpoint(at_step=meanwhile)
    with pytest.raises(StateError, match="another process took our place"):
        first.commit(unit(place, 1))
    assert place.seen() == [0] * 4
    second.commit(unit(place, 2))
    assert place.seen() == [1] * 4


def test_who_takes_longer_than_a_transaction_may_last_is_not_fenced_but_tries_again(place):
    slow = [True]

    def sleep(step: str) -> None:
        if step == "offsets" and slow[0]:
            time.sleep(3.0)                                          # the broker ends the transaction, and fences its epoch

    checkpoint = place.checkpoint(at_step=sleep, transaction_timeout_seconds=1.0)
    with pytest.raises(Unavailable, match="took longer than 1 s"):
        checkpoint.commit(unit(place, 1))
    slow[0] = False
    assert checkpoint.restore(place.partition()) == Restored(None, {})
    checkpoint.commit(unit(place, 2))
    assert place.seen() == [1] * 4


def test_a_member_of_an_older_generation_commits_nothing(place):
    first = SimpleWorker(place.source())
    first.until(lambda w: len(w.held) == 2)
    stale = first.membership
    second = SimpleWorker(place.source())
    second.until(lambda w: len(w.held) == 1 and len(first.held) == 1, first)
    checkpoint = place.checkpoint()
    with pytest.raises(Unavailable, match="committing offsets of group"):
        checkpoint.commit(unit(place, 1, membership=stale))
    assert place.seen() == [0] * 4
    checkpoint.commit(unit(place, 2, membership=first.membership))    # the same producer, after an abort
    assert place.seen() == [1] * 4
    assert place.broker.committed(place.group, place.input) == {0: 2}


def test_who_was_silent_too_long_commits_nothing(place):
    worker = SimpleWorker(place.source(max_poll_interval_seconds=1.0))
    worker.until(lambda w: len(w.held) == 2)
    for _ in range(10):
        worker.step()
    checkpoint = place.checkpoint()
    checkpoint.restore(place.partition())
    deadline = time.monotonic() + 10
    while worker.source._consumer.group_metadata().member_id and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(Unavailable, match="committing offsets of group"):
        checkpoint.commit(unit(place, 1, membership=worker.membership))
    worker.until(lambda w: len(w.lost) == 2 and len(w.held) == 2)
    checkpoint.commit(unit(place, 2, membership=worker.membership))
    assert place.seen() == [1] * 4


@pytest.mark.parametrize("is_told", [True, False])
def test_the_membership_of_no_member_is_refused_before_anything_is_sent(place, is_told):
    nobody = ConsumerGroupMetadata(group_id=place.group) if is_told else None
    with pytest.raises(Unavailable, match="no member of group"):
        place.checkpoint().commit(unit(place, 1, membership=nobody))
    assert place.seen() == [0] * 4
