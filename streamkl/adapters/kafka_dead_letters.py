"""Kafka dead letters: a bad record as a message that the client can send and the topic takes, however large the record was.

Rule 1: what fits goes as it came. Else the value is cut to a prefix; then the largest of the record's own headers are left out; the key is cut last.
Rule 2: what was taken away is told by headers: `streamkl_value_bytes`, `streamkl_key_bytes`: true lengths; `streamkl_headers_left_out`: how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamkl.service.alerts import dead_letter
from streamkl.service.cloud_events import Message
from streamkl.service.work import DeadLetter

DEFAULT_BYTES: Final = 1_048_576
"""What a topic takes where it does not say: a little less than the default of a broker, 1,048,588."""
RECORD_BYTES: Final = 128
"""At least what a batch of one record has besides key, value and headers: its head of 61 bytes, and numbers of 10 bytes each at most."""
HEADER_BYTES: Final = 10
"""The lengths of a header's name and value, 5 bytes each at most."""
TOLD_BYTES: Final = 3 * 64
"""Room for the headers that tell what was taken away."""

NO_VALUE: Final = ("streamkl_value", b"null")
"""Header of a dead letter that had neither key nor value, which the client refuses to send: its value is empty instead."""

Header = tuple[str, bytes]


def sendable(letter: DeadLetter, application: str, bytes_max: int = DEFAULT_BYTES) -> Message:
    """Return a dead letter as the client takes it, and a topic whose max.message.bytes is `bytes_max`.

    A header without a value has an empty one; a record without key and value has an empty value.
    """
    key, value, headers = dead_letter(letter, application)
    own = len(letter.record.headers)
    return fitting(key, value, headers[:own], headers[own:], bytes_max)


def fitting(
    key: bytes | None, value: bytes | None, own: Sequence[tuple[str, bytes | None]], ours: Sequence[Header], bytes_max: int = DEFAULT_BYTES
) -> Message:
    """Return a message that a topic takes. own: the record's headers; ours: those that say why and from where, which are never left out."""
    given, added = [(name, b"" if content is None else bytes(content)) for name, content in own], list(ours)
    if key is None and value is None:
        value, added = b"", [*added, NO_VALUE]
    if _bytes(key, value, [*given, *added]) <= bytes_max:
        return Message(key, value, [*given, *added])
    return _cut(key, value, given, added, bytes_max)


def _cut(key: bytes | None, value: bytes | None, own: Sequence[Header], ours: Sequence[Header], bytes_max: int) -> Message:
    """Return a message that is small enough. own: the record's headers; ours: those that say why and from where, which stay."""
    told: list[Header] = []
    room = bytes_max - TOLD_BYTES - _bytes(None, None, ours)
    kept = _kept(own, room - len(key or b""))
    if len(kept) < len(own):
        told.append(("streamkl_headers_left_out", b"%d" % (len(own) - len(kept))))
    room -= sum(map(_header_bytes, kept))
    if key is not None and len(key) > room:
        told.append(("streamkl_key_bytes", b"%d" % len(key)))
        key = key[: max(0, room)]
    room -= len(key or b"")
    if value is not None and len(value) > room:
        told.append(("streamkl_value_bytes", b"%d" % len(value)))
        value = value[: max(0, room)]
    return Message(key, value, [*kept, *ours, *told])


def _kept(headers: Sequence[Header], room: int) -> list[Header]:
    """Return headers in their order without the largest, so many that they fit into the room."""
    total = sum(map(_header_bytes, headers))
    left_out = set()
    for place in sorted(range(len(headers)), key=lambda place: _header_bytes(headers[place]), reverse=True):
        if total <= room:
            break
        left_out.add(place)
        total -= _header_bytes(headers[place])
    return [header for place, header in enumerate(headers) if place not in left_out]


def _bytes(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> int:
    """Return what a batch of this one message has at most."""
    return RECORD_BYTES + len(key or b"") + len(value or b"") + sum(map(_header_bytes, headers))


def _header_bytes(header: Header) -> int:
    return HEADER_BYTES + len(header[0].encode()) + len(header[1])
