"""What the whole suite shares: one hypothesis profile - the same examples on every machine, and no clock -, and real Kafka brokers.

A broker is started when the first test asks for it, and serves the whole session; tests/broker.py says what it can do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from broker import Broker
    from secure_broker import SecureBroker

settings.register_profile(
    "streamkl",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("streamkl")


def pytest_runtest_teardown() -> None:
    """Leave no configuration of the log to the next test: which one that is depends on how the tests are shared out."""
    if structlog := sys.modules.get("structlog"):
        structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests told (`record_property("told", ...)`), though they may have run in another process."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.split('::')[1]}: {text}")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One Kafka node; a test that ends it must call `broker.restore()`."""
    from broker import one_broker

    made = one_broker()
    yield made
    made.close()


@pytest.fixture(scope="session")
def brokers() -> Iterator[Broker]:
    """Three Kafka nodes; a test that ends some must call `brokers.restore()`."""
    from broker import three_brokers

    made = three_brokers()
    yield made
    made.close()


@pytest.fixture(scope="session")
def secure_broker() -> Iterator[SecureBroker]:
    """One Kafka node that lets in only who proves who he is, and do only what he may."""
    from secure_broker import secured_broker

    made = secured_broker()
    yield made
    made.close()
