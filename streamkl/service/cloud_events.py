"""CloudEvent: an event as the CloudEvents 1.0 Kafka binding wants it on the wire, binary or structured, and read back.

Rule 1: a message of an event has a value, always: without one it would be a tombstone.
Rule 2: attributes are UTF-8 text as it is - the Kafka binding encodes no character in per cent - but for those that CloudEvents forbids:
a control character, a noncharacter and half a character are written as a Python escape. The data has every name exactly.
Rule 3: readers tell events apart by (source, id); both are the same when a record is replayed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from streamkl.errors import RecordError

Mode = Literal["binary", "structured"]

JSON_TYPE: Final = "application/json"
EVENT_TYPE: Final = "application/cloudevents"
STRUCTURED_TYPE: Final = f"{EVENT_TYPE}+json; charset=UTF-8"
PREFIX: Final = "ce_"
NONCHARACTERS = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
FORBIDDEN: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{NONCHARACTERS}]")
EPOCH: Final = datetime(1970, 1, 1)  # of UTC; naive, as all times here


class Message(NamedTuple):
    """What is sent to a topic, but for the topic. value: None only of a dead letter that was a tombstone."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class CloudEvent(NamedTuple):
    """One event. stream: its subject and its key. at: event time, ms UTC, or None. sequence: number of the episode, or None. data: JSON values."""

    type: str
    source: str
    id: str
    stream: str
    at: int | None
    schema: str
    sequence: int | None
    data: Mapping[str, object]

    def message(self, mode: Mode) -> Message:
        """Return it as it goes on the wire: attributes beside the data, or around it."""
        key, attributes = self.stream.encode("utf-8", "backslashreplace"), self.attributes()
        if mode == "binary":
            headers = [(f"{PREFIX}{name}", value.encode()) for name, value in attributes.items()]
            return Message(key, _json(self.data), [("content-type", JSON_TYPE.encode()), *headers])
        whole = {**attributes, "datacontenttype": JSON_TYPE, "data": self.data}
        return Message(key, _json(whole), [("content-type", STRUCTURED_TYPE.encode())])

    def attributes(self) -> dict[str, str]:
        """Return its attributes; one that it does not have is absent."""
        name = attribute(self.stream)
        wanted = {
            "specversion": "1.0",
            "type": self.type,
            "source": self.source,
            "id": self.id,
            "subject": name,
            "time": rfc3339(self.at),
            "partitionkey": name,
            "dataschema": self.schema,
            "sequence": None if self.sequence is None else str(self.sequence),
        }
        return {name: value for name, value in wanted.items() if value}


def source_of(application: str) -> str:
    """Return the source of what an application publishes: a URI reference.

    >>> source_of("payments"), source_of("my app")
    ('/streamkl/payments', '/streamkl/my%20app')
    """
    return f"/streamkl/{quote(application, safe='', errors='backslashreplace')}"


def attribute(text: str) -> str:
    r"""Return text as the value of an attribute.

    >>> print(attribute("Zürich/\x1b[31m"))
    Zürich/\x1b[31m
    """
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def rfc3339(at_ms: int | None) -> str | None:
    """Return a time of the years 1 to 9999 in RFC 3339 with milliseconds, else None.

    >>> rfc3339(1431849903120), rfc3339(None), rfc3339(10**18)
    ('2015-05-17T08:05:03.120Z', None, None)
    """
    if at_ms is None:
        return None
    try:
        return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds") + "Z"
    except OverflowError:
        return None


class Received(NamedTuple):
    """A message, read. type: of the event. data: its data."""

    type: str
    data: Mapping[str, object]


def received(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Received:
    """Return type and data of a message of either mode, which its content type tells.

    Raises RecordError if it is no CloudEvent with an object of JSON as data.
    """
    by_name = {name.lower(): content or b"" for name, content in headers}
    is_structured = by_name.get("content-type", b"").lower().startswith(EVENT_TYPE.encode())
    whole = _object(value)
    if is_structured:
        type_, data = whole.get("type"), whole.get("data")
    else:
        type_, data = by_name.get(f"{PREFIX}type", b"").decode("utf-8", "replace"), whole
    if not isinstance(type_, str) or not type_ or not isinstance(data, dict):
        raise RecordError("the message is no CloudEvent: it has no type, or no data; another program writes to this topic")
    return Received(type_, data)


def _object(value: bytes | None) -> dict[str, object]:
    try:
        read = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise RecordError("the value of the message is no JSON; another program writes to this topic") from error
    if not isinstance(read, dict):
        raise RecordError("the value of the message is no JSON object; another program writes to this topic")
    return read


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
