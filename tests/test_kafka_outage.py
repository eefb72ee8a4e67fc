"""Nodes that die under the Kafka adapters: nothing crashes, nothing is lost, and what stood stands."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from broker import Broker
from kafka_place import Place, unit
from kafka_worker import SimpleWorker

from streamkl.adapters.kafka_checkpoint import KafkaCheckpoint
from streamkl.errors import Unavailable
from streamkl.service.work import Restored, UnitOfWork

SECONDS = 60.0


@pytest.fixture
def place(broker: Broker) -> Iterator[Place]:
    made = Place(broker)
    yield made
    broker.restore()
    made.close()


@pytest.fixture
def spread(brokers: Broker) -> Iterator[Place]:
    """On three nodes."""
    made = Place(brokers, partitions=1)
    yield made
    brokers.restore()
    made.close()


def committed(checkpoint: KafkaCheckpoint, work: UnitOfWork) -> None:
    """Commit as a worker does: where it is not known to stand, restore, and commit what is missing."""
    (where,) = work.replay_from
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if checkpoint.restore(where).replay_from == work.replay_from[where]:
                return
            checkpoint.commit(work)
            return
        except Unavailable:
            assert time.monotonic() < deadline


def reads_on(worker: SimpleWorker, count: int) -> None:
    deadline = time.monotonic() + SECONDS
    while len(worker.records) < count:
        assert time.monotonic() < deadline, f"{len(worker.records)} of {count}"
        try:
            worker.step()
        except Unavailable:
            time.sleep(0.1)


def test_a_broker_that_goes_away_in_the_middle_of_a_commit_and_comes_back_costs_nothing(place):
    worker, at = SimpleWorker(place.source()), [""]

    def kill(step: str) -> None:
        if step == at[0]:
            at[0] = ""
            place.broker.kill()

    worker.until(lambda w: len(w.held) == 2)
    checkpoint = place.checkpoint(at_step=kill)
    checkpoint.commit(unit(place, 1, membership=worker.membership))
    place.broker.produce(place.input, [b"before"] * 10, partition=0)
    reads_on(worker, 10)
    at[0] = "flush"
    began = time.monotonic()
    with pytest.raises(Unavailable):
        checkpoint.commit(unit(place, 2, membership=worker.membership))
    assert time.monotonic() - began < 25
    for _ in range(3):
        with contextlib.suppress(Unavailable):
            assert worker.step().runs == []
    with pytest.raises(Unavailable):
        worker.source.lags()
    place.broker.start()
    committed(checkpoint, unit(place, 3, membership=worker.membership))
    assert place.seen() == [2] * 4
    assert checkpoint.restore(place.partition()) == Restored(3, {b"stream": b"3"})
    place.broker.produce(place.input, [b"after"] * 10, partition=0)
    reads_on(worker, 20)
    assert worker.values() == [b"before"] * 10 + [b"after"] * 10


def test_the_death_of_a_leader_loses_and_repeats_nothing(spread):
    checkpoint, worker = spread.checkpoint(), SimpleWorker(spread.source())
    worker.until(lambda w: len(w.held) == 1)
    spread.broker.produce(spread.input, [b"%d" % number for number in range(100)])
    committed(checkpoint, unit(spread, 1, membership=worker.membership))
    reads_on(worker, 100)
    spread.broker.kill(spread.broker.leader(spread.state))
    committed(checkpoint, unit(spread, 2, membership=worker.membership))
    spread.broker.produce(spread.input, [b"%d" % number for number in range(100, 200)])
    reads_on(worker, 200)
    assert worker.values() == [b"%d" % number for number in range(200)]
    assert checkpoint.restore(spread.partition()) == Restored(2, {b"stream": b"2"})
    assert spread.seen() == [2] * 4
