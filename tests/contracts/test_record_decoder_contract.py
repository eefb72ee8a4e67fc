"""The contract of `RecordDecoder`: a decoder, how it writes a row of text fields, and what it is to make of them."""

from __future__ import annotations

import csv
import importlib
import io
import json
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkl import adapters
from streamkl.adapters import csv_record_decoder, json_record_decoder
from streamkl.adapters.csv_lines import HEADER
from streamkl.service.batch import ABSENT
from streamkl.service.record import PlainRecord

COLUMNS = ["x", "y", "z"]


class Json:
    decoder, reasons, headers = json_record_decoder.JsonRecordDecoder, json_record_decoder.REASONS, ()

    @staticmethod
    def written(fields):
        return json.dumps(dict(zip(COLUMNS, fields, strict=True))).encode()


class Csv:
    decoder, reasons, headers = csv_record_decoder.CsvRecordDecoder, csv_record_decoder.REASONS, ((HEADER, ",".join(COLUMNS).encode()),)

    @staticmethod
    def written(fields):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(fields)
        return text.getvalue()[:-1].encode()


FORMATS = [Json, Csv]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6) | st.sampled_from(['"', ",", "\n", "1.5", "é"])
ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=6)


@pytest.fixture(params=FORMATS, ids=lambda format: format.__name__)
def format(request):
    return request.param


def records(format, *values):
    return [PlainRecord("t", 0, offset, None, None, value, format.headers) for offset, value in enumerate(values)]


def test_every_decoder_of_records_is_held_to_this_contract():
    modules = [importlib.import_module(f"streamkl.adapters.{m.name}") for m in pkgutil.iter_modules(adapters.__path__) if "kafka_" not in m.name]
    assert {one for m in modules for name, one in vars(m).items() if name.endswith("RecordDecoder")} == {format.decoder for format in FORMATS}


@pytest.mark.parametrize("format", FORMATS)
@given(rows=ROWS)
def test_the_fields_come_back_in_columns(format, rows):
    found = format.decoder(["z", "x", "never"]).decode(records(format, *map(format.written, rows)))
    assert found.rejects == []
    assert list(found.rows) == list(range(len(rows)))
    assert list(found.columns["z"]) == [row[2] for row in rows]
    assert list(found.columns["x"]) == [row[0] for row in rows]
    assert list(found.columns["never"]) == [ABSENT] * len(rows)


@pytest.mark.parametrize("format", FORMATS)
@given(values=st.lists(st.binary(max_size=30) | st.none() | st.just(b'{"x":"a"}') | st.just(b"a,b,c"), max_size=5))
def test_each_record_is_a_row_or_a_reject_for_a_constant_reason(format, values):
    found = format.decoder(["x"]).decode(records(format, *values))
    assert sorted([*found.rows, *(index for index, _ in found.rejects)]) == list(range(len(values)))
    assert list(found.rows) == sorted(found.rows)
    assert {reason for _, reason in found.rejects} <= set(format.reasons)
    assert len(found.columns["x"]) == len(found.rows)


@pytest.mark.parametrize("format", FORMATS)
@given(values=st.lists(st.binary(max_size=30) | TEXT.map(str.encode) | st.just(b'{"x":"a"}') | st.just(b"a,b,c"), max_size=5))
def test_it_remembers_nothing_and_a_record_means_the_same_among_others(format, values):
    decoder = format.decoder(["x", "y"])
    together = decoder.decode(records(format, *values))
    found = dict(zip(together.rows, zip(together.columns["x"], together.columns["y"], strict=True), strict=True)) | dict(together.rejects)
    for index, value in enumerate(values):
        alone = decoder.decode(records(format, value))
        expected = alone.rejects[0][1] if alone.rejects else (alone.columns["x"][0], alone.columns["y"][0])
        assert repr(found[index]) == repr(expected)


def test_no_records_are_no_rows(format):
    assert format.decoder(["x"]).decode([]) == ([], {"x": []}, [])


def test_no_value_an_empty_one_and_a_long_one_are_rejects(format):
    good = format.written(["1", "2", "3"])
    found = format.decoder(["x"], record_bytes_max=len(good)).decode(records(format, good, None, b"", good + b" ", good))
    assert list(found.rows) == [0, 4]
    assert [index for index, _ in found.rejects] == [1, 2, 3]
    assert len({reason for _, reason in found.rejects}) == 3


def test_a_byte_that_is_not_utf8_in_a_watched_field_is_a_reject(format):
    value = format.written(["@", "2", "3"]).replace(b"@", b"\xff")
    assert format.decoder(["x"]).decode(records(format, value)).rejects == [(0, "invalid UTF-8 (or half a surrogate pair)")]
