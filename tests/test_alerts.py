"""Alerts: what goes on the wire, read by the official CloudEvents SDK and held against the published schemas."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime

import jsonschema
import published
import pytest
import schemas
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st

from streamkl.errors import RecordError
from streamkl.service import alerts
from streamkl.service.alerts import Alerts, dead_letter, drift_event
from streamkl.service.cloud_events import received, rfc3339
from streamkl.service.record import PlainRecord
from streamkl.service.work import DeadLetter

EVENTS = published.events()
EVENT = next(event for event in EVENTS if event.kind == "drift.raised" and event.at is not None)
READERS = {"binary": from_binary, "structured": from_structured}


def read(message, mode="binary"):
    """The message, as the official SDK understands it."""
    assert len(dict(message.headers)) == len(message.headers)
    return READERS[mode](KafkaMessage(dict(message.headers), message.key, message.value), JSONFormat(), CloudEvent)


def at_second(at_ms):
    return datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)


# ---------------------------------------------------------------- drift events


@pytest.mark.parametrize("mode", READERS)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.stream}-{event.kind}-{event.index}")
def test_the_official_sdk_reads_every_kind_of_event_in_both_modes(event, mode):
    message = Alerts("checkout", mode).drift_event(event)
    told = read(message, mode)
    assert told.get_type() == f"io.streamkl.{event.kind}.v1"
    assert told.get_source() == "/streamkl/checkout"
    assert told.get_subject() == told.get_extension("partitionkey") == event.stream
    assert told.get_id() == event.id
    assert told.get_specversion() == "1.0"
    assert told.get_datacontenttype() == "application/json"
    assert told.get_dataschema() == json.loads((schemas.FOLDER / "drift-event.v1.json").read_text())["$id"]
    assert told.get_extension("sequence") == str(event.episode)
    assert told.get_data() == event.to_dict()
    if event.at is not None:
        assert told.get_time() == at_second(event.at)
    assert message.key == event.stream.encode()


def test_the_headers_of_binary_mode_are_those_of_the_kafka_binding():
    event = dataclasses.replace(EVENT, stream="Zürich/50 %", at=published.START_MS, episode=4, id="abc")
    assert Alerts("checkout").drift_event(event).headers == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"io.streamkl.drift.raised.v1"),
        ("ce_source", b"/streamkl/checkout"),
        ("ce_id", b"abc"),
        ("ce_subject", "Zürich/50 %".encode()),
        ("ce_time", b"2015-05-17T08:05:03.120Z"),
        ("ce_partitionkey", "Zürich/50 %".encode()),
        ("ce_dataschema", b"urn:streamkl:schema:drift-event:v1"),
        ("ce_sequence", b"4"),
    ]


def test_structured_mode_says_so_in_its_one_header():
    assert Alerts("checkout", "structured").drift_event(EVENT).headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]


@pytest.mark.parametrize("mode", READERS)
def test_an_event_without_time_has_no_time_attribute(mode):
    message = Alerts("checkout", mode).drift_event(dataclasses.replace(EVENT, at=None))
    attributes = dict(message.headers) if mode == "binary" else json.loads(message.value)
    assert not {"ce_time", "time"} & set(attributes)


@given(st.integers(-(10**15), 10**15))
@example(253402300799999)
@example(253402300800000)
def test_a_time_is_written_to_the_millisecond_or_not_at_all(at_ms):
    text = rfc3339(at_ms)
    if at_ms >= 253402300800000 or at_ms < -62135596800000:
        assert text is None
    else:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        assert (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 == pytest.approx(at_ms, abs=1e-1)


@pytest.mark.parametrize("mode", READERS)
@given(stream=st.text(st.characters(), min_size=1))
@example(stream="a\n\x1b[31m/\x00\ud800￾")
def test_no_name_of_a_stream_makes_a_message_that_others_cannot_read(mode, stream):
    message = Alerts("checkout", mode).drift_event(dataclasses.replace(EVENT, stream=stream))
    told = read(message, mode)
    assert told.get_data()["stream"] == stream
    attributes = json.loads(message.value) if mode == "structured" else {name[3:]: text.decode() for name, text in message.headers}
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", attributes["subject"])
    assert drift_event(received(message.value, message.headers).data).stream == stream


def test_an_application_of_any_name_makes_a_source_that_is_a_uri():
    told = read(Alerts("my app/ü").drift_event(EVENT))
    assert told.get_source() == "/streamkl/my%20app%2F%C3%BC"


# ---------------------------------------------------------------- reading them back


@pytest.mark.parametrize("mode", READERS)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.stream}-{event.kind}-{event.index}")
def test_an_event_read_back_is_the_event_that_was_sent(event, mode):
    message = Alerts("checkout", mode).drift_event(event)
    again = drift_event(received(message.value, message.headers).data)
    assert again == event
    assert again.to_json() == event.to_json()


def test_an_event_with_numbers_that_are_not_finite_is_read_back():
    nothing = published.unknown_reading().kl
    event = dataclasses.replace(EVENT, divergence={"kl": nothing}, evidence=float("inf"))
    again = drift_event(event.to_dict())
    assert again.evidence == float("inf")
    assert repr(again.divergence["kl"]) == repr(nothing)


def test_fields_of_a_newer_version_are_ignored():
    newer = {**EVENT.to_dict(), "season": "hour_of_day", "divergence": {"kl": {**EVENT.to_dict()["divergence"]["kl"], "p": 0.5}}}
    assert drift_event(newer).id == EVENT.id


@pytest.mark.parametrize(
    ("field", "value"),
    [("stream", 7), ("index", "7"), ("index", -1), ("index", 1.5), ("at", "now"), ("evidence", True), ("bins", [{}]), ("kind", "odd"), ("id", "")],
)
def test_a_field_of_another_type_is_refused_by_name(field, value):
    with pytest.raises(RecordError, match=rf"no drift event of version 1: {field}"):
        drift_event({**EVENT.to_dict(), field: value})


ADDED = {"by", "group", "silenced"}       # to version 1, after events were published


def test_an_event_of_before_a_field_was_added_is_read():
    event = drift_event({name: value for name, value in EVENT.to_dict().items() if name not in ADDED})
    assert (event.id, event.by, event.group, event.silenced) == (EVENT.id, "", "", False)


@pytest.mark.parametrize("field", sorted(set(EVENT.to_dict()) - ADDED))
def test_an_event_without_one_of_its_fields_is_refused(field):
    with pytest.raises(RecordError, match=field):
        drift_event({name: value for name, value in EVENT.to_dict().items() if name != field})


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1]", b"\xff", b"1", b"[" * 100_000])
def test_a_message_that_is_no_event_is_refused(value):
    with pytest.raises(RecordError, match="another program"):
        received(value, [("content-type", b"application/json"), ("ce_type", b"x")])


def test_a_message_without_a_type_is_no_event():
    with pytest.raises(RecordError, match="no type"):
        received(b"{}", [("content-type", b"application/json")])


# ---------------------------------------------------------------- readings


@pytest.mark.parametrize("mode", READERS)
@pytest.mark.parametrize("reading", [published.reading(), published.unknown_reading()], ids=["known", "learning"])
def test_the_official_sdk_reads_a_reading_and_it_fits_its_schema(reading, mode):
    told = read(Alerts("checkout", mode).reading(reading), mode)
    assert told.get_type() == "io.streamkl.divergence.measured.v1"
    assert told.get_subject() == reading.stream
    data = told.get_data()
    jsonschema.Draft202012Validator(json.loads((schemas.FOLDER / "reading.v1.json").read_text())).validate(data)
    assert (data["topic"], data["partition"], data["offset"], data["state"]) == (*reading.partition, reading.offset, reading.state)
    assert data["kl"]["value"] == (None if reading.state == "learning" else reading.kl.value)


def test_a_reading_of_the_same_place_has_the_same_id_and_one_of_another_place_another():
    first = published.reading()
    ids = {
        read(Alerts(application).reading(reading)).get_id()
        for application in ("checkout", "other")
        for reading in (first, first._replace(offset=7), first._replace(stream="x"), published.reading(partition=4))
    }
    assert len(ids) == 8
    assert read(Alerts("checkout").reading(first)).get_id() == read(Alerts("checkout").reading(published.reading(kl=3.0))).get_id()


# ---------------------------------------------------------------- dead letters


def test_a_dead_letter_is_the_record_as_it_came_with_reason_and_place_behind_its_own_headers():
    headers = [("trace", b"\xff\x00"), ("trace", b"2"), ("streamkl_reason", b"of an earlier attempt")]
    record = PlainRecord("payments", 3, 17, 1_431_849_903_120, b"\x00key", b"\xffnot json", headers)
    message = dead_letter(DeadLetter(record, "not JSON"), "checkout")
    assert (message.key, message.value) == (b"\x00key", b"\xffnot json")
    assert message.headers == [
        *headers,
        ("streamkl_reason", b"not JSON"),
        ("streamkl_topic", b"payments"),
        ("streamkl_partition", b"3"),
        ("streamkl_offset", b"17"),
        ("streamkl_timestamp", b"1431849903120"),
        ("streamkl_application", b"checkout"),
    ]


@pytest.mark.parametrize("timestamp", [None, -1])
def test_a_tombstone_stays_one_and_a_record_without_time_has_none(timestamp):
    message = dead_letter(DeadLetter(PlainRecord("t", 0, 0, timestamp, None, None), "no value"), "a")
    assert (message.key, message.value) == (None, None)
    assert "streamkl_timestamp" not in dict(message.headers)


# ---------------------------------------------------------------- the published documents


@pytest.mark.parametrize("name", schemas.documents())
def test_the_published_document_is_what_the_model_generates(name):
    published_text, generated = (schemas.FOLDER / name).read_text(), schemas.documents()[name]
    assert json.loads(published_text) == json.loads(generated), "write them anew: python tests/schemas.py"  # 0 may be 0.0 with another pydantic
    assert list(json.loads(published_text)) == list(json.loads(generated))


def test_every_event_of_a_real_detector_fits_the_published_schema():
    schema = json.loads((schemas.FOLDER / "drift-event.v1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for event in EVENTS:
        validator.validate(json.loads(event.to_json()))
        assert set(event.to_dict()) == set(schema["properties"]) == set(schema["required"]) | ADDED


@pytest.mark.parametrize(("field", "value"), [("kind", "drift.guessed"), ("index", 1.5), ("bins", [{"label": "x"}]), ("at", "2015"), ("id", "")])
def test_what_is_no_event_does_not_fit_the_published_schema(field, value):
    schema = json.loads((schemas.FOLDER / "drift-event.v1.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(EVENT.to_json()), field: value}, schema)


def resolved(document, node):
    """A node of the AsyncAPI document with its reference followed."""
    while "$ref" in node:
        found = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def test_the_asyncapi_document_describes_the_messages_that_are_sent():
    document = alerts.async_api("checkout")
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {"checkout.drift", "checkout.divergence", "checkout.dead-letters"}
    by_type = {message["name"]: resolved(document, message) for message in document["components"]["messages"].values()}
    sent = [Alerts("checkout").drift_event(event) for event in EVENTS] + [Alerts("checkout").reading(published.reading())]
    for message in sent:
        headers = {name: value.decode() for name, value in message.headers}
        described = by_type[headers["ce_type"]]
        jsonschema.validate(headers, described["headers"])
        assert set(headers) <= set(described["headers"]["properties"])
        jsonschema.validate(json.loads(message.value), {**described["payload"], "components": document["components"]})
    letter = dead_letter(DeadLetter(PlainRecord("t", 0, 0, 5, None, b"x"), "why"), "checkout")
    jsonschema.validate({name: value.decode() for name, value in letter.headers}, by_type["deadLetter"]["headers"])
    assert set(dict(letter.headers)) == set(by_type["deadLetter"]["headers"]["properties"])


def test_every_message_of_the_asyncapi_document_stands_in_a_channel_and_every_channel_is_sent_to():
    document = json.loads(schemas.documents()["asyncapi.v1.json"])
    used = {ref["$ref"].rsplit("/", 1)[1] for channel in document["channels"].values() for ref in channel["messages"].values()}
    assert used == set(document["components"]["messages"])
    assert {operation["channel"]["$ref"] for operation in document["operations"].values()} == {f"#/channels/{name}" for name in document["channels"]}
    assert all("{application}" in channel["address"] and "application" in channel["parameters"] for channel in document["channels"].values())
