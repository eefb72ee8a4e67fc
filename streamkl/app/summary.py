"""Summary: what a configuration would run, for a person.

Rule: a secret is told by where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamkl.app.label import label

if TYPE_CHECKING:
    from streamkl.app.config import Config
    from streamkl.app.config_streams import StreamEntry

WIDTH = 14
LINE_LENGTH = 400
FIELDS_SHOWN = 50


def summary(path: str, config: Config) -> str:
    """Return what would run, several lines, the last one ended."""
    rows = [("application", _application(config)), ("source", _source(config))]
    rows += [("streams", row) for row in _streams(config)]
    rows += [("detector", _settings(config.detector.all()))]
    rows += list(_outputs(config))
    lines = [f"{label(path, LINE_LENGTH)}: no fault found; this would run:"]
    lines += [label(f"  {name:<{WIDTH}}{text}", LINE_LENGTH) for name, text in rows]
    return "\n".join(lines) + "\n"


def _application(config: Config) -> str:
    if not config.is_kafka:
        return config.application
    return f"{config.application}, group {config.group}, transactional id {config.transactional_id}"


def _source(config: Config) -> str:
    source = config.source
    if source.kind == "file":
        format = {"jsonl": "JSON Lines", "csv": "CSV"}[source.format]
        return f"standard input, {format}" if source.path == "-" else f"file {source.path}, {format}"
    security = source.security
    texts = [f"kafka {', '.join(source.bootstrap_servers)} by {security.protocol}"]
    if security.password is not None:
        texts.append(f"as user {security.username} by {security.mechanism}, password from {security.password.origin}")
    if security.certificate_file is not None:
        texts.append(f"with the certificate {security.certificate_file}")
    if security.protocol == "sasl_plaintext":
        texts.append("unencrypted: anybody on the way can read the records" + (" and the password" if security.mechanism == "PLAIN" else ""))
    return ", ".join([*texts, f"a new group begins at the {source.start_at}"])


def _streams(config: Config) -> Iterator[str]:
    for entry in config.streams:
        for field in list(entry.fields)[:FIELDS_SHOWN]:
            yield _stream(config, entry, field)
        if len(entry.fields) > FIELDS_SHOWN:
            yield f"and {len(entry.fields) - FIELDS_SHOWN} more fields of {config.topic_of(entry)}"


def _stream(config: Config, entry: StreamEntry, field: str) -> str:
    key = "" if entry.key is None else f"<{'message key' if entry.key.message_key else entry.key.field}>/"
    kind = entry.fields[field].kind
    settings = config.detector_settings(entry, field)
    differing = {name: value for name, value in settings.items() if name != "kind" and value != config.detector.all()[name]}
    time = "the record's time" if entry.time is None else f"time {entry.time.field}"
    parts = [f"{config.name_of(entry)}/{key}{field}: {kind}, {entry.path(field)} of {config.topic_of(entry)}", time]
    return ", ".join([*parts, *([_settings(differing)] if differing else [])])


def _settings(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in settings.items())


def _outputs(config: Config) -> Iterator[tuple[str, str]]:
    is_kafka = config.is_kafka
    readings = f"every {config.divergence.every_seconds:g} s"
    yield "drift events", f"topic {config.drift_topic}, {config.drift_events.mode} CloudEvents" if is_kafka else f"file {config.state_path}"
    bad = {"dead_letter": "kept with the reason", "skip": "counted and left out", "stop": "the process stops"}[config.dead_letters.on_bad_record]
    yield "bad records", f"{bad}, topic {config.dead_letter_topic}" if is_kafka else bad
    yield "divergence", f"topic {config.divergence_topic}, {readings}" if is_kafka else readings
    yield "state", f"compacted topic {config.state_topic}" if is_kafka else f"file {config.state_path}"
    if config.control.enabled:
        yield "commands", f"topic {config.control_topic}" if is_kafka else f"file {config.state_path}"
    yield "commit", f"every {config.commit.every_seconds:g} s or {config.commit.every_records:,} records"
    for entry in config.correctors:
        yield "corrector", f"{entry.name}, {entry.kind}, group {config.group_of(entry)}: {', '.join(entry.kinds)} of {', '.join(entry.streams)}"
    monitoring = config.monitoring
    address = "not served" if monitoring.port is None else f"http://{monitoring.host}:{monitoring.port}"
    yield "monitoring", f"{address}, log {monitoring.log_format} from {monitoring.log_level} on"
