"""The log corrector where nobody has configured structlog: events go to the standard library's logger, with what a person needs and no bin."""

from __future__ import annotations

import logging

from receiver import RAISED, event

from streamkl.adapters.log import Log


def test_an_alarm_is_a_warning_with_its_stream_and_its_divergence(caplog):
    caplog.set_level(logging.INFO, "streamkl")
    Log()(event(reason="new prices", by="ann"))
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "streamkl")
    for said in ("drift.told", RAISED.id, "payments/EU/amount", "'2025-10-09T08:53:20.000Z'", "kl=0.377", "limit=0.361", "window=150", "by='ann'"):
        assert said in record.message
    assert "(15, inf)" not in record.message             # a value of the data


def test_other_kinds_are_information(caplog):
    caplog.set_level(logging.INFO, "streamkl")
    Log()(event("drift.resolved", criterion=(), at=None))
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "kl=" not in record.message


def test_a_name_from_the_data_stays_on_its_line(caplog):
    Log()(event(stream="a\nERROR forged"))
    (record,) = caplog.records
    assert "\n" not in record.message
