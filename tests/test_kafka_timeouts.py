"""Time limits of Kafka as they are put together from a configuration: a transaction, what waits for one that hangs, and /live."""

from __future__ import annotations

import pytest
from configured import KAFKA, changed, faults, loaded

from streamkl.app import build_service
from streamkl.service.health import LIVE_WITHIN_SECONDS


@pytest.mark.parametrize(("changes", "seconds"), [({}, 30), ({"source.transaction_timeout_seconds": 7}, 7)])
def test_the_transaction_timeout_is_that_of_the_configuration_and_a_restore_waits_longer_but_not_too_long(tmp_path, changes, seconds):
    config = loaded(tmp_path, changed(KAFKA, changes))
    _, store = build_service.kafka(config, None)
    assert store._transactions._settings["transaction_timeout_ms"] == seconds * 1000
    assert seconds + 10 < store._state._stall_seconds < LIVE_WITHIN_SECONDS
    assert build_service._longest_wait(config) > store._state._stall_seconds


@pytest.mark.parametrize("seconds", [0, 901])
def test_a_transaction_timeout_that_no_broker_takes_is_refused(tmp_path, seconds):
    (fault,) = faults(tmp_path, changed(KAFKA, {"source.transaction_timeout_seconds": seconds}))
    assert "transaction_timeout_seconds" in fault
