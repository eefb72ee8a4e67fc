"""The configuration that is right: what is left out, overridden, merged and derived."""

from __future__ import annotations

import inspect
import json
import socket

import jsonschema
import pytest
from configured import FILE, KAFKA, changed, faults, loaded, write

from streamkl.app.config import json_schema, load, variable_names
from streamkl.app.config_document import Document
from streamkl.detect.detector import Detector

DETECTOR = {name: parameter.default for name, parameter in inspect.signature(Detector).parameters.items()}


def test_what_is_left_out_is_named_after_the_application(tmp_path):
    config = loaded(tmp_path, changed(KAFKA, {"source.instance": "host-1"}))
    assert (config.group, config.transactional_id) == ("payments", "payments.host-1")
    assert (config.drift_topic, config.dead_letter_topic) == ("payments.drift", "payments.dead-letters")
    assert (config.divergence_topic, config.state_topic, config.state_kind) == ("payments.divergence", "payments.state", "kafka")


def test_the_instance_is_the_host_by_default(tmp_path):
    assert loaded(tmp_path, KAFKA).instance == socket.gethostname()


def test_a_file_source_keeps_its_state_in_a_file(tmp_path):
    config = loaded(tmp_path, FILE)
    assert (config.state_kind, config.state_path, config.is_kafka) == ("sqlite", "state.db", False)


@pytest.mark.parametrize(("name", "topic"), [
    ("events.jsonl", "events"), ("my events.jsonl.gz", "my-events"), ("a.b.ndjson", "a.b"), ("x.csv.gz", "x"), ("x", "x"),
])  # fmt: skip
def test_a_file_is_a_topic_named_after_it(tmp_path, name, topic):
    (tmp_path / name).write_text("{}")
    config = loaded(tmp_path, changed(FILE, {"source.path": str(tmp_path / name)}))
    assert config.topics == (topic,)
    assert config.name_of(config.streams[0]) == topic


@pytest.mark.parametrize(("format", "decoder"), [("jsonl", "json"), ("csv", "csv")])
def test_the_format_of_a_file_says_what_reads_it(tmp_path, format, decoder):
    config = loaded(tmp_path, changed(FILE, {"source.format": format}))
    assert config.decoder_of(config.streams[0]) == decoder


def test_every_default_is_the_detectors_but_for_hold(tmp_path):
    config = loaded(tmp_path, KAFKA)
    settings = config.detector_settings(config.streams[0], "amount")
    own = {name: value for name, value in DETECTOR.items() if name not in ("reference", "season", "name")}
    assert settings == {**own, "on_drift": "hold"}


def test_a_field_differs_from_its_entry_which_differs_from_the_rest(tmp_path):
    config = loaded(tmp_path, changed(KAFKA, {
        "detector": {"warmup": 200, "min_effect_nats": 0.2, "window": 150, "hold_for_events": 7},
        "streams.0.detector": {"warmup": 300, "min_effect_nats": None},
        "streams.0.fields.amount.detector": {"warmup": 400},
    }))  # fmt: skip
    amount, method = (config.detector_settings(config.streams[0], field) for field in ("amount", "method"))
    assert (amount["warmup"], method["warmup"]) == (400, 300)
    assert (amount["min_effect"], amount["window"], amount["hold_for"]) == (None, 150, 7)
    assert (amount["kind"], method["kind"]) == ("numeric", "categorical")
    assert Detector(**method).state == "learning"


def test_an_override_with_the_value_of_the_default_is_still_an_override(tmp_path):
    config = loaded(tmp_path, changed(KAFKA, {"detector": {"warmup": 200}, "streams.0.detector": {"warmup": DETECTOR["warmup"]}}))
    assert config.detector_settings(config.streams[0], "amount")["warmup"] == DETECTOR["warmup"]


def test_a_fields_path_is_its_name_unless_it_is_given(tmp_path):
    entry = loaded(tmp_path, KAFKA).streams[0]
    assert (entry.path("amount"), entry.path("method")) == ("payload.amount", "method")


@pytest.mark.parametrize(("written", "meant"), [("amount:", "numeric"), ("amount: numeric", "numeric"), ("amount: categorical", "categorical")])
def test_a_field_has_a_short_form(tmp_path, written, meant):
    text = f"application: a\nsource: {{kind: file, path: '-'}}\nstreams:\n  - fields:\n      {written}\n"
    assert loaded(tmp_path, text).streams[0].fields["amount"].kind == meant


def test_two_readers_of_one_topic_have_names_of_their_own(tmp_path):
    second = {"topic": "payments", "name": "by-key", "key": {"message_key": True}, "fields": {"amount": None}}
    config = loaded(tmp_path, changed(KAFKA, {"streams": [*KAFKA["streams"], second]}))
    assert [config.name_of(entry) for entry in config.streams] == ["payments", "by-key"]
    assert config.topics == ("payments",)


def test_a_configuration_is_frozen(tmp_path):
    config = loaded(tmp_path, KAFKA)
    with pytest.raises(ValueError, match="frozen"):
        config.application = "other"


# ---------------------------------------------------------------- the environment


