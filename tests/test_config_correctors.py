"""The section `correctors` of a configuration: what is taken, and what is refused, with its place and the next step."""

from __future__ import annotations

import base64
import json

import jsonschema
import pytest
import yaml
from configured import FILE, KAFKA, changed, write
from program import streamkl

from streamkl.app import build_correctors
from streamkl.app.config import json_schema, load, variable_names
from streamkl.app.config_correctors import ALERTS, EPISODES
from streamkl.app.correct import secrets
from streamkl.errors import ConfigError

SECRET = f"whsec_{base64.b64encode(b'secret of a test' * 2).decode()}"
URL = "https://chat.example.com/hooks/hunter2"
ENVIRONMENT = {"HOOK": SECRET, "URL": URL, "AUTH": "Bearer hunter3", "BAD": "hunter2", "TOKEN": "hunter4"}
WEBHOOK = {"name": "hook", "kind": "webhook", "url": "https://example.com/hook", "secrets": [{"env": "HOOK"}]}
ALERTMANAGER = {"name": "alerts", "kind": "alertmanager", "url": "http://127.0.0.1:9093"}
CHAT = {"name": "chat", "kind": "chat", "url": {"env": "URL"}}
COMMAND = {"name": "program", "kind": "command", "arguments": ["sh", "-c", "true"]}
LOG = {"name": "line", "kind": "log"}
OWN = {"name": "own", "kind": "json.decoder", "settings": {"strict": False}, "secrets": {"token": {"env": "TOKEN"}}}
EVERY = [WEBHOOK, ALERTMANAGER, CHAT, COMMAND, LOG, OWN]


def tree(*entries, base=KAFKA):
    return {**base, "correctors": list(entries)}


def loaded(folder, *entries, base=KAFKA, environment=ENVIRONMENT):
    return load(write(folder, tree(*entries, base=base)), environment, with_correctors=True)


