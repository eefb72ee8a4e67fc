"""The broker fixture: what tests of the service rely on, shown on the broker itself."""

from __future__ import annotations

import pytest
from broker import Broker, unique
from kafka.errors import KafkaError


def test_what_is_produced_is_read_back_in_order_with_its_key(broker: Broker):
    topic = broker.topic("trip", partitions=2)
    messages = [(f"k{i}".encode(), f"v{i}".encode()) for i in range(100)]
    offsets = broker.produce(topic, messages, partition=1)
    assert offsets == list(range(100))
    read = broker.read(topic)
    assert [(record.key, record.value) for record in read] == messages
    assert [(record.partition, record.offset) for record in read] == [(1, offset) for offset in range(100)]


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(broker: Broker):
    topic = broker.topic("transactions")
    producer = broker.producer(transactional_id=unique("writer"))
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"kept")
    producer.commit_transaction()
    producer.begin_transaction()
    producer.send(topic, b"undone")
    producer.flush()
    producer.abort_transaction()
    producer.close()
    assert [record.value for record in broker.read(topic)] == [b"kept"]
    assert [record.value for record in broker.read(topic, is_committed=False)] == [b"kept", b"undone"]


def test_data_survive_a_kill_and_a_restart(broker: Broker):
    topic = broker.topic("survivor")
    broker.produce(topic, [b"before"])
    try:
        broker.kill()
    finally:
        broker.start()
    broker.produce(topic, [b"after"])
    assert [record.value for record in broker.read(topic)] == [b"before", b"after"]


def test_three_nodes_go_on_without_the_leader_of_a_partition(brokers: Broker):
    topic = brokers.topic("replicated")
    brokers.produce(topic, [b"one"])
    leader = brokers.leader(topic)
    try:
        brokers.kill(leader)
        brokers.produce(topic, [b"two"])
        assert brokers.leader(topic) != leader
        assert [record.value for record in brokers.read(topic)] == [b"one", b"two"]
    finally:
        brokers.restore()
    brokers.produce(topic, [b"three"])
    assert [record.value for record in brokers.read(topic)] == [b"one", b"two", b"three"]


def test_a_topic_that_nobody_made_is_not_there(broker: Broker):
    with pytest.raises(KafkaError):
        broker.produce(unique("never-made"), [b"x"], max_block_ms=1500, allow_auto_create_topics=True)