def test_the_environment_stands_in_the_place_of_the_file(tmp_path):
    config = loaded(tmp_path, KAFKA, {
        "STREAMKL__SOURCE__GROUP": "2024",
        "STREAMKL__SOURCE__BOOTSTRAP_SERVERS": "a:1, b:2",
        "STREAMKL__STREAMS__0__FIELDS__AMOUNT__DETECTOR__WARMUP": "700",
        "STREAMKL__DETECTOR__STRIDE": "3",
        "STREAMKL__DETECTOR__FALSE_ALARMS": "1 per 5000 events",
        "STREAMKL__DETECTOR__MIN_EFFECT_NATS": "null",
        "STREAMKL__MONITORING__PORT": "null",
        "STREAMKL__DIVERGENCE__GAUGES": "[payments/EU/*, payments/US/amount]",
        "STREAMKL_TEST_BROKER": "not one of ours",
        "OTHER": "x",
    })  # fmt: skip
    amount = config.detector_settings(config.streams[0], "amount")
    assert (config.group, config.source.bootstrap_servers) == ("2024", ["a:1", "b:2"])
    assert (amount["warmup"], amount["stride"], amount["min_effect"]) == (700, 3, None)
    assert amount["false_alarms"] == "1 per 5000 events"
    assert (config.monitoring.port, config.divergence.gauges) == (None, ["payments/EU/*", "payments/US/amount"])


def test_the_environment_finds_names_of_fields_in_any_case(tmp_path):
    tree = changed(KAFKA, {"streams.0.fields": {"unitPrice": "numeric"}})
    config = loaded(tmp_path, tree, {"STREAMKL__STREAMS__0__FIELDS__UNITPRICE": "categorical"})
    assert config.streams[0].fields["unitPrice"].kind == "categorical"


def test_every_variable_that_the_help_lists_reaches_its_setting(tmp_path):
    """Each listed name, set to nonsense, is refused at its own place and never as an unknown key."""
    tree = changed(KAFKA, {"streams.0": {"topic": "t", "fields": {"name": {"kind": "numeric"}}}})
    names = variable_names()
    assert len(names) == len(set(names)) > 90
    for name in names:
        source = FILE["source"] if name in ("STREAMKL__SOURCE__PATH", "STREAMKL__SOURCE__FORMAT") else KAFKA["source"]
        assert [fault for fault in faults(tmp_path, changed(tree, {"source": source}), {name: "[1"}) if "is not YAML" in fault]
        assert not [fault for fault in faults(tmp_path, changed(tree, {"source": source}), {name: "{}"}) if "unknown key" in fault]


# ---------------------------------------------------------------- YAML


def test_names_that_yaml_would_make_truth_values_are_names(tmp_path):
    text = "application: on\nsource: {kind: file, path: '-'}\nstreams:\n  - name: no\n    fields: {y: numeric, off: categorical}\n"
    config = loaded(tmp_path, text)
    assert (config.application, config.streams[0].name, list(config.streams[0].fields)) == ("on", "no", ["y", "off"])


@pytest.mark.parametrize(("text", "value"), [
    ("012", 12), ("0x1F", "0x1F"), ("12:30:00", "12:30:00"), ("2026-01-02", "2026-01-02"), ("1_000", 1000), ("1e3", 1000.0), (".5", 0.5),
    ("=", "="), ("'1'", "1"), ("yes", "yes"), ("~", None), ("", None), ("true", True), ("-.inf", float("-inf")), ("9" * 40, 1e40),
    ("!!str 12", "12"),
])  # fmt: skip
def test_yaml_is_read_by_the_rules_of_its_version_1_2(tmp_path, text, value):
    assert Document.of(write(tmp_path, f"a: {text}\n")).tree == {"a": value}


def test_an_alias_is_what_it_names(tmp_path):
    assert Document.of(write(tmp_path, "a: &x {b: 1}\nc: *x\n")).tree == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    assert Document.of(write(tmp_path, "\ufeffa: 1\n")).tree == {"a": 1}


# ---------------------------------------------------------------- the schema


def test_the_schema_takes_what_the_program_takes(tmp_path):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    secret = {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": "u", "password": {"env": "P"}}
    for tree in (KAFKA, FILE, changed(KAFKA, {"source.security": secret, "source.bootstrap_servers": "a:1,b:2", "detector": {"stride": 4}})):
        assert load(write(tmp_path, tree), {"P": "x"})
        assert list(validator.iter_errors(tree)) == []


@pytest.mark.parametrize("change", [
    {"source.bootstrap_server": ["a:1"]}, {"application": ...}, {"source.kind": "pulsar"}, {"source.security": {"password": "hunter2"}},
    {"streams": []}, {"streams.0.fields.amount": "number"}, {"limits": {"stall_seconds": 0}}, {"detector": {"warmup": "many"}},
])  # fmt: skip
def test_the_schema_refuses_what_the_program_refuses(tmp_path, change):
    tree = changed(KAFKA, change)
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(tree))
    with pytest.raises(ValueError, match=r"config\.yaml"):
        loaded(tmp_path, tree)


def test_every_setting_is_described():
    def undescribed(node, path=""):
        if isinstance(node, dict):
            for name, part in node.get("properties", {}).items():
                if "description" not in part and "description" not in schema["$defs"].get(part.get("$ref", "").split("/")[-1], {}):
                    yield f"{path}.{name}"
            for name, part in node.items():
                yield from undescribed(part, f"{path}/{name}")

    schema = json_schema()
    assert list(undescribed(schema)) == []
    assert json.loads(json.dumps(schema)) == schema
