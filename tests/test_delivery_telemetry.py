"""What a subscription tells: each log event by its name and level, each outcome as a metric; and what a program sees that configured nothing."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture
from subscribing import PLACE, Setting, event

from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.service.delivery import News
from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.incoming import Incoming, Undelivered
from streamkl.service.record import PlainRecord

ONE = event("payments/EU", 3)
OF = {"subscription": "retrainer", "id": ONE.id, "kind": "drift.raised", "stream": "payments/EU"}
RECORD = PlainRecord("drift", 0, 7, None, b"secret key", b"secret value", ())
LETTER = Undelivered(Incoming(PLACE, 8, RECORD, ONE), "retrainer", "no", 3, 0)
UNREAD = Undelivered(Incoming(PLACE, 8, RECORD, None, "version 2"), "retrainer", "version 2", 0, 0)
NEWS = News("exhausted", 3, 1.5, "no", "train.py:7 in retrain")
TOTAL = "streamkl_deliveries_total"

# (method, arguments, level, log event, fields that it must have, outcome that is counted)
CALLS = [
    ("started", ("drift", "/store"), "info", "subscription.started", {"subscription": "retrainer", "feed": "drift", "store": "/store"}, None),
    ("rebalanced", ([PLACE], []), "info", "subscription.rebalanced", {"gained": ["drift[0]"], "lost": []}, None),
    ("replaced", ("cut",), "warning", "feed.replaced", {"reason": "cut"}, None),
    ("delivered", (ONE, News("delivered", 2, 0.5)), "info", "event.delivered", {**OF, "attempts": 2, "seconds": 0.5}, "delivered"),
    ("acknowledged", (ONE,), "info", "event.acknowledged", OF, "delivered"),
    ("attempt_failed", (ONE, NEWS), "warning", "delivery.failed", {**OF, "attempt": 3, "reason": "no", "where": "train.py:7 in retrain"}, "retried"),
    ("given_up", (ONE, "a stop was asked for"), "warning", "delivery.postponed", {**OF, "reason": "a stop was asked for"}, None),
    ("buried", (LETTER, NEWS, "topic x", "create it"), "error", "event.dead_lettered",
     {**OF, "reason": "no", "attempts": 3, "where": "train.py:7 in retrain", "place": "topic x", "advice": "create it"}, "dead_lettered"),
    ("buried", (UNREAD, None, "topic x", ""), "error", "event.dead_lettered", {"record": "drift[0] 7", "reason": "version 2"}, "dead_lettered"),
    ("repeated", (ONE,), "debug", "event.repeated", OF, "repeated"),
    ("filtered", (ONE,), "debug", "event.filtered", OF, "filtered"),
    ("foreign", (PLACE, 7), "warning", "message.ignored", {"partition": "drift[0]", "offset": 7, "so_far": 1}, "foreign"),
    ("unavailable", ("away", 0.5), "warning", "outside.failed", {"what": "subscription", "reason": "away", "retry_seconds": 0.5}, None),
    ("failed", ("refused",), "error", "subscription.failed", {"reason": "refused"}, None),
    ("stopped", ("done",), "info", "subscription.stopped", {"reason": "done"}, None),
]  # fmt: skip


@pytest.fixture
def logs():
    capture = LogCapture()
    structlog.configure(processors=[structlog.stdlib.add_log_level, capture])
    yield capture.entries
    structlog.reset_defaults()


@pytest.mark.parametrize(("method", "arguments", "level", "name", "fields", "outcome"), CALLS, ids=[f"{call[3]} {n}" for n, call in enumerate(CALLS)])
def test_everything_is_told_by_its_name_level_and_metric(logs, method, arguments, level, name, fields, outcome):
    meter = PrometheusMeter()
    getattr(DeliveryTelemetry("retrainer", meter), method)(*arguments)
    (entry,) = logs
    assert (entry["log_level"], entry["event"]) == (level, name)
    assert fields.items() <= entry.items()
    assert entry["subscription"] == "retrainer"
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
    assert "secret" not in str(entry)
    counted = {found.labels["outcome"]: found.value for family in meter.registry.collect() for found in family.samples if found.name == TOTAL}
    assert counted == ({} if outcome is None else {outcome: 1.0})


def test_every_method_is_in_that_table():
    methods = {name for name, _ in inspect.getmembers(DeliveryTelemetry, inspect.isfunction) if not name.startswith("_")}
    assert {call[0] for call in CALLS} == methods


def test_foreign_messages_are_told_at_powers_of_two_and_always_counted(logs):
    meter = PrometheusMeter()
    telemetry = DeliveryTelemetry("retrainer", meter)
    for number in range(100):
        telemetry.foreign(PLACE, number)
    assert [entry["so_far"] for entry in logs] == [1, 2, 4, 8, 16, 32, 64]
    assert meter.value(TOTAL, subscription="retrainer", outcome="foreign") == 100


def test_a_delivery_is_timed(logs):
    setting = Setting([ONE])
    setting.subscription(lambda one: None).run_once(0.0)
    assert setting.meter.value("streamkl_delivery_seconds_count", subscription="group") == 1


def test_a_program_that_configured_no_logging_sees_warnings_on_standard_error_and_nothing_else():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom subscribing import Setting, event\n"
        "calls = []\ndef correct(one):\n    calls.append(one)\n    if len(calls) == 1: raise ValueError('not yet')\n"
        "Setting([event('a', 0)]).subscription(correct).run_once(0.0)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "delivery.failed" in line
