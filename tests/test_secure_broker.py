"""The secure broker fixture: each way in lets in who may, and keeps out who may not."""

from __future__ import annotations

from typing import Any

import pytest
from broker import Broker
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from secure_broker import MECHANISMS, SecureBroker


def client(secure: SecureBroker, listener: str, security: dict[str, Any]) -> Broker:
    return Broker(secure.address(listener), security=security)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["SASL", "SASL_TLS"])
def test_a_user_with_the_right_password_writes_what_he_may(secure_broker: SecureBroker, listener: str, mechanism: str):
    topic = secure_broker.topic("allowed")
    secure_broker.allow("limited", "topic", topic, "WRITE", "DESCRIBE")
    client(secure_broker, listener, secure_broker.security_of(listener, "limited", mechanism)).produce(topic, [b"hello"], max_block_ms=10_000)
    assert [record.value for record in secure_broker.read(topic)] == [b"hello"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_refused(secure_broker: SecureBroker, mechanism: str):
    topic = secure_broker.topic("guarded")
    wrong = secure_broker.security_of("SASL", "admin", mechanism, password="wrong")
    with pytest.raises(KafkaError):
        client(secure_broker, "SASL", wrong).produce(topic, [b"x"], max_block_ms=2000, bootstrap_timeout_ms=2000)
    assert secure_broker.read(topic) == []


def test_a_certificate_names_its_user(secure_broker: SecureBroker):
    topic = secure_broker.topic("certified")
    secure_broker.allow("client", "topic", topic, "WRITE", "DESCRIBE")
    client(secure_broker, "MTLS", secure_broker.security_of("MTLS")).produce(topic, [b"hello"], max_block_ms=10_000)
    assert [record.value for record in secure_broker.read(topic)] == [b"hello"]


def test_without_a_certificate_the_mtls_listener_is_closed(secure_broker: SecureBroker):
    topic = secure_broker.topic("guarded")
    secure_broker.allow("ANONYMOUS", "topic", topic, "WRITE", "DESCRIBE")
    with pytest.raises(KafkaError):
        client(secure_broker, "MTLS", secure_broker.security_of("TLS")).produce(topic, [b"x"], max_block_ms=2000, bootstrap_timeout_ms=2000)
    assert secure_broker.read(topic) == []


def test_over_tls_without_a_user_one_may_only_what_anonymous_may(secure_broker: SecureBroker):
    topic, forbidden = secure_broker.topic("public"), secure_broker.topic("private")
    secure_broker.allow("ANONYMOUS", "topic", topic, "WRITE", "DESCRIBE")
    anonymous = client(secure_broker, "TLS", secure_broker.security_of("TLS"))
    anonymous.produce(topic, [b"hello"], max_block_ms=10_000)
    with pytest.raises(TopicAuthorizationFailedError):
        anonymous.produce(forbidden, [b"x"], max_block_ms=2000)


def test_a_user_may_not_write_where_nobody_allowed_him(secure_broker: SecureBroker):
    topic = secure_broker.topic("forbidden")
    with pytest.raises(TopicAuthorizationFailedError):
        client(secure_broker, "SASL", secure_broker.security_of("SASL", "limited")).produce(topic, [b"x"], max_block_ms=2000)
    assert secure_broker.read(topic) == []
