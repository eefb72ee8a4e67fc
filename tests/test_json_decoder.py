"""JSON decoder: compared with json.loads line by line, whatever the cuts; and what msgspec alone would refuse."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkl.adapters.json_decoder import JsonDecoder
from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT
from streamkl.service.values import numbers

SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["x", "my key", "é", "other"]), VALUES))
WATCHED = ["x", "my key", "é"]


def decoded(stored, cuts=(), wanted=WATCHED):
    decoder = JsonDecoder(wanted, "test.jsonl")
    decoder._absent.clear()  # what is absent is another test's business
    places = [0, *sorted(cut % (len(stored) + 1) for cut in cuts), len(stored)]
    blocks = [stored[start:end] for start, end in pairwise(places)]
    batches = [*(decoder.decode(block, is_last=False) for block in blocks), decoder.decode(b"", is_last=True)]
    rows = [row for b in batches for row in zip(b.lines, *(b.columns[name] for name in wanted), strict=True)]
    return rows, [reject for b in batches for reject in b.rejects]


@given(RECORDS, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.lists(st.integers(0, 500), max_size=6))
def test_the_records_are_those_of_the_standard_library_wherever_the_bytes_are_cut(records, is_ascii, line_end, cuts):
    stored = line_end.join(json.dumps(record, ensure_ascii=is_ascii) for record in records).encode("utf-8", "surrogatepass")
    rows, rejects = decoded(stored, cuts)
    assert [list(row[1:]) for row in rows] == [[record.get(name, ABSENT) for name in WATCHED] for record in records]
    assert [row[0] for row in rows] == [1 + i * line_end.count("\n") for i in range(len(records))]
    assert rejects == []


LINES = ['{"x":1}', "{}", '{"x":', '{"x":1}{"x":2}', "", " ", "}", "{", '{"x":{"y":1}', "nul", '{"x":NaN}']


@given(st.lists(st.sampled_from(LINES)), st.lists(st.integers(0, 99)))
def test_a_line_is_a_record_or_a_fault_or_blank_wherever_it_is_cut(lines, cuts):
    stored = "\n".join(lines).encode()
    rows, rejects = decoded(stored, cuts)
    assert (rows, rejects) == decoded(stored)
    good = [i for i, line in enumerate(lines, 1) if line in ('{"x":1}', "{}", '{"x":NaN}')]
    blank = [i for i, line in enumerate(lines, 1) if not line.strip()]
    assert [row[0] for row in rows] == good
    assert [reject.line for reject in rejects] == [i for i in range(1, len(lines) + 1) if i not in good and i not in blank]


@given(st.binary(max_size=100))
def test_any_bytes_are_records_or_faults_never_an_error(stored):
    rows, rejects = decoded(stored + b'\n{"x":' + stored + b"}\n")
    assert len(rows) + len(rejects) <= 2 * stored.count(b"\n") + 2


def test_numbers_beyond_the_range_of_floats_are_infinities_and_nan_is_missing():
    stored = b'{"x":1e400}\n{"x":-1e400}\n{"x":%s}\n{"x":-%s}\n{"x":NaN}\n{"x":-Infinity}' % (b"9" * 5000, b"9" * 400)
    rows, _ = decoded(stored, wanted=["x"])
    values, rejects = numbers("x", [row[1] for row in rows], range(1, 7))
    assert [None if math.isnan(value) else value for value in values] == [math.inf, -math.inf, math.inf, -math.inf, None, -math.inf]
    assert rejects == []


def test_the_last_record_needs_no_line_feed():
    assert decoded(b'{"x":1}\n{"x":2}', [9], ["x"])[0] == [(1, 1), (2, 2)]


def test_a_byte_order_mark_is_no_part_of_the_first_record():
    assert decoded(b'\xef\xbb\xbf{"x":1}\n', [1, 2], ["x"])[0] == [(1, 1)]


def test_a_field_that_no_record_has_is_refused_at_the_end_and_null_is_not_absent():
    decoder = JsonDecoder(["x", "y"], "test.jsonl")
    decoder.decode(b'{"x":null}\n', is_last=False)
    with pytest.raises(ConfigError, match="no record has the field 'y'"):
        decoder.decode(b"", is_last=True)
