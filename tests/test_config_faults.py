"""The configuration that is wrong: every fault in one line, with its place, its path and what to write instead."""

from __future__ import annotations

import os

import pytest
from configured import FILE, KAFKA, changed, faults, loaded, write

from streamkl.app.config import load
from streamkl.errors import ConfigError

PASSWORD = {"SECRET": "canary"}
SASL = {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": "ann", "password": {"env": "SECRET"}}


def test_an_unknown_key_is_told_with_the_nearest_known_one_and_its_line(tmp_path):
    path = write(tmp_path, changed(KAFKA, {"source.bootstrap_server": ["a:1"], "source.bootstrap_servers": ...}))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    missing, unknown = str(caught.value).splitlines()
    assert unknown == f"{path}:4: source.bootstrap_server: unknown key; did you mean bootstrap_servers?"
    assert missing.startswith(f"{path}:2: source.bootstrap_servers: is missing; ")


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path):
    tree = changed(KAFKA, {
        "aplication": "x", "source.grup": "y", "streams.0.fields.method": "category", "detector": {"warmup": 5}, "state": {"kind": "sqlite"},
    })  # fmt: skip
    found = faults(tmp_path, tree, {"STREAMKL__LIMITS__STAL_SECONDS": "3", "STREAMKL__COMIT": "3"})
    assert [line.split(":")[0] for line in found] == [
        "source.grup", "streams[0].fields.method", "aplication", "detector.warmup", "state.kind", "comit", "limits.stal_seconds",
    ]  # fmt: skip


@pytest.mark.parametrize(("change", "fault"), [
    ({"aplication": 1}, "aplication: unknown key; did you mean application?"),
    ({"zzz": 1}, "zzz: unknown key; known here: application, source, streams, detector,"),
    ({"source.path": "x"}, "source.path: unknown key; known here: kind, bootstrap_servers,"),
    ({"source.securty": {}}, "source.securty: unknown key; did you mean security?"),
    ({"streams.0.feilds": {}}, "streams[0].feilds: unknown key; did you mean fields?"),
    ({"streams.0.key": {"feild": "x"}}, "streams[0].key.feild: unknown key; did you mean field?"),
    ({"streams.0.fields.amount": {"detectr": {}}}, "streams[0].fields.amount.detectr: unknown key; did you mean detector?"),
    ({"streams.0.detector": {"window_size": 3}}, "streams[0].detector.window_size: unknown key; did you mean window?"),
    ({"monitoring": {"Port": 3}}, "monitoring.Port: unknown key; did you mean port?"),
    ({"application": ...}, "application: is missing; Names the group"),
    ({"application": "pay ments"}, "application: must be 1 to 200 of the characters"),
    ({"application": ""}, "application: must be 1 to 200"),
    ({"application": 2024}, "application: must be text; put it into quotes, it is 2024"),
    ({"application": True}, "application: is true or false, which is neither a number nor text"),
    ({"application": None}, "application: must be text"),
    ({"source": ...}, "source: is missing; Where records come from."),
    ({"source": "kafka"}, "source: must be a mapping of settings"),
    ({"source.kind": ...}, "source.kind: is missing; kafka or file"),
    ({"source.kind": "pulsar"}, "source.kind: is unknown; use kafka or file"),
    ({"source.bootstrap_servers": ["broker"]}, "source.bootstrap_servers[0]: must be host:port"),
    ({"source.bootstrap_servers": ["broker:99999"]}, "source.bootstrap_servers[0]: must be host:port"),
    ({"source.bootstrap_servers": []}, "source.bootstrap_servers: "),
    ({"source.start_at": "beginning"}, "source.start_at: 'beginning' is unknown; use 'earliest' or 'latest'"),
    ({"source.poll_records_max": 0}, "source.poll_records_max: must be greater than or equal to 1, not 0"),
    ({"source.poll_records_max": True}, "source.poll_records_max: is true or false"),
    ({"source.session_timeout_seconds": 400}, "source.session_timeout_seconds: 400 must not exceed max_poll_interval_seconds 300"),
    ({"streams": []}, "streams: "),
    ({"streams": {"topic": "x"}}, "streams: must be a list, each entry after a dash"),
    ({"streams.0.topic": ...}, "streams[0].topic: is missing; name the topic to read"),
    ({"streams.0.topic": "a/b"}, "streams[0].topic: is no name of a topic"),
    ({"streams.0.topic": ".."}, "streams[0].topic: is no name of a topic"),
    ({"streams.0.name": "a/b"}, "streams[0].name: must be 1 to 200 printable characters without /"),
    ({"streams.0.fields": {"a/b": "numeric"}}, "streams[0].fields.a/b: must be 1 to 200 printable characters without /"),
    ({"streams.0.fields": {}}, "streams[0].fields: "),
    ({"streams.0.fields": ["amount"]}, "streams[0].fields: must be a mapping of names"),
    ({"streams.0.fields.method": "categories"}, "streams[0].fields.method: 'categories' is unknown; use 'numeric' or 'categorical'"),
    ({"streams.0.key": {}}, "streams[0].key: must be either {field: PATH} or {message_key: true}"),
    ({"streams.0.key": {"field": "x", "message_key": True}}, "streams[0].key: must be either"),
    ({"streams.0.decoder": "csv"}, "streams[0].decoder: csv reads files: a message of Kafka has no header row; use json"),
    ({"streams.0.decoder": "jsn"}, "streams[0].decoder: 'jsn' is unknown; did you mean json?"),
    ({"streams.0.decoder": "acme.decoder"}, "streams[0].decoder: there is no module 'acme.decoder'"),
    ({"limits": {"oldest_time": "yesterday"}}, "limits.oldest_time: is not a time; write ISO 8601"),
    ({"limits": {"stall_seconds": float("nan")}}, "limits.stall_seconds: "),
    ({"limits": {"learning_seconds_per_poll": 50}, "source.max_poll_interval_seconds": 60}, "limits.learning_seconds_per_poll: must stay below half"),
    ({"monitoring": {"port": 70_000}}, "monitoring.port: must be less than or equal to 65535, not 70000"),
    ({"drift_events": {"topic": "payments"}}, "drift_events.topic: 'payments' is read as well"),
    ({"drift_events": {"topic": "payments.state"}}, "state.topic: 'payments.state' is drift_events.topic too"),
    ({"dead_letters": {"topic": "x"}, "divergence": {"topic": "x"}}, "divergence.topic: 'x' is dead_letters.topic too"),
    ({"state": {"kind": "sqlite"}}, "state.kind: sqlite cannot be committed atomically with the offsets of a Kafka source"),
    ({"state": {"path": "x.db"}}, "state.path: has no meaning with a Kafka state"),
])  # fmt: skip
def test_a_fault_is_told_with_its_path(tmp_path, change, fault):
    assert loaded(tmp_path, KAFKA)
    (found,) = faults(tmp_path, changed(KAFKA, change))
    assert found.startswith(fault)


