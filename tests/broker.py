"""A real Kafka broker for tests: Apache Kafka of its own on loopback, or the one that STREAMKL_TEST_BROKER names.

Rule 1: the broker is, in this order, host:port of STREAMKL_TEST_BROKER; Kafka from cached jars; Kafka from jars that mvn fetches now.
Rule 2: where none can be had, the test is skipped with the reason - or fails, where STREAMKL_REQUIRE_BROKER=1.
Rule 3: a broker is shared by all tests of a session, so every topic, group and transactional id has a name of its own: `unique`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy" / "local-kafka"))

from kafka_cluster import Cluster, LocalKafkaError

GIVEN = "STREAMKL_TEST_BROKER"
REQUIRED = "STREAMKL_REQUIRE_BROKER"
READ_SECONDS = 30.0
Message = bytes | tuple[bytes | None, bytes | None]          # a value, or key and value


def refuse(reason: str) -> NoReturn:
    """Skip the test that is running, or fail it where a broker is required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def started(make: Callable[[], Cluster]) -> Cluster:
    """Return a cluster that serves; refuse where there can be none."""
    try:
        cluster = make()
        try:
            cluster.start()
        except BaseException:
            cluster.close()
            raise
    except LocalKafkaError as error:
        refuse(f"no Kafka broker can be had: {error}")
    return cluster


def unique(hint: str) -> str:
    """Return a name that nobody else uses, for a topic, a group or a transactional id."""
    return f"{hint}-{uuid.uuid4().hex[:10]}"


class Broker:
    """A broker, and what tests do with one. `bootstrap`: host:port, comma-separated. `security`: arguments every client needs."""

    def __init__(self, bootstrap: str, cluster: Cluster | None = None, security: Mapping[str, Any] | None = None) -> None:
        self.bootstrap = bootstrap
        self.security = dict(security or {})
        self._cluster = cluster
        self._admin: KafkaAdminClient | None = None

    # ------------------------------------------------------------ clients

    def admin(self) -> KafkaAdminClient:
        """One client, until a node is started anew; do not close it."""
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, **self.security)
        return self._admin

    def producer(self, **settings: Any) -> KafkaProducer:
        quick = {"linger_ms": 5, "reconnect_backoff_max_ms": 500}
        return KafkaProducer(bootstrap_servers=self.bootstrap, **{**quick, **self.security, **settings})

    def consumer(self, **settings: Any) -> KafkaConsumer:
        """A consumer that commits nothing by itself, and starts at the beginning."""
        quiet = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "fetch_max_wait_ms": 50, "reconnect_backoff_max_ms": 500}
        return KafkaConsumer(bootstrap_servers=self.bootstrap, **{**quiet, **self.security, **settings})

    # ------------------------------------------------------------ topics and records

    def topic(self, hint: str = "topic", partitions: int = 1, *, is_compacted: bool = False, name: str | None = None, **configs: object) -> str:
        """Make a topic and return its name: `name`, or a unique one. configs: `segment_bytes=1000` is segment.bytes=1000."""
        name = name or unique(hint)
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        if is_compacted:
            settings["cleanup.policy"] = "compact"
        self.admin().create_topics({name: {"num_partitions": partitions, "configs": settings}}, wait_for_metadata=True)
        return name

    def produce(self, topic: str, messages: Iterable[Message], partition: int | None = None, **settings: Any) -> list[int]:
        """Send, wait for all, return the offsets."""
        producer = self.producer(**settings)
        try:
            pairs = (message if isinstance(message, tuple) else (None, message) for message in messages)
            waiting = [producer.send(topic, key=key, value=value, partition=partition) for key, value in pairs]
            return [future.get(timeout=READ_SECONDS).offset for future in waiting]
        finally:
            producer.close()

    def read(self, topic: str, *, is_committed: bool = True, seconds: float = READ_SECONDS) -> list[ConsumerRecord]:
        """Return all records up to the ends of now, by partition and offset: of committed transactions alone, or of all."""
        consumer = self.consumer(isolation_level="read_committed" if is_committed else "read_uncommitted")
        try:
            partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
            assert partitions, f"topic {topic} is not there"
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            deadline = time.monotonic() + seconds
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                assert time.monotonic() < deadline, f"{topic}: {len(found)} records after {seconds} s, ends are {ends}"
                found += itertools.chain.from_iterable(consumer.poll(timeout_ms=200).values())
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return partition -> committed offset of a group, of those partitions that have one."""
        offsets = self.admin().list_group_offsets([group])[group]
        return {partition.partition: found.offset for partition, found in offsets.items() if partition.topic == topic and found.offset >= 0}

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the node that leads a partition now."""
        (told,) = self.admin().describe_topics([topic])
        return next(int(one["leader_id"]) for one in told["partitions"] if one["partition_index"] == partition)

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        (told,) = self.admin().describe_topics([topic])
        return len(told["partitions"])

    def configs(self, topic: str) -> dict[str, str]:
        """Return the settings of a topic that differ from the broker's defaults."""
        told = self.admin().describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: setting["value"] for name, setting in told["topic"][topic].items()}

    # ------------------------------------------------------------ nodes

    def kill(self, node: int = 1) -> None:
        """kill -9 a node, at once."""
        self._own().nodes[node].kill()

    def stop(self, node: int = 1) -> None:
        """SIGTERM a node and wait for its end."""
        self._own().nodes[node].stop()

    def start(self, node: int = 1) -> None:
        """Start a node that is down, on its own data and port, and wait until it serves."""
        self._own().start_node(node)
        self._disconnect()                  # a client that met the outage says for a while that no node is ready

    def restore(self) -> None:
        """Start whatever is down: to be called at the end of a test that ends nodes."""
        for node in self._own().ended():
            self.start(node.number)

    def node_log(self, node: int = 1) -> str:
        return self._own().nodes[node].log.read_text(errors="replace")

    def close(self) -> None:
        self._disconnect()
        if self._cluster is not None:
            self._cluster.close()

    def _disconnect(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(KafkaError):
                admin.close()

    def _own(self) -> Cluster:
        if self._cluster is None:
            refuse(f"the broker of {GIVEN}={self.bootstrap} is not ours to kill")
        return self._cluster


def one_broker() -> Broker:
    """A broker of one node: the given one, or our own."""
    given = os.environ.get(GIVEN)
    if given:
        return Broker(given)
    cluster = started(lambda: Cluster(nodes=1))
    return Broker(cluster.bootstrap, cluster)


def three_brokers() -> Broker:
    """Three nodes, always our own: tests end them."""
    cluster = started(lambda: Cluster(nodes=3))
    return Broker(cluster.bootstrap, cluster)
