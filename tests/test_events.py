"""`streamkl events`, run for real over each kind of place: files, a state file, and a real broker."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import threading
from contextlib import contextmanager
from itertools import islice

import published
import pytest
from program import COMMAND, streamkl

from streamkl.adapters.file_events import FileEvents
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_events import KafkaEvents
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.adapters.sqlite_events import SqliteEvents
from streamkl.app.event_line import event_line, is_told
from streamkl.app.event_place import event_place
from streamkl.app.events import Seen
from streamkl.errors import ConfigError, Unavailable
from streamkl.service.alerts import Alerts
from streamkl.service.record import Partition
from streamkl.service.work import UnitOfWork

EVENTS = published.events()[:30]
FIRST, SECOND = EVENTS[:-1], EVENTS[-1:]
BATCHES_MOST = 200          # of a follower: empty ones come 0.01 to 0.2 seconds after each other
LINE_SECONDS = 30
FOREIGN = b'{"kind": "order"}'


class FilePlace:
    """A file of JSON lines."""

    accepts_foreign = True

    def __init__(self, folder):
        self.path = folder / "events 50%.jsonl"
        self.url = f"file://{self.path}"
        self.path.touch()

    def write(self, events):
        with self.path.open("a") as file:
            file.writelines(event.to_json() + "\n" for event in events)

    def write_foreign(self):
        with self.path.open("ab") as file:
            file.write(FOREIGN + b"\n\xff\xfe\n[]\n\n")         # three lines; the fourth is empty

    def reader(self):
        return FileEvents(str(self.path), wait_seconds=0.01)


class SqlitePlace:
    """A state file, which the service still holds."""

    accepts_foreign = False

    def __init__(self, folder):
        self.path = folder / "state.db"
        self.url = f"sqlite://{self.path}"
        self.checkpoint = SqliteCheckpoint(str(self.path), "checkout")

    def write(self, events):
        self.checkpoint.commit(UnitOfWork({Partition("payments", 3): 1}, {}, events))

    def reader(self):
        return SqliteEvents(str(self.path), wait_seconds=0.01)


class KafkaPlace:
    """A topic of two partitions, written in transactions: of which some were aborted."""

    accepts_foreign = True

    def __init__(self, broker):
        self.broker = broker
        self.topic = broker.topic("drift", partitions=2)
        self.url = f"kafka://{broker.bootstrap}/{self.topic}"
        self.producer = broker.producer(transactional_id=self.topic)
        self.producer.init_transactions()

    def write(self, events):
        aborted = [dataclasses.replace(event, id=f"aborted {event.id}") for event in events]
        modes = [Alerts("checkout", "binary"), Alerts("checkout", "structured")]
        for sent, is_kept in ((aborted, False), (events, True)):
            self.send([modes[i % 2].drift_event(event) for i, event in enumerate(sent)], is_kept)

    def write_foreign(self):
        reading = Alerts("checkout").reading(published.reading())
        self.send([(None, FOREIGN, []), (b"k", None, []), reading])

    def send(self, messages, is_kept=True):
        self.producer.begin_transaction()
        for key, value, headers in messages:
            self.producer.send(self.topic, key=key, value=value, headers=headers, partition=len(key or b"") % 2)
        self.producer.flush()
        if is_kept:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

    def reader(self):
        return KafkaEvents(client_settings([self.broker.bootstrap]), self.topic)


@pytest.fixture(params=["file", "sqlite", "kafka"])
def place(request, tmp_path):
    if request.param == "kafka":
        made = KafkaPlace(request.getfixturevalue("broker"))
        yield made
        made.producer.close()
    elif request.param == "sqlite":
        made = SqlitePlace(tmp_path)
        yield made
        made.checkpoint.close()
    else:
        yield FilePlace(tmp_path)


def by_stream(events):
    """Stream -> its events in order; a topic keeps no other order."""
    found = {}
    for event in events:
        found.setdefault(event["stream"], []).append(event)
    return found


def brought(batches, number):
    """The next events of a follower, so many or, where they do not come, those that came."""
    found = []
    for batch in islice(batches, BATCHES_MOST):
        found += batch
        if len(found) >= number:
            break
    return found


def everything(reader):
    """All events of a reader that ends."""
    batches = list(islice(reader.batches(is_following=False), BATCHES_MOST))
    assert len(batches) < BATCHES_MOST
    return [event for batch in batches for event in batch]


def plain(events):
    return [json.loads(event.to_json()) for event in events]


# ---------------------------------------------------------------- the contract of every reader


def test_a_reader_brings_every_event_that_stands_in_order_and_ends(place):
    place.write(FIRST)
    reader = place.reader()
    found = everything(reader)
    reader.close()
    assert by_stream(plain(found)) == by_stream(plain(FIRST))
    if not isinstance(place, KafkaPlace):
        assert found == FIRST
    assert reader.foreign == 0


def test_a_follower_goes_on_to_what_comes_later(place):
    place.write(FIRST)
    reader = place.reader()
    batches = reader.batches(is_following=True)
    found = brought(batches, len(FIRST))
    assert next(batches) == []
    place.write(SECOND)
    found += brought(batches, len(SECOND))
    assert {event.id for event in found} == {event.id for event in EVENTS}
    batches.close()
    reader.close()


def test_nothing_is_there_yet_and_that_is_no_fault(place):
    reader = place.reader()
    assert everything(reader) == []
    reader.close()


# ---------------------------------------------------------------- the command


def test_all_events_are_told_as_json_and_what_is_not_ours_is_counted_once_at_the_end(place):
    place.write(FIRST[:5])
    if place.accepts_foreign:
        place.write_foreign()
    place.write(FIRST[5:])
    outcome = streamkl("events", place.url, "--json")
    assert outcome.code == 0
    assert {event["id"]: event for event in outcome.events} == {event["id"]: event for event in plain(FIRST)}
    assert len(outcome.events) == len(FIRST)
    if place.accepts_foreign:
        assert outcome.err.endswith(": 3 messages are no drift event of ours, and left out\n")
        assert outcome.err.count("\n") == 1
    else:
        assert outcome.err == ""


def test_events_are_told_in_words_as_watch_does(tmp_path):
    place = FilePlace(tmp_path)
    place.write(EVENTS)
    outcome = streamkl("events", place.url)
    assert outcome.out.splitlines() == [event_line(event) for event in EVENTS if is_told(event)]
    assert "payments[3] offset " in outcome.out
    assert outcome.err == ""


def test_a_repeated_event_is_told_once(place):
    place.write(FIRST)
    place.write(FIRST)
    outcome = streamkl("events", place.url, "--json")
    assert sorted(event["id"] for event in outcome.events) == sorted(event.id for event in FIRST)


def test_events_of_watch_are_read_from_its_output(tmp_path):
    from program import QUICK, csv_of, shifted

    told = streamkl("watch", "-", "--value", "x", "--json", *QUICK, stdin=csv_of(shifted())).out
    (tmp_path / "events.jsonl").write_text(told)
    assert streamkl("events", f"file://{tmp_path}/events.jsonl", "--json").out == told


@contextmanager
def following(url):
    process = subprocess.Popen([*COMMAND, "events", url, "--follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def line_of(process):
    """The next line of a process, which is killed where none comes in time."""
    timer = threading.Timer(LINE_SECONDS, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_follow_waits_for_more_until_it_is_stopped(place, number, code):
    place.write(FIRST[:3])
    if place.accepts_foreign:
        place.write_foreign()
    with following(place.url) as process:
        told = {json.loads(line_of(process))["id"] for _ in range(3)}
        place.write(SECOND)
        told.add(json.loads(line_of(process))["id"])
        assert told == {event.id for event in (*FIRST[:3], *SECOND)}
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err.count("\n") == (1 if place.accepts_foreign else 0)
    assert "Traceback" not in err


# ---------------------------------------------------------------- what cannot be read


def one_line(outcome, code, words):
    assert outcome.code == code, outcome.err
    assert outcome.err.startswith("streamkl: ")
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    "url",
    ["x", "http://a/b", "kafka://a/b", "kafka://a:1", "kafka://a:1/", "kafka://a:0/t", "kafka://a:99999/t", "kafka://a:1/t?x", "file://", "sqlite:///"],
)
def test_a_wrong_url_is_a_fault_of_usage(url):
    one_line(streamkl("events", url), 2, "URLs are kafka://HOST:PORT[,HOST:PORT]/TOPIC, sqlite:///PATH or file:///PATH")


def test_a_password_in_a_url_is_refused_and_not_repeated():
    outcome = streamkl("events", "kafka://ann:canary@a:9092/t")
    one_line(outcome, 2, "--config")
    assert "canary" not in outcome.err


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_file_that_is_not_there_is_unavailable(kind, tmp_path):
    one_line(streamkl("events", f"{kind}://{tmp_path}/none"), 4, "none")


def test_a_file_of_another_program_is_refused(tmp_path):
    import sqlite3

    (tmp_path / "text").write_text("no database\n" * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t(x)")
    other.close()
    for name in ("text", "other.db"):
        one_line(streamkl("events", f"sqlite://{tmp_path}/{name}"), 2, "is no state file of streamkl")
    one_line(streamkl("events", f"file://{tmp_path}"), 4, "directory")


def test_a_missing_topic_is_unavailable_and_not_made(broker):
    one_line(streamkl("events", f"kafka://{broker.bootstrap}/no-such-topic"), 4, "topic no-such-topic is not there")
    assert "no-such-topic" not in broker.admin().list_topics()


def test_a_broker_that_cannot_be_reached_is_unavailable():
    import socket

    with socket.socket() as held:                       # bound and not listening: nobody answers there
        held.bind(("127.0.0.1", 0))
        one_line(streamkl("events", f"kafka://127.0.0.1:{held.getsockname()[1]}/t"), 4, "127.0.0.1")


def test_a_file_that_became_shorter_is_said(tmp_path):
    place = FilePlace(tmp_path)
    place.write(FIRST[:2])
    reader = place.reader()
    batches = reader.batches(is_following=True)
    assert len(next(batches)) == 2
    place.path.write_text("")
    with pytest.raises(Unavailable, match="shorter"):
        brought(batches, 1)
    reader.close()


# ---------------------------------------------------------------- parts


def test_half_a_line_is_waited_for_while_following_and_taken_at_the_end(tmp_path):
    place = FilePlace(tmp_path)
    line = EVENTS[0].to_json()
    place.path.write_text(line[:50])
    reader = place.reader()
    batches = reader.batches(is_following=True)
    assert [next(batches), next(batches)] == [[], []]
    with place.path.open("a") as file:
        file.write(line[50:])
    other = place.reader()
    assert [event.id for event in everything(other)] == [EVENTS[0].id]
    other.close()
    with place.path.open("a") as file:
        file.write("\n")
    assert brought(batches, 1) == [EVENTS[0]]
    assert reader.foreign == 0
    reader.close()


def test_what_was_seen_is_bounded_and_the_newest_are_kept():
    seen = Seen(most=3)
    events = [dataclasses.replace(EVENTS[0], id=str(i)) for i in range(5)]
    assert [event.id for event in seen.new(events)] == ["0", "1", "2", "3", "4"]
    assert [event.id for event in seen.new(events[::-1])] == ["1", "0"]


@pytest.mark.parametrize(("url", "found"), [("sqlite:///state.db", "state.db"), ("sqlite://state.db", "state.db"), ("file:///none", "/none")])
def test_a_path_is_one_from_the_root_else_from_here(url, found, tmp_path, monkeypatch):
    (tmp_path / "state.db").touch()
    monkeypatch.chdir(tmp_path)
    assert event_place(url).path == found


def test_a_path_with_escapes_is_the_file_of_that_name(tmp_path):
    assert event_place(f"file://{tmp_path}/a%20b").path == f"{tmp_path}/a b"


def test_an_event_of_a_stranger_cannot_write_to_the_terminal(tmp_path):
    hostile = "\x1b[2J\nnext"
    event = next(event for event in EVENTS if event.kind == "drift.raised")
    criterion = tuple(reading._replace(source=hostile, open=True) for reading in event.criterion)
    bins = tuple(bin._replace(label=hostile) for bin in event.bins)
    source = {"topic": hostile, "partition": 0, "last_offset": 1}
    place = FilePlace(tmp_path)
    place.write([dataclasses.replace(event, stream=hostile, criterion=criterion, bins=bins, changed=bins, source=source)])
    place.write([dataclasses.replace(event, kind="drift.resolved", divergence={}, id="x", source=None, position=None)])
    outcome = streamkl("events", place.url)
    assert outcome.code == 0
    assert outcome.out.count("\n") == 2
    assert outcome.out.replace("\n", "").isprintable()


def test_a_kafka_place_has_several_servers():
    assert event_place("kafka://a:1,[::1]:9092/t.drift").servers == ("a:1", "[::1]:9092")
    with pytest.raises(ConfigError, match="is no URL"):
        event_place("kafka://a:1,/t")


def test_the_security_settings_of_a_configuration_open_a_broker_that_asks_who_we_are(secure_broker, tmp_path, monkeypatch):
    topic = secure_broker.topic("drift")
    producer = secure_broker.producer()
    for event in FIRST:
        key, value, headers = Alerts("checkout").drift_event(event)
        producer.send(topic, key=key, value=value, headers=headers)
    producer.close()
    secure_broker.allow("limited", "topic", topic, "READ", "DESCRIBE")
    address = secure_broker.address("SASL_TLS")
    security = {
        "protocol": "sasl_ssl", "mechanism": "SCRAM-SHA-256", "username": "limited", "password": {"env": "DRIFT_PASSWORD"},
        "ca_file": str(secure_broker.keys.authority),
    }  # fmt: skip
    config = tmp_path / "config.yaml"
    source = {"kind": "kafka", "bootstrap_servers": [address], "security": security}
    config.write_text(json.dumps({"application": "checkout", "source": source, "streams": [{"topic": "t", "fields": {"x": "numeric"}}]}))
    monkeypatch.setenv("DRIFT_PASSWORD", secure_broker.passwords["limited"])
    url = f"kafka://{address}/{topic}"
    outcome = streamkl("events", url, "--json", "--config", config)
    assert (outcome.code, outcome.err) == (0, "")
    assert {event["id"] for event in outcome.events} == {event.id for event in FIRST}
    monkeypatch.setenv("DRIFT_PASSWORD", "canary")
    refused = streamkl("events", url, "--json", "--config", config)
    one_line(refused, 2, "check mechanism, username and password")
    assert "canary" not in refused.err


def test_a_configuration_without_kafka_has_nothing_to_open_a_broker_with(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"application": "a", "source": {"kind": "file", "path": "-"}, "streams": [{"fields": {"x": "numeric"}}]}))
    one_line(streamkl("events", "kafka://127.0.0.1:9092/t", "--config", config), 2, "no security settings of Kafka")
