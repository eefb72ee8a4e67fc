"""Rules between the parts of a configuration, each with its reason."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from streamkl.app.build_alarm import alarm_fault, with_alarm
from streamkl.app.config_application import Config
from streamkl.app.config_fault import Fault, Path
from streamkl.app.config_source import FileSource, KafkaSource
from streamkl.app.config_streams import DECODERS, StreamEntry, keyword
from streamkl.detect.detector import Detector
from streamkl.errors import ConfigError

GROUP_LENGTH = 100


def faults(config: Config) -> Iterator[Fault]:
    """Yield what is wrong between the parts."""
    yield from (Fault(("source", *path), sentence) for path, sentence in config.source.faults())
    if isinstance(config.source, KafkaSource):
        yield from (Fault(("source", "security", *path), sentence) for path, sentence in config.source.security.faults())
        yield from _kafka_faults(config)
    else:
        yield from _file_faults(config)
    for number, entry in enumerate(config.streams):
        yield from (Fault(("streams", number, *path), sentence) for path, sentence in entry.faults())
        for field in entry.fields:
            yield from _detector_faults(config, number, entry, field)
    yield from _same_streams(config)
    yield from _corrector_faults(config)
    yield from _state_faults(config)


def _kafka_faults(config: Config) -> Iterator[Fault]:
    outputs = {
        ("drift_events", "topic"): config.drift_topic, ("dead_letters", "topic"): config.dead_letter_topic,
        ("divergence", "topic"): config.divergence_topic, ("control", "topic"): config.control_topic, ("state", "topic"): config.state_topic,
    }
    seen: dict[str, Path] = {}
    for path, topic in outputs.items():
        if topic in config.topics:
            yield Fault(path, f"{topic!r} is read as well, what is written there would be read again as input; give it another name")
        if topic in seen:
            yield Fault(path, f"{topic!r} is {'.'.join(map(str, seen[topic]))} too, and its readers could not tell one from the other; rename one")
        seen.setdefault(topic, path)
    for number, entry in enumerate(config.streams):
        if entry.topic is None:
            yield Fault(("streams", number, "topic"), "is missing; name the topic to read")
        if entry.decoder == "csv":
            yield Fault(("streams", number, "decoder"), "csv reads files: a message of Kafka has no header row; use json")
    if isinstance(config.source, KafkaSource) and config.limits.learning_seconds_per_poll > config.source.max_poll_interval_seconds / 2:
        yield Fault(("limits", "learning_seconds_per_poll"), "must stay below half of source.max_poll_interval_seconds; lower it")


def _file_faults(config: Config) -> Iterator[Fault]:
    assert isinstance(config.source, FileSource)
    named = [(number, entry.topic) for number, entry in enumerate(config.streams) if entry.topic is not None]
    for number, topic in named[1:]:
        if topic != named[0][1]:
            yield Fault(("streams", number, "topic"), f"a file is one topic, and it is called {named[0][1]!r} above; use that, or leave it out")
    for number, entry in enumerate(config.streams):
        if entry.decoder in DECODERS and entry.decoder != config.source.decoder:
            yield Fault(("streams", number, "decoder"), f"{entry.decoder} cannot read a file of format {config.source.format}; leave it out")
        if entry.key is not None and entry.key.message_key:
            yield Fault(("streams", number, "key", "message_key"), "the lines of a file have no message key; use key: {field: PATH}")


def _state_faults(config: Config) -> Iterator[Fault]:
    state = config.state
    if config.is_kafka and state.kind == "sqlite":
        yield Fault(("state", "kind"), "sqlite cannot be committed atomically with the offsets of a Kafka source; leave it out, or use kafka")
    if isinstance(config.source, FileSource) and state.kind == "kafka":
        yield Fault(("state", "kind"), "kafka cannot be committed atomically with the position in a file; leave it out, or use sqlite")
    if config.state_kind == "kafka" and state.path is not None:
        yield Fault(("state", "path"), "has no meaning with a Kafka state; leave it out")
    if config.state_kind == "sqlite":
        if state.topic is not None:
            yield Fault(("state", "topic"), "has no meaning with a SQLite state; leave it out")
        folder = os.path.dirname(config.state_path) or "."
        if os.path.isdir(config.state_path) or not os.path.isdir(folder):
            yield Fault(("state", "path"), f"{config.state_path!r} cannot be a file there; give one in a folder that exists")


def _corrector_faults(config: Config) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for number, entry in enumerate(config.correctors):
        yield from (Fault(("correctors", number, *path), sentence) for path, sentence in entry.faults())
        other = seen.setdefault(entry.name, number)
        if other != number:
            yield Fault(("correctors", number, "name"), f"is that of correctors[{other}] too, and they would share one position; rename one")
        if len(group := config.group_of(entry)) > GROUP_LENGTH:
            yield Fault(("correctors", number, "name"), f"its group {group!r} would be longer than {GROUP_LENGTH} characters; shorten it")
        if not config.is_kafka and "dead_letters" in entry.model_fields_set:
            yield Fault(("correctors", number, "dead_letters"), "is for Kafka: dead letters of a file stand in the store; leave it out")
    if config.correctors and config.monitoring.port and config.monitoring.port == config.monitoring.correctors_port:
        yield Fault(("monitoring", "correctors_port"), "is that of port too; give it another one, or null")


def _same_streams(config: Config) -> Iterator[Fault]:
    """Yield entries that would make streams of the same name: names are parted by /, which neither a name nor a field holds."""
    seen: dict[tuple[str, bool, str], int] = {}
    for number, entry in enumerate(config.streams):
        name = config.name_of(entry)
        for field in entry.fields:
            other = seen.setdefault((name, entry.key is None, field), number)
            if other != number:
                stream = f"{name}/{field}" if entry.key is None else f"{name}/<key>/{field}"
                yield Fault(("streams", number), f"makes the stream {stream} as streams[{other}] does; give one of them another name")


def _detector_faults(config: Config, number: int, entry: StreamEntry, field: str) -> Iterator[Fault]:
    """Yield every fault that Detector itself finds, where the setting was written."""
    settings: dict[str, Any] = config.detector_settings(entry, field)
    if fault := alarm_fault(settings["alarm"]):
        yield Fault((*_written_at(config, number, entry, field, "alarm"), *fault.path), fault.sentence)
        del settings["alarm"]
    else:
        settings = with_alarm(settings)
    while True:
        try:
            Detector(name="stream", **settings)
            return
        except ConfigError as error:
            sentence = str(error)
        match = re.match(r"(\w+)=", sentence)
        path = _written_at(config, number, entry, field, match[1] if match else "")
        yield Fault(path, _in_keys(sentence.removeprefix(match[0]) if match else sentence))
        if match is None or settings.pop(match[1], None) is None:
            return


def _written_at(config: Config, number: int, entry: StreamEntry, field: str, setting: str) -> Path:
    places = (
        (("streams", number, "fields", field, "detector"), entry.fields[field].detector),
        (("streams", number, "detector"), entry.detector),
        (("detector",), config.detector),
    )
    for path, detector in places:
        for name in detector.model_fields_set:
            if keyword(name) == setting:
                return (*path, name)
    return _written_at(config, number, entry, field, "raise_at") if setting == "resolve_at" else ("detector",)


def _in_keys(sentence: str) -> str:
    """Return a sentence of Detector with the names of the configuration.

    >>> _in_keys("0.2 must lie above 0 and below raise_at=0.1")
    '0.2 must lie above 0 and below raise_at_nats=0.1'
    """
    return re.sub(r"\b(raise_at|resolve_at|min_effect)=", r"\1_nats=", sentence).replace("hold_for=", "hold_for_events=")