def refused(folder, *entries, base=KAFKA):
    """Faults without the file's name; each has a line."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *entries, base=base)
    for secret in ("hunter2", "hunter3", "hunter4", SECRET):
        assert secret not in str(caught.value)
    lines = str(caught.value).splitlines()
    assert all(line.split(": ")[0].rpartition(":")[2].isdigit() for line in lines), lines
    return [line.split(": ", 1)[1] for line in lines]


def test_every_kind_is_taken_with_little_said(tmp_path):
    config = loaded(tmp_path, *EVERY)
    assert [entry.kind for entry in config.correctors] == [entry["kind"] for entry in EVERY]
    for entry in config.correctors:
        assert entry.streams == ["*"]
        assert tuple(entry.kinds) == (ALERTS if entry.kind == "alertmanager" else EPISODES)
        assert config.group_of(entry) == f"payments.{entry.name}"


def test_the_place_of_the_events_follows_from_the_rest(tmp_path):
    assert loaded(tmp_path, LOG).events_url == "kafka://broker:9092/payments.drift"
    two = changed(KAFKA, {"source.bootstrap_servers": ["a:1", "[::1]:2"], "drift_events": {"topic": "found"}})
    assert loaded(tmp_path, LOG, base=two).events_url == "kafka://a:1,[::1]:2/found"
    (tmp_path / "a b%").mkdir()
    file = changed(FILE, {"state": {"path": str(tmp_path / "a b%" / "s.db")}})
    assert loaded(tmp_path, LOG, base=file).events_url == f"sqlite://{tmp_path}/a%20b%25/s.db"


def test_what_is_said_reaches_the_corrector(tmp_path):
    alerts = {**ALERTMANAGER, "url": ["http://a:1", "http://b:2/x"], "labels": {"team": "risk"}, "authorization": {"env": "AUTH"}}
    config = loaded(tmp_path, WEBHOOK, alerts, CHAT, COMMAND, LOG)
    made = [build_correctors.corrector(entry, config) for entry in config.correctors]
    assert list(map(repr, made)) == [
        "Webhook('https://example.com')", "Alertmanager('http://a:1', 'http://b:2')", "Chat('https://chat.example.com')",
        "Command(['sh', '-c', 'true'])", "Log()",
    ]  # fmt: skip


def test_every_secret_is_one_that_the_log_blots_out(tmp_path):
    config = loaded(tmp_path, {**WEBHOOK, "authorization": {"env": "AUTH"}}, {**ALERTMANAGER, "authorization": {"env": "AUTH"}}, CHAT, OWN)
    assert {str.__str__(secret) for secret in secrets(config)} >= {SECRET, URL, "Bearer hunter3", "hunter4"}
    assert "hunter" not in repr(config)
    assert "whsec_" not in repr(config) + str(config.model_dump())


def test_the_environment_stands_in_the_place_of_what_the_file_says(tmp_path):
    over = {"STREAMKL__CORRECTORS__0__URL": "http://127.0.0.1:1/", "STREAMKL__CORRECTORS__0__SECRETS__0__ENV": "OTHER", "OTHER": SECRET}
    (entry,) = loaded(tmp_path, WEBHOOK, environment={**ENVIRONMENT, **over}).correctors
    assert entry.url == "http://127.0.0.1:1/"
    assert entry.secrets[0].origin == "the environment variable OTHER"
    names = variable_names()
    for name in ("URL", "SECRETS__0__ENV", "SECRETS__NAME__FILE", "AUTHORIZATION__ENV", "LABELS__NAME", "ARGUMENTS"):
        assert f"STREAMKL__CORRECTORS__0__{name}" in names


def test_the_schema_takes_what_is_taken_and_refuses_what_is_refused(tmp_path):
    schema = json_schema()
    jsonschema.validate(tree(*EVERY), schema)
    for entry in ({**LOG, "nam": "x"}, {"name": "x"}, {**WEBHOOK, "secrets": SECRET}, {**CHAT, "url": URL}, {**LOG, "kinds": ["drift"]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tree(entry), schema)


@pytest.mark.parametrize(("entries", "fault"), [
    ([{**WEBHOOK, "nam": 1}], "correctors[0].nam: unknown key; did you mean name?"),
    ([{**WEBHOOK, "secret": 1}], "correctors[0].secret: unknown key; did you mean secrets?"),
    ([{**WEBHOOK, "argumens": 1}], "correctors[0].argumens: unknown key; known here: name, kind,"),        # of another kind: no help
    ([{**COMMAND, "argumens": 1}], "correctors[0].argumens: unknown key; did you mean arguments?"),
    ([{**LOG, "setings": 1}], "correctors[0].setings: unknown key; known here:"),
    ([{**OWN, "setings": 1}], "correctors[0].setings: unknown key; did you mean settings?"),
    ([{"name": "x"}], "correctors[0].kind: is missing; webhook or alertmanager or chat or command or log"),
    ([{"name": "x", "kind": "slak"}], "correctors[0].kind: is unknown; use webhook or alertmanager or chat or command or log"),
    ([{"kind": "log"}], "correctors[0].name: is missing; Names it"),
    (["log"], "correctors[0]: must be a mapping of settings"),
    ([{**LOG, "name": "a b"}], "correctors[0].name: must be 1 to 200 of the characters"),
    ([LOG, LOG], "correctors[1].name: is that of correctors[0] too"),
    ([{**LOG, "name": "x" * 100}], "correctors[0].name: its group"),
    ([{**LOG, "kinds": ["drift.raise"]}], "correctors[0].kinds[0]: 'drift.raise' is unknown; use 'drift.raised'"),
    ([{**LOG, "kinds": []}], "correctors[0].kinds: "),
    ([{**LOG, "streams": []}], "correctors[0].streams: "),
    ([{**LOG, "min_divergence": {"jss": 0.1}}], "correctors[0].min_divergence: events have no measure 'jss'"),
    ([{**LOG, "min_divergence": -1}], "correctors[0].min_divergence: kl must be a number of at least 0"),
    ([{**LOG, "attempts": 0}], "correctors[0].attempts: must be greater than or equal to 1, not 0"),
    ([{**LOG, "timeout_seconds": True}], "correctors[0].timeout_seconds: is true or false"),
    ([{**LOG, "store": "/nowhere/x"}], "correctors[0].store: '/nowhere/x' cannot be a file there"),
    ([{**WEBHOOK, "url": "example.com"}], "correctors[0].url: must be http://HOST"),
    ([{**WEBHOOK, "url": "https://u:hunter2@example.com"}], "correctors[0].url: user and password are no part of a URL"),
    ([{**WEBHOOK, "secrets": ["hunter2"]}], "correctors[0].secrets[0]: must say where the secret is"),
    ([{**WEBHOOK, "secrets": "hunter2"}], "correctors[0].secrets: must be a list"),
    ([{**WEBHOOK, "secrets": []}], "correctors[0].secrets: "),
    ([{**WEBHOOK, "secrets": [{"env": "NOT_SET"}]}], "correctors[0].secrets[0]: the environment variable NOT_SET is not set"),
    ([{**WEBHOOK, "secrets": [{"env": "BAD"}]}], "correctors[0].secrets[0]: the secret of a webhook must be whsec_"),
    ([{**WEBHOOK, "ca_file": "/nowhere"}], "correctors[0].ca_file: is no file that can be read"),
    ([{**CHAT, "url": URL}], "correctors[0].url: must say where the secret is"),
    ([{**CHAT, "url": {"env": "BAD"}}], "correctors[0].url: must be http://HOST"),
    ([{**ALERTMANAGER, "url": ["http://a", "b"]}], "correctors[0].url[1]: must be http://HOST"),
    ([{**ALERTMANAGER, "labels": {"stream": "x"}}], "correctors[0].labels.stream: must be letters, digits and _, and none of alertname"),
    ([{**ALERTMANAGER, "labels": {"team": 1}}], "correctors[0].labels.team: must be text"),
    ([{**ALERTMANAGER, "kinds": ["drift.raised"]}], "correctors[0].kinds: has drift.raised without drift.resolved and reference.rebaselined"),
    ([{**ALERTMANAGER, "ends_after_hours": 0}], "correctors[0].ends_after_hours: must be greater than 0"),
    ([{**COMMAND, "arguments": "rm -rf"}], "correctors[0].arguments: must be a list"),
    ([{**COMMAND, "arguments": ["/nowhere/x"]}], "correctors[0].arguments[0]: is no program that can be run"),
    ([{**COMMAND, "never_again": 0}], "correctors[0].never_again: must be greater than or equal to 1"),
    ([{**COMMAND, "folder": "/nowhere"}], "correctors[0].folder: '/nowhere' is no folder"),
    ([{**OWN, "kind": "json.nothing"}], "correctors[0].kind: there is no module 'json.nothing'"),
    ([{**OWN, "settings": {"token": 1}}], "correctors[0].settings.token: stands under secrets too"),
])  # fmt: skip
def test_a_fault_is_told_with_its_line_its_path_and_the_next_step(tmp_path, entries, fault):
    (found,) = refused(tmp_path, *entries)
    assert found.startswith(fault)


def test_what_is_for_kafka_is_refused_beside_a_file(tmp_path):
    found = refused(tmp_path, {**LOG, "dead_letters": "x", "start_at": "latest"}, base=FILE)
    assert [line.split(": ")[0] for line in found] == ["correctors[0].dead_letters"]


def test_two_ports_that_are_one_are_refused(tmp_path):
    found = refused(tmp_path, LOG, base=changed(KAFKA, {"monitoring": {"port": 9465}}))
    assert found == ["monitoring.correctors_port: is that of port too; give it another one, or null"]


def test_check_covers_the_section_and_shows_no_secret(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    outcome = streamkl("check", write(tmp_path, tree(*EVERY)))
    assert outcome.code == 0, outcome.err
    assert "corrector     chat, chat, group payments.chat: drift.raised, drift.resolved, reference.rebaselined of *" in outcome.out
    assert not any(secret in outcome.out for secret in ("hunter", "whsec_"))
    outcome = streamkl("check", write(tmp_path, tree({**LOG, "kinds": ["x"]})))
    assert outcome.code == 2
    assert "correctors[0].kinds[0]: 'x' is unknown" in outcome.err
    text = json.loads(streamkl("check", "--schema").out)
    assert "correctors" in text["properties"]


def test_the_example_in_yaml_is_read_as_it_looks(tmp_path):
    text = """
- name: on-call
  kind: alertmanager
  url: [http://alertmanager-1:9093, http://alertmanager-2:9093]
  min_divergence: {js: 0.05}
- name: retrain
  kind: command
  arguments: [sh, -c, "exit 0"]
  streams: payments/*
  kinds: [drift.raised]
"""
    first, second = loaded(tmp_path, *yaml.safe_load(text)).correctors
    assert first.min_divergence == {"js": 0.05}
    assert (second.streams, second.kinds) == (["payments/*"], ["drift.raised"])
