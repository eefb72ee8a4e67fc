"""Entries: what the state of a partition looks like in a store: keys and values, both bytes.

A row is what one key's records feed: a stream for each field. Its entries are one of the row itself, one of each stream's sketch, and chunks
of raw values (detect/pieces.py). One more entry tells how far the partition was processed.

Rule 1: a row's entries are written in one unit of work, and agree.
Rule 2: what cannot be understood is a StateError with the remedy; nothing is guessed or reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from streamkl.detect.pieces import Chunk, Pieces
from streamkl.errors import StateError
from streamkl.service.record import Partition

VERSION = 1
T = TypeVar("T", "StoredRow", "Progress")
PROGRESS_KEY = b"progress"
ROW, SKETCH, VALUES = "r", "s", "v"
REMEDY = "restore a backup of the state, or discard it: streamkl run CONFIG --discard-state '*'"


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far a partition was processed: everything that follows from records below `processed` was committed."""

    version: int
    replay_from: int
    processed: int


class StoredField(msgspec.Struct, array_like=True, frozen=True):
    """One stream of a row. since: the offset after its last event. chunks: None while nothing of it was stored (a birth)."""

    field: str
    fingerprint: bytes
    since: int
    chunks: list[tuple[str, int, bytes]] | None


class StoredRow(msgspec.Struct, array_like=True, frozen=True):
    """A row as of next_offset: the first record that is not in it."""

    version: int
    next_offset: int
    fields: list[StoredField]


class RowEntries(NamedTuple):
    """A row with the pieces of its streams' sketches, None for a stream of which nothing was stored."""

    row: StoredRow
    pieces: Mapping[str, Pieces | None]


class PartitionEntries(NamedTuple):
    """All of a partition. rows: (feed, key) -> a row."""

    progress: Progress | None
    rows: Mapping[tuple[str, str], RowEntries]


def row_key(feed: str, key: str) -> bytes:
    """Return the key of a row's own entry."""
    return msgspec.msgpack.encode((ROW, feed, key))


def sketch_key(feed: str, key: str, field: str) -> bytes:
    """Return the key of a stream's sketch."""
    return msgspec.msgpack.encode((SKETCH, feed, key, field))


def values_key(feed: str, key: str, field: str, chunk: Chunk) -> bytes:
    """Return the key of a chunk of a stream's values."""
    return msgspec.msgpack.encode((VALUES, feed, key, field, chunk.part, chunk.ordinal))


def encoded(row: StoredRow | Progress) -> bytes:
    """Return what `understood` reads."""
    return msgspec.msgpack.encode(row)


def understood(partition: Partition, entries: Mapping[bytes, bytes]) -> PartitionEntries:
    """Return the entries of a partition by what they are. Raises StateError for what is damaged, of another version, or incomplete."""
    progress = entries.get(PROGRESS_KEY)
    try:
        rows = {
            (names[1], names[2]): _checked(msgspec.msgpack.decode(value, type=StoredRow))
            for names, value in _named(entries) if names[0] == ROW
        }
        found = None if progress is None else _checked(msgspec.msgpack.decode(progress, type=Progress))
        return PartitionEntries(found, {name: RowEntries(row, _pieces(entries, *name, row)) for name, row in rows.items()})
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, ValueError, RecursionError) as error:
        raise StateError(f"the stored state of {partition} is damaged ({type(error).__name__}: {error}); {REMEDY}") from error


def _named(entries: Mapping[bytes, bytes]) -> Iterable[tuple[tuple[str, ...], bytes]]:
    for key, value in entries.items():
        if key != PROGRESS_KEY:
            yield msgspec.msgpack.decode(key), value


def _checked(stored: T) -> T:
    if stored.version != VERSION:
        raise ValueError(f"format version {stored.version}, this release reads {VERSION}")
    return stored


def _pieces(entries: Mapping[bytes, bytes], feed: str, key: str, row: StoredRow) -> dict[str, Pieces | None]:
    pieces: dict[str, Pieces | None] = {}
    for stored in row.fields:
        if stored.chunks is None:
            pieces[stored.field] = None
            continue
        chunks = [Chunk(*chunk) for chunk in stored.chunks]
        held = {chunk: entries[values_key(feed, key, stored.field, chunk)] for chunk in chunks}
        pieces[stored.field] = Pieces(entries[sketch_key(feed, key, stored.field)], held)
    return pieces
