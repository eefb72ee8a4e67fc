"""Incoming: one message of a place of drift events, as it came and as it is understood.

Rule 1: what is no drift event of ours is foreign: counted and left out. What says that it is one, and cannot be read - a newer version, a field of
another type, a value that is no JSON - has a fault: it goes to the dead letters, where a newer program can take it up.
Rule 2: a repeat is told by its key: the id. An id that holds no application (`streamkl watch`, a Detector) is the same in every run, so that
there the data belongs to the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streamkl.detect.event import DriftEvent, identity
from streamkl.errors import RecordError
from streamkl.service.alerts import MEASURED, drift_event
from streamkl.service.cloud_events import PREFIX, received
from streamkl.service.record import Partition, Record

OURS: Final = re.compile(r"io\.streamkl\.(?P<kind>[a-z_]+\.[a-z_]+)\.v(?P<version>[0-9]+)")
VERSION: Final = "1"
OUR_FIELDS: Final = frozenset({"id", "kind", "stream", "divergence"})


class Incoming(NamedTuple):
    """One message. next_offset: where reading goes on behind it. event and fault are both None: it is foreign."""

    partition: Partition
    next_offset: int
    record: Record
    event: DriftEvent | None = None
    fault: str | None = None


class Brought(NamedTuple):
    """What one poll of a feed brought. lost: partitions that are, or were, another's: what was brought of
    them before is forgotten. replaced: why it is read from its start."""

    items: Sequence[Incoming] = ()
    gained: Sequence[Partition] = ()
    lost: Sequence[Partition] = ()
    replaced: str = ""


class Undelivered(NamedTuple):
    """A dead letter: what could not be delivered, why, after how many attempts, and when (ms since the epoch, UTC)."""

    incoming: Incoming
    group: str
    reason: str
    attempts: int
    at: int


def of_message(record: Record, next_offset: int) -> Incoming:
    """Return a message of a topic, understood."""
    place = Partition(record.topic, record.partition)
    headers = {name.lower(): content or b"" for name, content in record.headers}
    claimed = headers.get(f"{PREFIX}type", b"").decode("utf-8", "replace")
    try:
        type_, data = received(record.value, record.headers)
    except RecordError as error:
        return Incoming(place, next_offset, record, fault=str(error) if OURS.fullmatch(claimed) else None)
    match = OURS.fullmatch(type_)
    if match is None or match["kind"] == MEASURED:
        return Incoming(place, next_offset, record)
    if match["version"] != VERSION:
        fault = f"the event is of version {match['version']}, this program reads version {VERSION}; install a newer streamkl, and deliver it again"
        return Incoming(place, next_offset, record, fault=fault)
    return _read(Incoming(place, next_offset, record), data)


def of_line(record: Record, next_offset: int) -> Incoming:
    """Return a line of JSON, understood; record.value: the line."""
    plain = Incoming(Partition(record.topic, record.partition), next_offset, record)
    try:
        data = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return plain
    return _read(plain, data) if isinstance(data, dict) and data.keys() >= OUR_FIELDS else plain


def key_of(event: DriftEvent) -> str:
    """Return by what a repeat of the event is known.

    >>> import dataclasses
    >>> event = DriftEvent("drift.raised", "a", 7, 7, None, 1, 2e6, 1e6, "exact", {}, (), (), 100, 600)
    >>> key_of(event) == key_of(dataclasses.replace(event, at=5)), key_of(dataclasses.replace(event, id="mine"))
    (False, 'mine')
    """
    if event.id != identity(event.stream, event.index, event.kind):
        return event.id
    return f"{event.id} {hashlib.sha256(event.to_json().encode()).hexdigest()[:32]}"


def _read(plain: Incoming, data: Mapping[str, object]) -> Incoming:
    try:
        return plain._replace(event=drift_event(data))
    except RecordError as error:
        return plain._replace(fault=str(error))
