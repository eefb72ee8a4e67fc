"""`streamkl watch` and bad input: a clear message with a next step, or a counted outcome; never a traceback."""

from __future__ import annotations

import bz2
import json
import lzma

import pytest
from program import QUICK, csv_of, shifted, streamkl

from streamkl.adapters.json_decoder import JsonDecoder
from streamkl.service.batch import ABSENT


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "is empty"),
        ("\n\n \n", 2, "is empty"),
        ("x\n", 0, "no rows after the header"),
        ("y\n1\n", 2, "no column 'x' in the header (it has: 'y')"),
        ("xx,y\n1,2\n", 2, "did you mean 'xx'?"),
        ("a;x\n1;2\n", 2, "convert it first: tr ',;' '.,'"),
        ("a\tx\n1\t2\n", 2, "tr '\\t' ','"),
        ("x\r1\r2\r", 2, "tr '\\r' '\\n'"),
        ("x\r1\r2\r3\n", 2, "tr '\\r' '\\n'"),
        ("x" * (17 << 20), 2, "the first line is longer than 16 MiB"),
        ('"x\n1\n2\n', 2, "a quote in the header is never closed"),
        ('"x\n' + "1\n" * 5000, 2, "a quote in the header is never closed"),
        ("x,x\n1,2\n", 2, "appears 2 times"),
        ("\ufeffx\n1\n", 0, "1 observation"),
        (csv_of([5] * 900), 0, "one distinct value (= 5)"),
        (csv_of(["NA"] * 900), 0, "all its values are missing"),
        (csv_of(range(99)), 0, "still learning its reference"),
        (csv_of([*range(700), "12ms", "{}"]), 0, "2 times, column x: not a number, first in line 702: '12ms'"),
        (csv_of([*range(700), "1e400", "-1e400", "9" * 5000]), 0, "703 observations\n"),
        (csv_of(["login", "cart"]), 2, "column 'x' holds text ('login' in line 2); to watch it as categories: --kind categorical"),
        (csv_of(["a"] * 5000), 2, "--kind categorical"),
        ("x,y\n1\n1,2,3\n1,2\n", 0, "1 time, fewer fields than the header, first in line 2: '1 of 2'"),
        ('x\n1\n"2\n3\n', 0, "1 time, quote left open, first in line 3"),
        ("x\n1\r2\n3\n", 0, "not CSV"),
        (b"x,y\n1,\xff\n\xff,2\n", 0, "1 time, invalid UTF-8 (or half a surrogate pair), first in line 3"),
        ("x\n1\n".encode("utf-16"), 2, "iconv -f UTF-16 "),
        ("x\n1\n".encode("utf-16-le"), 2, "iconv -f UTF-16LE"),
        ("x\n1\n".encode("utf-16-be"), 2, "iconv -f UTF-16BE"),
        (bz2.compress(b"x\n1\n"), 2, "bzip2 data; unpack it first: bzip2 -dc"),
        (lzma.compress(b"x\n1\n"), 2, "xz data; unpack it first: xz -dc"),
        (b"PK\x03\x04\x14\x00\x08", 2, "zip data; unpack it first: unzip -p"),
        (b"\x28\xb5\x2f\xfd\x04\x00", 2, "zstd data; unpack it first: zstd -dc"),
        (b"PAR1\x15\x04\x15", 2, "parquet data"),
        ("PAR1,x\n1,2\n", 0, "1 observation"),
        ("a,x,b,c\n1,2,3,4\n", 0, "1 observation"),
        ('[\n {"x":1},\n {"x":2}\n]\n', 2, "a JSON array; one object a line: jq -c '.[]'"),
        ('[{"x":1},{"x":2}]', 2, "a JSON array; one object a line: jq -c '.[]'"),
        ('{\n "x": 1\n}\n', 2, "jq -c"),
        ("{x},y\n1,2\n", 2, "--format csv"),
        ("x,y\n1\n2\n", 2, "not one of 2 rows could be used (fewer fields than the header)"),
        ("x\n1\n\n3\n\n", 0, "3 observations (1 missing)"),
        ('{"price":1,"xx":2}\n', 2, "no record has the field 'x' (the first has: 'price', 'xx'); did you mean 'xx'?"),
        ('{"x":1e400}\n{"x":' + "9" * 5000 + '}\n{"x":NaN}\n{"x":"7"}\n{"x":true}', 0, "5 observations (1 missing)"),
        ('{"x":[1]}\n{"x":{}}\n{"x":1}', 0, "2 times, column x: an object or a list, not a value, first in line 1"),
        ("x\n1_000\n\u0663\n1\n", 0, "2 times, column x: not a number, first in line 2: '1_000'"),
        ("d\n", 2, "no column 'x'"),
        ('{"x":1}\nnot json\n{"x":\n', 0, "2 times, not JSON, first in line 2"),
        ('{"x":1}\n[1]\n', 0, "1 time, JSON, but not an object, first in line 2"),
        (b'{"x":1}\n{"x":"\xff"}\n', 0, "1 time, invalid UTF-8 (or half a surrogate pair), first in line 2"),
        ('{"x":1}\n{"x":' + "[" * 100_000 + "\n", 0, "1 time, not JSON, first in line 2"),
        ('{"x":"\\ud800"}\n{"x":1}\n', 0, "invalid UTF-8"),
    ],
)
def test_bad_input_is_a_clear_message_or_a_counted_outcome(text, code, said):
    outcome = streamkl("watch", "-", "--value", "x", stdin=text)
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.code == code


