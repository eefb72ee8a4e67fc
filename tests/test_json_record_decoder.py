"""JSON record decoder: compared with json.loads record by record; and what msgspec alone would refuse or let pass."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamkl.adapters.json_record_decoder import BEYOND_DOUBLES, EMPTY, REASONS, TOMBSTONE, TOO_LONG, JsonRecordDecoder
from streamkl.adapters.json_scanner import INVALID_JSON, NOT_AN_OBJECT
from streamkl.adapters.lines import INVALID_UTF8
from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT
from streamkl.service.record import PlainRecord

SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
NAMES = st.sampled_from(["x", "a.b", "p", "q", "é", 'say "x"', "back\\slash"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8)
OBJECTS = st.lists(st.dictionaries(NAMES, VALUES), max_size=5)
PATHS = {
    "x": ["x"],
    "p": ["p"],
    "p.x": ["p", "x"],
    "p.q.x": ["p", "q", "x"],
    r"q.a\.b": ["q", "a.b"],
    r"a\.b": ["a.b"],
    "é": ["é"],
}


def records(*values):
    return [PlainRecord("t", 0, offset, None, None, value) for offset, value in enumerate(values)]


def decoded(value, *paths, **settings):
    return JsonRecordDecoder(paths or ["x"], **settings).decode(records(value))


def looked_up(record, names):
    for name in names:
        if not isinstance(record, dict) or name not in record:
            return ABSENT
        record = record[name]
    return record


def same(found, expected):
    return type(found) is type(expected) and (found == expected or found is expected)


@pytest.mark.parametrize("paths", [PATHS, {**PATHS, 'p.say "x"': ["p", 'say "x"'], r"back\\slash": ["back\\slash"]}, {"p.q.x": ["p", "q", "x"]}])
@given(objects=OBJECTS, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_fields_are_those_of_the_standard_library(paths, objects, is_ascii, indent):
    values = [json.dumps(one, ensure_ascii=is_ascii, indent=indent).encode() for one in objects]
    found = JsonRecordDecoder(list(paths)).decode(records(*values))
    assert found.rejects == []
    assert found.rows == list(range(len(objects)))
    for path, names in paths.items():
        for field, one in zip(found.columns[path], objects, strict=True):
            assert same(field, looked_up(one, names))


PIECES = st.sampled_from(
    ["{", "}", '"x"', ":", ",", "1", "NaN", '"p"', "[", "]", " ", "\t", '"\\ud800"', "9" * 400, "1e400", "null", "\ufeff", "Infinity"]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.dictionaries(st.sampled_from("xp"), st.integers()).map(json.dumps), st.integers(0, 40))
def test_a_record_means_the_same_whichever_way_it_is_read(text, padding):
    """The padding makes the record long, and a name that JSON has to escape makes every record be read by the json module."""
    value = text.encode("utf-8", "surrogatepass") + b" " * 10 * padding
    fast = JsonRecordDecoder(["x", "p.x"]).decode(records(value))
    slow = JsonRecordDecoder(["x", "p.x", '"']).decode(records(value))
    assert fast.rows == slow.rows
    assert fast.rejects == slow.rejects
    for path in fast.columns:
        assert [str(field) for field in fast.columns[path]] == [str(field) for field in slow.columns[path]]


@given(st.lists(st.binary(max_size=100) | st.none()))
def test_any_bytes_are_a_record_or_a_reject_with_a_constant_reason(values):
    found = JsonRecordDecoder(["x"]).decode(records(*values, *(b'{"x":' + (value or b"") + b"}" for value in values)))
    assert sorted([*found.rows, *(index for index, _ in found.rejects)]) == list(range(2 * len(values)))
    assert {reason for _, reason in found.rejects} <= set(REASONS)
    assert len(found.columns["x"]) == len(found.rows)


SPLIT = [b'{"x":1}', b'{"x":{"x":2}', b'"x":3}', b"{}", b"{}{}", b'{"x":4}{"x":5}', b'{"y":"', b'"}', b'{"x":"}', b'{"}', b"{}\n{}", b"", b" {} ",
         b'{"x":6', b',"x":7}', b"}", b"{", b'{"y":[{}', b"{}]}", b'{"x":"\xff"}', b'{"x":1e400}', b'{"y":' + b"9" * 400 + b"}", None]


@given(st.lists(st.sampled_from(SPLIT) | st.just(b'{"x":0}') | st.integers(0, 10**400).map(lambda x: b'{"x":%d}' % x), max_size=9))
@example([b'{"x":{}', b"{}}", b"{}{}"])                    # three values, three objects, and none of them in one value alone
@example([b'{"y":"}', b'{"}', b"{}{}"])
@example([b"{}{}", b"{", b"}"])
@example([b'{"x":1}', b'{"x":' + b"9" * 400 + b"}"])
def test_a_record_means_the_same_among_others_that_could_be_taken_for_a_part_of_it(values):
    decoder = JsonRecordDecoder(["x"])
    together = decoder.decode(records(*values))
    alone = [decoder.decode(records(value)) for value in values]
    assert together.columns["x"] == [x for one in alone for x in one.columns["x"]]
    assert together.rejects == [(index, reason) for index, one in enumerate(alone) for _, reason in one.rejects]
    assert together.rows == [index for index, one in enumerate(alone) if one.rows]


def test_many_good_records_are_read_in_one_call_and_one_bad_among_them_is_found():
    values = [b'{"x":%d}' % i for i in range(1000)]
    values[700] = b'{"x":'
    found = JsonRecordDecoder(["x"]).decode(records(*values))
    assert found.columns["x"] == [i for i in range(1000) if i != 700]
    assert (found.rows, found.rejects) == ([i for i in range(1000) if i != 700], [(700, INVALID_JSON)])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, TOMBSTONE),
        (b"", EMPTY),
        (b" ", INVALID_JSON),
        (b"[1]", NOT_AN_OBJECT),
        (b"null", NOT_AN_OBJECT),
        (b"NaN", NOT_AN_OBJECT),
        (b'{"x":1', INVALID_JSON),
        (b'{"x":1,}', INVALID_JSON),
        (b'{"x":1}{"x":2}', INVALID_JSON),
        (b'{"x":1}\n{"x":2}', INVALID_JSON),
        (b'{"x":"a\tb"}', INVALID_JSON),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", INVALID_JSON),
        (b'{"y":' + b"[" * 100_000 + b"]" * 100_000 + b"}", INVALID_JSON),
        (b'{"x":"\xff"}', INVALID_UTF8),
        (b'{"x":"\xc0\xaf"}', INVALID_UTF8),
        (b'{"x":"\\ud800"}', INVALID_UTF8),
        (b"\xff\xfe{\0}\0", INVALID_UTF8),
        (b'{"x":1e400}', BEYOND_DOUBLES),
        (b'{"x":-' + b"9" * 400 + b"}", BEYOND_DOUBLES),
        (b'{"x":' + b"9" * 5000 + b"}", BEYOND_DOUBLES),
        (b'{"x":"' + b"y" * 200 + b'"}', TOO_LONG),
    ],
)
def test_what_is_no_record_is_a_reject_and_its_neighbours_are_not(value, reason):
    decoder = JsonRecordDecoder(["x"], record_bytes_max=100 if reason == TOO_LONG else 1 << 20)
    found = decoder.decode(records(b'{"x":1}', value, b'{"x":3}'))
    assert found == ([0, 2], {"x": [1, 3]}, [(1, reason)])


def test_a_record_of_just_the_longest_length_is_read_and_one_byte_more_is_not():
    value = b'{"x":12}'
    assert decoded(value, record_bytes_max=len(value)).columns == {"x": [12]}
    assert decoded(value, record_bytes_max=len(value) - 1).rejects == [(0, TOO_LONG)]


def test_what_is_not_watched_is_not_looked_at():
    value = b'{"n":"\xff","m":"\\ud800","k":1e400,"d":' + b"9" * 5000 + b',"i":NaN,"x":7}'
    assert decoded(value).columns == {"x": [7]}


def test_the_literals_of_python_and_javascript_come_as_floats():
    found = JsonRecordDecoder(["x"]).decode(records(b'{"x":NaN}', b'{"x":Infinity}', b'{"x":-Infinity}')).columns["x"]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf]


def test_a_byte_order_mark_is_left_out():
    assert decoded(b'\xef\xbb\xbf{"x":1}').columns == {"x": [1]}


@pytest.mark.parametrize("tail", [b"", b',"n":NaN'])
def test_of_a_key_that_is_there_twice_the_last_one_counts_at_every_level(tail):
    assert decoded(b'{"x":1,"x":2' + tail + b"}").columns == {"x": [2]}
    assert decoded(b'{"p":{"x":1},"p":{"y":2}' + tail + b"}", "p.x").columns == {"p.x": [ABSENT]}
    assert decoded(b'{"p":3,"p":{"x":1,"x":4}' + tail + b"}", "p.x").columns == {"p.x": [4]}


@pytest.mark.parametrize("tail", [b"", b',"n":NaN', b',"n":"' + b"y" * 400 + b'"'])
@pytest.mark.parametrize("payload", [b"3", b"null", b'"x"', b"[1]", b'[{"x":1}]', b"true", b"1.5", b"{}", b'{"q":1}'])
def test_below_what_is_no_object_a_field_is_absent_and_its_neighbours_are_not(payload, tail):
    values = (b'{"payload":{"x":1}}', b'{"payload":' + payload + tail + b"}", b'{"payload":{"x":3}}', b'{"y":1}')
    found = JsonRecordDecoder(["payload.x"]).decode(records(*values))
    assert found.rejects == []
    assert found.columns == {"payload.x": [1, ABSENT, 3, ABSENT]}


def test_a_dot_in_a_name_is_escaped():
    value = b'{"a.b":1,"a":{"b":2,"c.d":{"e":3}}}'
    paths = [r"a\.b", "a.b", r"a.c\.d.e"]
    assert decoded(value, *paths).columns == dict(zip(paths, [[1], [2], [3]], strict=True))


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\\", r"a\b"])
def test_a_path_that_cannot_be_read_is_refused(path):
    with pytest.raises(ConfigError, match="path"):
        JsonRecordDecoder([path])


def test_a_longest_record_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="record_bytes_max=0"):
        JsonRecordDecoder(["x"], record_bytes_max=0)
