"""Blob: state as bytes that say what they are, of which version, and whether they are whole.

Rule 1: no pickle: a blob is msgpack behind a magic word, a kind, a version and a CRC-32 of all of it.
Rule 2: what cannot be opened is refused with a StateError that names the next step; nothing is guessed.
"""

from __future__ import annotations

import struct
import zlib
from typing import TypeVar

from streamkl.errors import StateError

T = TypeVar("T")

MAGIC = b"streamkl"
HEADER = struct.Struct("<8s9sHI")       # magic, kind, version, crc


def seal(kind: str, version: int, state: object) -> bytes:
    """Return `state` (plain values, or a dataclass of them) as one self-describing blob."""
    import msgspec  # only where state is stored: importing streamkl stays quick

    payload = msgspec.msgpack.encode(state)
    name = kind.encode("ascii")
    return HEADER.pack(MAGIC, name, version, _crc(name, version, payload)) + payload


def unseal(kind: str, version: int, blob: bytes, shape: type[T]) -> T:
    """Return the state inside `blob`, checked against `shape`; raise StateError where it is not that.

    >>> unseal("example", 1, seal("example", 1, [1, 2]), list[int])
    [1, 2]
    """
    import msgspec

    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise StateError(f"stored state must be bytes, got {type(blob).__name__}; pass what to_bytes() returned")
    raw = bytes(blob)
    if len(raw) < HEADER.size or not raw.startswith(MAGIC):
        raise StateError(f"these {len(raw)} bytes are not state of streamkl; pass what to_bytes() returned")
    _, name, found, crc = HEADER.unpack_from(raw)
    payload = raw[HEADER.size:]
    if crc != _crc(name.rstrip(b"\0"), found, payload):
        raise StateError(f"the stored {kind} is damaged ({len(raw)} bytes, checksum differs); restore a backup or learn it again")
    if name.rstrip(b"\0") != kind.encode("ascii"):
        raise StateError(f"the stored state is a {name.rstrip(bytes(1)).decode('ascii', 'replace')}, not a {kind}; use its own from_bytes")
    if found != version:
        raise StateError(f"the stored {kind} has format version {found}, this release reads {version}; use the one that wrote it, or learn again")
    try:
        return msgspec.msgpack.decode(payload, type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise StateError(f"the stored {kind} does not have the fields it should: {error}; learn it again") from error


def _crc(name: bytes, version: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(name + struct.pack("<H", version)))