@pytest.mark.parametrize(("change", "fault"), [
    ({"source.path": "/nowhere/x.jsonl"}, "source.path: '/nowhere/x.jsonl' does not exist"),
    ({"source.path": "/"}, "source.path: '/' cannot be read"),
    ({"source.path": ...}, "source.path: is missing; "),
    ({"source.format": "xml"}, "source.format: 'xml' is unknown; use 'jsonl' or 'csv'"),
    ({"streams.0.decoder": "csv"}, "streams[0].decoder: csv cannot read a file of format jsonl; leave it out"),
    ({"streams.0.decoder": "json", "source.format": "csv"}, "streams[0].decoder: json cannot read a file of format csv"),
    ({"source.group": "x"}, "source.group: unknown key; known here: kind, path, format"),
    ({"streams.0.key": {"message_key": True}}, "streams[0].key.message_key: the lines of a file have no message key"),
    ({"streams": [{"topic": "a", "fields": {"x": None}}, {"topic": "b", "fields": {"x": None}}]}, "streams[1].topic: a file is one topic"),
    ({"state": {"kind": "kafka"}}, "state.kind: kafka cannot be committed atomically with the position in a file"),
    ({"state": {"topic": "x"}}, "state.topic: has no meaning with a SQLite state"),
    ({"state": {"path": "/nowhere/state.db"}}, "state.path: '/nowhere/state.db' cannot be a file there"),
])  # fmt: skip
def test_a_fault_of_a_file_source_is_told_with_its_path(tmp_path, change, fault):
    assert loaded(tmp_path, FILE)
    (found,) = faults(tmp_path, changed(FILE, change))
    assert found.startswith(fault)


