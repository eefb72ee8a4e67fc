"""Hostile events: every payload of tests/oracles/hostile_events.json through decoder, keys, values and times of the service.

What the oracle leaves to policy is decided here, and each decision is a line of the table:

| case | outcome |
|---|---|
| string_number | the number that the text says |
| bool, object, array | counted fault, observed as missing: true is not 1, and of an object nobody knows which part was meant |
| lone_surrogate | the record is rejected: no UTF-8 can hold its key |
| dup_stream | the last key counts, as in every reader that follows the json module or JavaScript |
| long_name | counted fault of the key: the record belongs to no stream |
| bom | the mark is left out |
| ts_future, ts_leap, ts_invalid | counted fault; the observation counts, with the record's own time |
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from streamkl.adapters.json_record_decoder import REASONS, JsonRecordDecoder
from streamkl.service.event_times import AHEAD, event_times, stamps
from streamkl.service.record import PlainRecord
from streamkl.service.stream_keys import KEY_LENGTH, StreamKeys
from streamkl.service.times import NOT_A_TIME
from streamkl.service.values import NOT_A_NUMBER, NOT_A_VALUE, numbers

CASES = {case["name"]: case for case in json.loads((Path(__file__).parent / "oracles" / "hostile_events.json").read_text())}
STAMP = 1_500_000_000_000
HOUR = 3_600_000
TIME = 1431857103000          # 2015-05-17T10:05:03Z


class Outcome(NamedTuple):
    """What becomes of one record. value: None, missing. faults: reasons, without the column."""

    reject: str | None = None
    key: str | None = None
    value: float | None = None
    at: int | None = None
    faults: tuple[str, ...] = ()


WEB = Outcome(key="web-1", at=TIME)
POLICY = {
    "string_number": WEB._replace(value=203023.0),
    "bool": WEB._replace(faults=(NOT_A_NUMBER,)),
    "object": WEB._replace(faults=(NOT_A_VALUE,)),
    "array": WEB._replace(faults=(NOT_A_VALUE,)),
    "lone_surrogate": Outcome(reject="invalid UTF-8 (or half a surrogate pair)"),
    "dup_stream": Outcome(key="web-2", value=2.0, at=TIME),
    "long_name": Outcome(value=1.0, at=STAMP, faults=(f"key longer than {KEY_LENGTH} characters",)),
    "bom": WEB._replace(value=1.0),
    "ts_future": WEB._replace(value=1.0, at=STAMP, faults=(AHEAD,)),
    "ts_leap": WEB._replace(value=1.0, at=STAMP, faults=(NOT_A_TIME,)),
    "ts_invalid": WEB._replace(value=1.0, at=STAMP, faults=(NOT_A_TIME,)),
}
VALUES = {
    "ok": WEB._replace(value=203023.0),
    "ts_epoch_ms": WEB._replace(value=1.0, at=1446249499322),
    "big_float_int": WEB._replace(value=float(2**53)),
    "nfc_nfd": Outcome(key="cafe\u0301", value=1.0, at=TIME),
}


def outcome(value):
    record = PlainRecord("events", 0, 41, STAMP, None, value)
    decoded = JsonRecordDecoder(["stream", "bytes", "ts"]).decode([record])
    if decoded.rejects:
        assert decoded.rows == []
        return Outcome(reject=decoded.rejects[0][1])
    offsets = [record.offset for _ in decoded.rows]
    groups, key_faults = StreamKeys("stream", 10).groups(decoded.columns["stream"], offsets)
    found, value_faults = numbers("bytes", decoded.columns["bytes"], offsets, is_typed=True)
    times, time_faults = event_times("ts", decoded.columns["ts"], stamps([record.timestamp]), offsets, HOUR)
    faults = tuple(fault.reason.split(": ", 1)[1] for fault in (*key_faults, *value_faults, *time_faults))
    assert {fault.line for fault in (*key_faults, *value_faults, *time_faults)} <= {41}
    assert not np.isinf(found[0])
    return Outcome(None, next(iter(groups), None), None if np.isnan(found[0]) else float(found[0]), int(times[0]), faults)


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_event_has_its_intended_outcome(name):
    expect = CASES[name]["expect"]
    found = outcome(base64.b64decode(CASES[name]["b64"]))
    if expect == "policy":
        assert found == POLICY[name]
    elif expect == "value":
        assert found == VALUES[name]
    elif expect == "missing":
        assert found == WEB
    elif expect == "not_a_number":
        assert found == WEB._replace(faults=(NOT_A_NUMBER,))
    else:
        assert expect == "bad"
        assert found.reject in REASONS


def test_the_table_decides_exactly_what_the_oracle_leaves_open():
    assert {name for name, case in CASES.items() if case["expect"] == "policy"} == set(POLICY)
    assert {name for name, case in CASES.items() if case["expect"] == "value"} == set(VALUES)


@pytest.mark.parametrize(
    ("field", "value", "faults"), [(None, None, 0), ("", None, 0), (True, None, 1), (float("nan"), None, 1), ("1e400", None, 1), ("7", 7, 0)]
)
def test_one_odd_field_among_numbers_changes_no_neighbour(field, value, faults):
    found, rejects = numbers("x", [1, 2.5, field, 4], [10, 11, 12, 13], is_typed=True)
    assert [None if np.isnan(x) else x for x in found] == [1, 2.5, value, 4]
    assert [reject.line for reject in rejects] == [12] * faults


def test_a_time_just_as_far_ahead_as_allowed_is_taken_and_one_millisecond_more_is_not():
    at, faults = event_times("t", [STAMP + HOUR, STAMP + HOUR + 1, STAMP - 10**9], stamps([STAMP] * 3), [1, 2, 3], HOUR)
    assert at.tolist() == [STAMP + HOUR, STAMP, STAMP - 10**9]
    assert [fault.line for fault in faults] == [2]


def test_a_record_without_a_time_of_its_own_keeps_what_the_field_says():
    at, faults = event_times("t", ["9999-12-31T23:59:59Z", None], stamps([None, -1]), [1, 2], HOUR)
    assert at.tolist() == [253402300799000, np.iinfo(np.int64).min]
    assert faults == []
