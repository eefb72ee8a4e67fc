"""Kafka inspection: whether a broker has what a configuration asks for, and lets us do it.

Rule 1: nothing is changed: no topic is made, no group joined, no offset committed, no transaction begun or ended.
Rule 2: everything is looked at, however much is wrong; only a broker that is away, or lets us in nowhere, ends it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    KafkaError,
    NoError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.consumer import HeartbeatRequest
from kafka.protocol.metadata import CoordinatorType
from kafka.protocol.producer import EndTxnRequest

from streamkl.adapters import kafka_limits
from streamkl.adapters.kafka_client import connected
from streamkl.adapters.kafka_control import CONTROL_SETTINGS
from streamkl.adapters.kafka_errors import explained, in_our_words
from streamkl.adapters.kafka_topics import OUTPUT_SETTINGS, STATE_SETTINGS
from streamkl.service.finding import Finding, fault, ok, warning
from streamkl.service.record import Record
from streamkl.service.sample import Expected, judged

SAMPLE_RECORDS = 200        # of a topic
LEAST_OF_A_PARTITION = 20
SAMPLE_SECONDS = 10.0
POSITION_MS = 1000.0
COORDINATOR_SECONDS = 10.0  # a new cluster first makes the topics that its coordinators live on
NOBODY = 2**62              # a producer id that no broker has given: what comes in its name is refused after our rights were looked at
REFUSED_TO_NOBODY = (UnknownMemberIdError, IllegalGenerationError, InvalidProducerIdMappingError, InvalidProducerEpochError)


class Wanted(NamedTuple):
    """What the service needs of a broker. outputs: topics that are only written; expected: what is read, by entry.

    letters: the topic of dead letters, if any. control: the topic of commands, if they are read: without it the service goes on.
    """

    expected: Sequence[Expected]
    outputs: Sequence[str]
    state: str
    group: str
    transactional_id: str
    letters: str | None = None
    record_bytes_max: int = 0
    replay_seconds_max: float = 0.0
    control: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Topics that are read, each once."""
        return tuple(dict.fromkeys(entry.topic for entry in self.expected))


def inspect(settings: Mapping[str, Any], wanted: Wanted) -> Iterator[Finding]:
    """Yield what a broker says. settings: of `client_settings`. Raises Unavailable, ConfigError where it does not let us in."""
    servers = ",".join(settings["bootstrap_servers"])
    admin: Any = connected(KafkaAdminClient, settings)
    try:
        yield ok(f"{servers}: is there, and takes us as we are")
        broker = _Broker(admin, servers)
        yield from broker.topics(wanted)
        yield broker.group(wanted.group)
        yield broker.transactional_id(wanted.transactional_id)
        readable = [topic for topic in wanted.inputs if broker.partitions.get(topic)]
    finally:
        admin.close()
    for topic in readable:
        with in_our_words(f"sampling {topic}"):
            records = sample(settings, topic, broker.partitions[topic])
        for entry in wanted.expected:
            if entry.topic == topic:
                yield from judged(entry, records)