@pytest.mark.parametrize(("security", "found"), [
    ({"protocol": "sasl_ssl"}, {"mechanism": "is missing", "username": "is missing", "password": "is missing"}),
    ({"password": {"env": "SECRET"}}, {"password": "is never sent with protocol plaintext"}),
    ({"username": "ann", "protocol": "ssl"}, {"username": "is never sent with protocol ssl"}),
    ({**SASL, "protocol": "sasl_plaintext", "ca_file": __file__}, {"ca_file": "has no meaning without TLS"}),
    ({"check_hostname": False}, {"check_hostname": "has no meaning without TLS"}),
    ({"protocol": "ssl", "key_file": __file__}, {"certificate_file": "is missing; the key of key_file proves nothing"}),
    ({"protocol": "ssl", "certificate_file": __file__}, {"key_file": "is missing; a certificate needs its private key"}),
    ({"protocol": "ssl", "key_password": {"env": "SECRET"}}, {"key_password": "opens no key"}),
    ({"protocol": "ssl", "ca_file": "/nowhere/ca.pem"}, {"ca_file": "is no file that can be read"}),
    ({**SASL, "mechanism": "MD5"}, {"mechanism": "is unknown; use 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"}),
    ({**SASL, "password": {"env": "UNSET"}}, {"password": "the environment variable UNSET is not set"}),
    ({**SASL, "password": {"env": "EMPTY"}}, {"password": "the environment variable EMPTY is empty"}),
    ({**SASL, "password": {"file": "/nowhere/p"}}, {"password": "the file /nowhere/p of a secret cannot be read: No such file"}),
    ({**SASL, "password": {"file": "/"}}, {"password": "the file / of a secret cannot be read"}),
    ({**SASL, "password": {"file": __file__}}, {"password": f"the file {__file__} of a secret must hold one line"}),
    (SASL, {}),
    ({"protocol": "ssl", "certificate_file": __file__, "key_file": __file__, "key_password": {"env": "SECRET"}}, {}),
])  # fmt: skip
def test_security_that_contradicts_itself_is_refused(tmp_path, security, found):
    lines = faults(tmp_path, changed(KAFKA, {"source.security": security}), {**PASSWORD, "EMPTY": ""})
    assert [line.split(": ")[0].removeprefix("source.security.") for line in lines] == list(found)
    for line, sentence in zip(lines, found.values(), strict=True):
        assert sentence in line


# ---------------------------------------------------------------- detectors


@pytest.mark.parametrize(("setting", "value"), [
    ("warmup", 99), ("warmup", 10**7), ("window", 0), ("window", "1 hour"), ("window", "lots"), ("extend", 0), ("extend", 21), ("mature_until", -1),
    ("stride", 0), ("stride", "car"), ("stride", 1.5), ("min_effect_nats", -1), ("hold_for_events", -1), ("false_alarms", "often"),
    ("false_alarms", 0), ("false_alarms", "1 per 30 days"), ("raise_at_nats", 0.01), ("resolve_at_nats", 0.2), ("resolve_at_nats", 0),
    ("measure", "psi"), ("alarm", "always"), ("on_drift", "ignore"),
])  # fmt: skip
@pytest.mark.parametrize("place", ["detector", "streams[0].detector", "streams[0].fields.amount.detector"])
def test_every_fault_that_the_detector_finds_is_told_where_it_was_written(tmp_path, place, setting, value):
    path = place.replace("[0]", ".0")
    (found,) = faults(tmp_path, changed(KAFKA, {f"{path}.{setting}": value}))
    assert found.startswith(f"{place}.{setting}: ")


def test_all_faults_of_one_detector_are_told(tmp_path):
    found = faults(tmp_path, changed(KAFKA, {"detector": {"warmup": 5, "window": 0, "stride": -2, "min_effect_nats": -1}}))
    assert sorted(line.split(":")[0] for line in found) == ["detector.min_effect_nats", "detector.stride", "detector.warmup", "detector.window"]


def test_a_fault_that_many_fields_inherit_is_told_once(tmp_path):
    tree = changed(KAFKA, {"streams.0.fields": {f"f{i}": "numeric" for i in range(50)}, "detector": {"warmup": 5}})
    assert len(faults(tmp_path, tree)) == 1


# ---------------------------------------------------------------- streams of one name


def entry(**parts):
    return {"topic": "t", "fields": {"x": None}, **parts}


@pytest.mark.parametrize(("entries", "stream"), [
    ([entry(), entry()], "t/x"),
    ([entry(key={"field": "a"}), entry(key={"message_key": True})], "t/<key>/x"),
    ([entry(), entry(topic="u", name="t")], "t/x"),
    ([entry(), entry(key={"field": "a"})], None),
    ([entry(), entry(name="u")], None),
    ([entry(), entry(fields={"y": None})], None),
])  # fmt: skip
def test_two_entries_may_not_make_streams_of_one_name(tmp_path, entries, stream):
    found = faults(tmp_path, changed(KAFKA, {"streams": entries}))
    assert found == ([] if stream is None else [f"streams[1]: makes the stream {stream} as streams[0] does; give one of them another name"])


# ---------------------------------------------------------------- the environment