def test_a_key_of_70_kb_and_rows_without_a_key_are_counted():
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", stdin="k,x\n" + "a" * 70_000 + ",1\n,2\nb,3\n")
    assert "1 time, column k: key longer than 1000 characters, first in line 2" in outcome.err
    assert "1 time, column k: no key, first in line 3" in outcome.err
    assert len(outcome.err) < 2000
    assert outcome.code == 0


def test_times_that_go_back_are_counted_and_times_not_understood_are_faults():
    text = "t,x\n2026-01-02,1\n2026-01-01T00:00:00+01:00,2\nfoo,3\n,4\n1767400000,5\n"
    outcome = streamkl("watch", "-", "--value", "x", "--time", "t", stdin=text)
    assert "5 observations (1 out of order)" in outcome.err
    assert "1 time, column t: not a time" in outcome.err


def test_the_time_of_an_event_is_in_utc_whatever_the_clock_of_the_machine():
    values = shifted()
    text = "t,x\n" + "".join(f"2026-03-29T02:{i // 60 % 60:02d}:{i % 60:02d}+02:00,{x}\n" for i, x in enumerate(values))
    events = streamkl("watch", "-", "--value", "x", "--time", "t", "--json", *QUICK, stdin=text).events
    raised = next(event for event in events if event["kind"] == "drift.raised")
    assert raised["at"] == 1774742400000 + raised["index"] * 1000


def test_rows_beyond_the_most_streams_are_counted_not_kept():
    text = "k,x\n" + "".join(f"{i},1\n" for i in range(10_050)) + "3,1\n"
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", stdin=text)
    assert outcome.code == 0
    assert "10,000 streams" in outcome.err
    assert "50 times, column k: more than 10000 keys" in outcome.err
    assert "first in line 10,002: '10000'" in outcome.err


def test_categories_that_hardly_repeat_are_said_to_be_useless():
    outcome = streamkl("watch", "-", "--value", "x", "--kind", "categorical", stdin=csv_of(f"user{i}" for i in range(2000)))
    assert "categories hardly repeat" in outcome.err


def test_a_change_of_unit_shows_as_drift_of_missing():
    outcome = streamkl("watch", "-", "--value", "x", *QUICK, stdin=csv_of([*shifted(600, 600), *(f"{i}ms" for i in range(300))]))
    assert "missing 0 % ->" in outcome.out


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a\tb", "\x00", "", "é", "\u2028", "my key"])
def test_a_json_field_may_have_any_name(name):
    text = "".join(json.dumps({"y": 0, name: i}) + "\n" for i in range(20)) + '{"y":1}\n'
    source = JsonDecoder([name], "a.jsonl")
    batch = source.decode(text.encode(), is_last=True)
    assert batch.columns == {name: [*range(20), ABSENT]}


def test_a_json_field_whose_name_is_no_text_is_refused():
    outcome = streamkl("watch", "-", "--value", b"\xff".decode("utf-8", "surrogateescape"), "--format", "jsonl", stdin='{"x":1}\n')
    assert outcome.code == 2
    assert "is not UTF-8" in outcome.err


def test_texts_in_a_numeric_column_are_named_as_what_they_are():
    outcome = streamkl("watch", "-", "--value", "x", "--kind", "numeric", stdin=csv_of(["login", "cart"] * 200))
    assert outcome.code == 0
    assert "not one number among its values (400 texts); to watch them as categories: --kind categorical" in outcome.err


def test_a_stream_of_mostly_missing_values_says_how_many_are_usable():
    outcome = streamkl("watch", "-", "--value", "x", stdin=csv_of(["NA"] * 2000 + [1] * 30))
    assert "2,000 of 2,030 values are missing: 30 can be used, and a reference needs 100" in outcome.err
    assert "--kind categorical" not in outcome.err
    mixed = streamkl("watch", "-", "--value", "x", stdin=csv_of([1, *(["big", "small"] * 400)]))
    assert "800 are texts: to watch them as categories: --kind categorical" in mixed.err


def test_categories_that_mostly_do_not_repeat_are_said_to_be_useless_though_one_does():
    values = [f"user{i}" if i % 50 else "root" for i in range(2000)]
    outcome = streamkl("watch", "-", "--value", "x", "--kind", "categorical", stdin=csv_of(values))
    assert "98 % of the reference is `other`" in outcome.err
    assert "one distinct value" not in outcome.err


def test_several_columns_joined_by_commas_are_told_how_to_be_written():
    outcome = streamkl("watch", "-", "--value", "x,y", stdin="x,y\n1,2\n")
    assert outcome.code == 2
    assert "several columns: --value x y" in outcome.err


def test_of_a_row_without_a_key_only_the_key_is_a_fault():
    outcome = streamkl("watch", "-", "--value", "x", "--key", "k", "--time", "t", stdin="k,x,t\n,bad,bad\na,1,2026-01-01\n")
    assert "1 time, column k: no key, first in line 2" in outcome.err
    assert "not a" not in outcome.err
    assert "2 rows read" in outcome.err