def sample(settings: Mapping[str, Any], topic: str, partitions: int) -> list[Record]:
    """Return some of the newest records of each partition; fewer where they do not come in time."""
    quiet = {"group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed", "allow_auto_create_topics": False}
    consumer: Any = connected(KafkaConsumer, {**settings, **quiet})
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        within_ms = SAMPLE_SECONDS * 1000
        ends, starts = consumer.end_offsets(places, timeout_ms=within_ms), consumer.beginning_offsets(places, timeout_ms=within_ms)
        each = max(LEAST_OF_A_PARTITION, SAMPLE_RECORDS // partitions)
        for place in places:
            consumer.seek(place, max(starts[place], ends[place] - each))
        found: list[Record] = []
        deadline = time.monotonic() + SAMPLE_SECONDS
        while time.monotonic() < deadline and any(_position(consumer, place) < ends[place] for place in places):
            for place, records in consumer.poll(timeout_ms=200).items():
                found += [record for record in records if record.offset < ends[place]]
        return found
    finally:
        consumer.close(autocommit=False, timeout_ms=0)


def _position(consumer: Any, place: TopicPartition) -> int:
    """Return the offset that is read next; 0 where it is not known in time, so that it is asked again."""
    return int(consumer.position(place, timeout_ms=POSITION_MS) or 0)


class _Broker:
    """Asks an administrator's client; `partitions`: topic -> number of partitions, of those that we may read."""

    def __init__(self, admin: Any, servers: str) -> None:
        self.partitions: dict[str, int] = {}
        self._admin = admin
        self._servers = servers

    def topics(self, wanted: Wanted) -> Iterator[Finding]:
        """Yield whether each topic is there, has the partitions it needs, and gives us the rights we need."""
        operations = {**dict.fromkeys(wanted.inputs, ("READ",)), **dict.fromkeys(wanted.outputs, ("WRITE",)), wanted.state: ("READ", "WRITE")}
        if wanted.control is not None:
            operations[wanted.control] = ("READ",)
        with in_our_words(f"looking for {', '.join(operations)}"):
            told = {topic["name"]: topic for topic in self._admin.describe_topics(list(operations))}
        counts = {name: len(topic["partitions"]) for name, topic in told.items() if not topic["error_code"]}
        most = max((counts[name] for name in wanted.inputs if name in counts), default=0)
        for name, needed in operations.items():
            if name not in counts and name == wanted.control:
                yield self._no_commands(name)
                continue
            if name not in counts:
                yield self._missing(name, told[name]["error_code"], needed, most if name == wanted.state else 0)
                continue
            yield self._rights(name, counts[name], needed, told[name].get("authorized_operations"))
            with in_our_words(f"looking at the settings of {name}"):
                if name in wanted.inputs:
                    yield from kafka_limits.retention(self._admin, name, wanted.replay_seconds_max)
                elif name == wanted.letters:
                    yield from kafka_limits.letters(self._admin, name, wanted.record_bytes_max)
            if name == wanted.control and counts[name] != 1:
                yield fault(f"{name}: has {counts[name]} partitions, and commands need one order; make it anew with one, or name another one")
            if name == wanted.state and most:
                yield from self._state(name, counts[name], most)
        self.partitions = {name: counts[name] for name in wanted.inputs if name in counts and self._may_read(told[name])}

    def _no_commands(self, name: str) -> Finding:
        creation = f"kafka-topics --bootstrap-server {self._servers} --create --topic {name} --partitions 1 {CONTROL_SETTINGS}"
        return warning(f"{name}: is not there, or we may not see it, so that nobody can command; create it with: {creation}")

    @staticmethod
    def _may_read(topic: Mapping[str, Any]) -> bool:
        operations = topic.get("authorized_operations")
        return operations is None or "READ" in operations

    def _missing(self, name: str, code: int, needed: Sequence[str], partitions: int) -> Finding:
        error = for_code(code)
        if error is TopicAuthorizationFailedError:
            return fault(f"{name}: we may not see it; allow {' and '.join(needed)} on it, and make sure that it is there")
        if error is not UnknownTopicOrPartitionError:
            return fault(f"{name}: {explained(error(), 'looking for it')}")
        settings = f" {OUTPUT_SETTINGS}" if needed == ("WRITE",) else ""
        more = f"--partitions {partitions} {STATE_SETTINGS}" if partitions else f"--partitions N{settings}"
        return fault(f"{name}: is not there; create it with: kafka-topics --bootstrap-server {self._servers} --create --topic {name} {more}")

    @staticmethod
    def _rights(name: str, partitions: int, needed: Sequence[str], allowed: Sequence[str] | None) -> Finding:
        count = f"{partitions} partition{'s' if partitions > 1 else ''}"
        if allowed is None:
            return warning(f"{name}: has {count}; the broker does not tell whether we may {' and '.join(needed)}")
        missing = [operation for operation in needed if operation not in allowed]
        if missing:
            return fault(f"{name}: we have no right to {' and '.join(missing)}; allow it on the broker, e.g. with kafka-acls --add")
        return ok(f"{name}: has {count}, and we may {' and '.join(needed)}")

    def _state(self, name: str, have: int, most: int) -> Iterator[Finding]:
        if have != most:
            yield fault(
                f"{name}: has {have} partitions, the largest input topic {most}, and partition n of an input is kept in partition n; "
                + (f"run: kafka-topics --bootstrap-server {self._servers} --alter --topic {name} --partitions {most}" if have < most
                   else f"make it anew with {most}, or name another one in state.topic")
            )
        try:
            resource = ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": None})
            policy = self._admin.describe_configs([resource], config_filter="all")["topic"][name].get("cleanup.policy", {}).get("value")
        except AuthorizationError:
            policy = None
        if policy is None:
            yield warning(f"{name}: we may not see whether it is compacted; make sure that cleanup.policy is compact, or allow DESCRIBE_CONFIGS")
        elif policy != "compact":
            yield fault(
                f"{name}: has cleanup.policy={policy}, so that state would be deleted with time; run: kafka-configs --bootstrap-server "
                f"{self._servers} --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
            )
        else:
            yield ok(f"{name}: is compacted")

    def group(self, group: str) -> Finding:
        """Return whether we may join a group: a heartbeat of nobody is refused, but only after our rights were looked at."""
        request = HeartbeatRequest(group_id=group, generation_id=0, member_id="nobody")
        return self._asked(request, group, CoordinatorType.GROUP, f"group {group}", "READ")

    def transactional_id(self, name: str) -> Finding:
        """Return whether we may write in transactions of this id: nobody's is to be ended, which is refused in the same way."""
        request = EndTxnRequest(transactional_id=name, producer_id=NOBODY, producer_epoch=0, committed=False)
        return self._asked(request, name, CoordinatorType.TRANSACTION, f"transactional id {name}", "WRITE and DESCRIBE")

    def _asked(self, request: Any, key: str, kind: Any, what: str, needed: str) -> Finding:
        async def answer() -> int:
            ids = await self._admin._find_coordinator_ids([key], key_type=kind)
            response = await self._admin._manager.send(request, node_id=ids[key])
            return int(response.error_code)

        deadline = time.monotonic() + COORDINATOR_SECONDS
        while True:
            try:
                error = for_code(self._admin._manager.run(answer))
            except AuthorizationError as refused:
                error = type(refused)
            except KafkaError as away:
                error = type(away)
            if not issubclass(error, RetriableError) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if issubclass(error, AuthorizationError):
            return fault(f"{what}: we have no right to it; allow {needed} of it on the broker, e.g. with kafka-acls --add")
        if issubclass(error, RetriableError):
            return warning(f"{what}: its coordinator does not answer ({error.__name__}); check again later")
        if error not in (*REFUSED_TO_NOBODY, NoError):
            return warning(f"{what}: the broker answers {error.__name__}; whether we may use it is not known")
        return ok(f"{what}: we may use it")
