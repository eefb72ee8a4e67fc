"""AsyncAPI: the document that tells machines which topics an application publishes to, and what is in their messages.

Rule: nothing is said here that the messages do not keep; `tests/test_schemas.py` holds real messages against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

ANY: Final = "{application}"
TEXT: Final = {"type": "string"}
HEADERS: Final = {
    "content-type": {"const": "application/json"},
    "ce_specversion": {"const": "1.0"},
    "ce_type": TEXT,
    "ce_source": {"type": "string", "format": "uri-reference"},
    "ce_id": {"type": "string", "minLength": 1, "description": "Consumers drop repeats by (ce_source, ce_id)."},
    "ce_subject": {"type": "string", "minLength": 1, "description": "The stream."},
    "ce_time": {"type": "string", "format": "date-time", "description": "Event time; absent if the record has none."},
    "ce_partitionkey": {"type": "string", "minLength": 1, "description": "The stream."},
    "ce_dataschema": {"type": "string", "format": "uri"},
    "ce_sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "Number of the episode; of drift events only."},
}
OPTIONAL: Final = ("ce_time", "ce_sequence")
DEAD_LETTER_HEADERS: Final = {
    "streamkl_reason": {"type": "string", "description": "One of a few sentences, without a value of the record."},
    "streamkl_topic": TEXT,
    "streamkl_partition": {"type": "string", "pattern": "^[0-9]+$"},
    "streamkl_offset": {"type": "string", "pattern": "^[0-9]+$"},
    "streamkl_timestamp": {"type": "string", "pattern": "^[0-9]+$", "description": "ms since the epoch; absent if the record has none."},
    "streamkl_application": TEXT,
}


def document(application: str | None, kinds: Sequence[str], schemas: Mapping[str, object]) -> dict[str, object]:
    """Return the document. application: None for any. kinds: of drift events. schemas: name -> JSON Schema of the data."""
    drift = {_name(kind): _event(kind, "DriftEventData") for kind in kinds}
    measured = {_name("divergence.measured"): _event("divergence.measured", "ReadingData")}
    channels = {
        "drift": _channel(application, "drift", "Drift events, keyed by stream.", drift),
        "divergence": _channel(application, "divergence", "KL and JS of every stream between alarms, keyed by stream.", measured),
        "deadLetters": _channel(application, "dead-letters", "Records that could not be used, as they came, with why.", {"deadLetter": {}}),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"streamkl {application}" if application else "streamkl",
            "version": "1.0.0",
            "description": "What the drift detector publishes. Events are CloudEvents 1.0 in the binary mode of the Kafka binding; "
            "in structured mode the same attributes stand in the value, around the same data.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {f"send{_capital(name)}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in channels},
        "components": {"messages": {**drift, **measured, "deadLetter": _dead_letter()}, "schemas": dict(schemas)},
    }


def _channel(application: str | None, topic: str, description: str, messages: Mapping[str, object]) -> dict[str, object]:
    named = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    channel: dict[str, object] = {"address": f"{application or ANY}.{topic}", "description": description, "messages": named}
    return channel if application else {**channel, "parameters": {"application": {"description": "The application's name in its configuration."}}}


def _event(kind: str, schema: str) -> dict[str, object]:
    type_ = {"ce_type": {"const": f"io.streamkl.{kind}.v1"}}
    required = [name for name in HEADERS if name not in OPTIONAL]
    return {
        "name": f"io.streamkl.{kind}.v1",
        "contentType": "application/json",
        "headers": {"type": "object", "required": required, "properties": {**HEADERS, **type_}},
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": "The stream."}}},
    }


def _dead_letter() -> dict[str, object]:
    required = [name for name in DEAD_LETTER_HEADERS if name != "streamkl_timestamp"]
    return {
        "name": "deadLetter",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "required": required, "properties": dict(DEAD_LETTER_HEADERS)},
        "payload": {"description": "The record's own value, byte for byte; null where it was a tombstone."},
    }


def _name(kind: str) -> str:
    """Return the name of a message.

    >>> _name("drift.raised")
    'driftRaised'
    """
    first, second = kind.split(".")
    return first + _capital(second)


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