@pytest.mark.parametrize(("variable", "value", "fault"), [
    ("STREAMKL__SOURCE__GRUP", "x", "source.grup: unknown key; did you mean group?"),
    ("STREAMKL__SORCE__GROUP", "x", "sorce: unknown key; did you mean source?"),
    ("STREAMKL__GROUP", "x", "group: unknown key; "),
    ("STREAMKL__", "x", "is not the name of a setting; write e.g. STREAMKL__SOURCE__GROUP"),
    ("STREAMKL__SOURCE____GROUP", "x", "is not the name of a setting"),
    ("STREAMKL__STREAMS__7__TOPIC", "x", "streams has 1 entries; use a number from 0 to 0"),
    ("STREAMKL__STREAMS__FIRST__TOPIC", "x", "streams has 1 entries"),
    ("STREAMKL__STREAMS__0__FIELDS__METHOD__KIND", "numeric", "streams[0].fields.method has no parts where it is written"),
    ("STREAMKL__COMMIT__EVERY_SECONDS", "often", "commit.every_seconds: must be a number, unable to parse"),
    ("STREAMKL__DIVERGENCE__GAUGES", "[a", "the value begins like YAML, but is not YAML"),
    ("STREAMKL__SOURCE", "kafka", "source: must be a mapping of settings"),
])  # fmt: skip
def test_a_variable_that_leads_nowhere_is_refused(tmp_path, variable, value, fault):
    path = write(tmp_path, KAFKA)
    with pytest.raises(ConfigError) as caught:
        load(path, {variable: value})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"environment variable {variable}: ")
    assert fault in line


# ---------------------------------------------------------------- documents that are none


@pytest.mark.parametrize(("content", "fault"), [
    (b"", "is empty"), (b"# nothing\n", "is empty"), (b"- a\n", "is not a mapping of settings"), (b"just text", "is not a mapping of settings"),
    (b"a: [1\n", "is not YAML"), (b"a: 1\n b: 2\n", "is not YAML"), (b"a: 1\n---\nb: 2\n", "is not YAML"), (b"a: *nowhere\n", "is not YAML"),
    (b"a:\n\tb: 1\n", "a tab begins the text"), (b"a: \xff\n", "is not UTF-8"), ("a: 1".encode("utf-16"), "is not UTF-8"),
    (b"a: \x00\n", "a control character"), (b"a: \x1b[31m\n", "a control character"), (b"[" * 5000, "is nested too deeply"),
    (b"a: " + b"{x: " * 5000, "is nested too deeply"), (b"a: &a [*a]\n", "is nested too deeply"),
    (b"x" * 1_000_001, "is longer than 1,000,000 bytes"),
    (b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in range(98, 106)), "aliases"),
    (b"'a': 1\n\"a\": 2\n", "a: this key stands here twice, in lines 1 and 2; remove one"),
    (b"a: !!python/object/apply:os.system ['true']\n", "tags are not taken"), (b"a: !!binary aGk=\n", "tags are not taken"),
    (b"a: !!python/object/apply:os.system {x: 1}\n", "tags are not taken"), (b"a: !!int x\n", "tags are not taken"),
    (b"a: {? [1] : 2}\n", "a list or a mapping is used as a key"), (b"a: &a {x: 1}\nb: {<<: *a}\n", "the merge key << is not taken"),
])  # fmt: skip
def test_a_document_that_is_none_is_refused_in_clean_lines(tmp_path, content, fault):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(str(path), {})
    lines = str(caught.value).splitlines()
    assert [line for line in lines if fault in line]
    assert all(line.startswith(str(path)) and line.isprintable() for line in lines)


@pytest.mark.parametrize(("path", "fault"), [("/nowhere", "No such"), ("/", "Is a directory"), ("/dev/null", "is no file"), ("a\0b", "zero byte")])
def test_a_path_that_is_no_file_is_refused(path, fault):
    with pytest.raises(ConfigError, match=fault):
        load(path, {})


def test_a_pipe_without_a_writer_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no file"):
        load(str(tmp_path / "pipe"), {})


def test_a_key_that_stands_twice_is_refused_at_any_depth(tmp_path):
    text = "application: a\nsource: {kind: file, path: '-'}\nstreams:\n  - fields: {x: numeric}\n    name: a\n    name: b\n"
    assert faults(tmp_path, text) == ["streams[0].name: this key stands here twice, in lines 5 and 6; remove one"]


def test_what_a_terminal_would_obey_is_escaped(tmp_path):
    found = faults(tmp_path, 'application: a\n"\\e[31mred": 1\n')
    assert all(line.isprintable() for line in found)
    assert [line for line in found if "\\x1b[31mred" in line]
