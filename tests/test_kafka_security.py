"""How the Kafka adapters prove who they are, against a broker that asks; what it refuses is said with who must do what, and without a secret."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from broker import unique
from kafka_place import Place, unit
from kafka_worker import SimpleWorker
from secure_broker import SecureBroker

from streamkl.adapters.kafka_checkpoint import KafkaCheckpoint
from streamkl.adapters.kafka_client import Security, client_settings
from streamkl.adapters.kafka_source import KafkaSource
from streamkl.errors import ConfigError, Unavailable
from streamkl.service.alerts import Alerts
from streamkl.service.work import Restored

WAYS = [("SASL", "PLAIN"), ("SASL", "SCRAM-SHA-256"), ("SASL", "SCRAM-SHA-512"), ("TLS", None), ("MTLS", None), ("SASL_TLS", "SCRAM-SHA-512")]
PROTOCOLS = {"SASL": "SASL_PLAINTEXT", "TLS": "SSL", "MTLS": "SSL", "SASL_TLS": "SASL_SSL"}
PRINCIPALS = {"SASL": "limited", "TLS": "ANONYMOUS", "MTLS": "client", "SASL_TLS": "limited"}


def security(broker: SecureBroker, listener: str, mechanism: str | None, **changes: Any) -> Security:
    keys, given = broker.keys, Security(PROTOCOLS[listener])
    if "SASL" in listener:
        given = given._replace(mechanism=mechanism, username="limited", password=broker.passwords["limited"])
    if "TLS" in listener:
        given = given._replace(ca_file=str(keys.authority))
    if listener == "MTLS":
        given = given._replace(certificate_file=str(keys.folder / "client.pem"), key_file=str(keys.folder / "client.key"))
    return given._replace(**changes)


@pytest.fixture
def place(secure_broker: SecureBroker) -> Iterator[Place]:
    made = Place(secure_broker)
    yield made
    made.close()


def principal(broker: SecureBroker, listener: str) -> str:
    return PRINCIPALS[listener]


def allow(place: Place, user: str, *without: str) -> None:
    """Grant what KafkaSource and KafkaCheckpoint need, and no more, but for what is to be missing."""
    broker = place.broker
    wanted = [
        ("topic", place.input, "READ", "DESCRIBE"), ("topic", place.state, "READ", "WRITE", "DESCRIBE"), ("topic", place.events, "WRITE", "DESCRIBE"),
        ("topic", place.letters, "WRITE", "DESCRIBE"), ("topic", place.readings, "WRITE", "DESCRIBE"), ("group", place.group, "READ"),
        ("transactional_id", f"{place.application}.one", "WRITE", "DESCRIBE"),
    ]  # fmt: skip
    for resource, name, *operations in wanted:
        if name not in without:
            broker.allow(user, resource, name, *operations)


def parts(place: Place, listener: str, given: Security) -> tuple[KafkaSource, KafkaCheckpoint]:
    settings = client_settings([place.broker.address(listener)], given)
    source = KafkaSource(settings, [place.input], place.group)
    checkpoint = KafkaCheckpoint(
        settings, application=place.application, instance="one", group=place.group, topics=[place.input], state_topic=place.state,
        events_topic=place.events, dead_letters_topic=place.letters, readings_topic=place.readings, publisher=Alerts(place.application),
    )  # fmt: skip
    place.made += [source, checkpoint]
    return source, checkpoint


@pytest.mark.parametrize(("listener", "mechanism"), WAYS)
def test_every_way_to_prove_oneself_reads_commits_and_restores_with_the_least_rights(place, listener, mechanism):
    allow(place, principal(place.broker, listener))
    source, checkpoint = parts(place, listener, security(place.broker, listener, mechanism))
    place.broker.produce(place.input, [b"x"] * 3, partition=0)
    worker = SimpleWorker(source)
    worker.until(lambda w: len(w.records) == 3)
    checkpoint.commit(unit(place, 3, membership=worker.membership))
    assert checkpoint.restore(place.partition()) == Restored(3, {b"stream": b"3"})
    assert place.seen() == [1] * 4


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_a_fault_of_the_configuration_at_once_and_is_not_told(place, mechanism):
    wrong = security(place.broker, "SASL", mechanism, password="canary-in-a-mine")
    for part in parts(place, "SASL", wrong):
        began = time.monotonic()
        with pytest.raises(ConfigError, match="the broker refuses us; check mechanism, username and password") as refused:
            part.poll(0.1) if isinstance(part, KafkaSource) else part.restore(place.partition())
        assert time.monotonic() - began < 8
        assert "canary" not in f"{refused.value} {refused.value.__cause__} {wrong!r} {vars(part)['_topics']}"


@pytest.mark.parametrize(("file", "told"), [(None, "TLS fails; check ca_file"), ("/nowhere/ca.pem", "there is no file /nowhere/ca.pem")])
def test_a_certificate_that_is_not_trusted_or_not_there_is_a_fault_of_the_configuration(place, file, told):
    source, _ = parts(place, "TLS", security(place.broker, "TLS", None, ca_file=file))
    with pytest.raises(ConfigError, match=told):
        source.poll(0.1)


def missing(place: Place, what: str) -> str:
    return f"{place.application}.one" if what == "transactional_id" else getattr(place, what)


@pytest.mark.parametrize(("what", "told"), [("group", "no right to the consumer group"), ("input", "")])
def test_a_right_that_is_missing_for_reading_is_said(place, what, told):
    place.broker.allow("limited", "topic", unique("other"), "READ")
    allow(place, "limited", missing(place, what))
    source, _ = parts(place, "SASL", security(place.broker, "SASL", "PLAIN"))
    with pytest.raises((ConfigError, Unavailable), match=told or "no right to DESCRIBE it"):
        SimpleWorker(source).until(lambda w: False, seconds=10)


@pytest.mark.parametrize(("what", "told"), [("transactional_id", "transactional id"), ("state", "topic"), ("events", "topic"), ("group", "group")])
def test_a_right_that_is_missing_for_committing_is_said(place, what, told):
    allow(place, "limited", missing(place, what))
    _, checkpoint = parts(place, "SASL", security(place.broker, "SASL", "PLAIN"))
    with pytest.raises(ConfigError, match=f"no right to .*{told}"):
        checkpoint.restore(place.partition())
