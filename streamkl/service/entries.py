"""Entries: what the state of a partition looks like in a store: keys and values, both bytes.

A row is what one key's records feed: a stream for each field. Its entries are one of the row itself, one of each stream's sketch, and chunks
of raw values (detect/pieces.py). Two more entries tell how far the partition was processed, and under which settings.

Rule 1: a row's entries are written in one unit of work, and agree.
Rule 2: what cannot be understood is a StateError with the remedy; nothing is guessed or reset.
Rule 3: an entry of a row, of the progress and of the settings ends with a CRC-32 of its key and itself; sketches and chunks have checksums
of their own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from streamkl.detect.pieces import Chunk, Pieces, Value
from streamkl.errors import StateError
from streamkl.service.orders import Standing, StoredOrders
from streamkl.service.record import Partition

VERSION = 1
T = TypeVar("T", "StoredRow", "Progress", "StoredSettings", StoredOrders)
PROGRESS_KEY, SETTINGS_KEY, ORDERS_KEY = b"progress", b"settings", b"orders"
ROW, SKETCH, VALUES = "r", "s", "v"
SHAPES = {ROW: (str, str, str), SKETCH: (str,) * 4, VALUES: (str, str, str, str, str, int)}      # of keys, by their first part
CRC = struct.Struct("<I")
REMEDY = "restore a backup of the state, or discard it: streamkl run CONFIG --discard-state '*'"


class Versioned(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of every entry, whatever its version."""

    version: int


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far a partition was processed, and by which application: everything that follows from records below `processed` was committed.

    settings: the checksum of the settings that belong to it; b"": none are stored, as an older release knew none. has_orders: whether it is stored
    which commands were carried out.
    """

    version: int
    replay_from: int
    processed: int
    application: str = ""
    settings: bytes = b""
    has_orders: bool = False


class FieldSettings(msgspec.Struct, array_like=True, frozen=True):
    """The settings of a field that may change under its state (`pieces.KEPT`): name -> value."""

    feed: str
    field: str
    values: dict[str, Value]


class StoredSettings(msgspec.Struct, array_like=True, frozen=True):
    """The settings in force up to `processed`: all records of a replay, from `replay_from` to there, were taken under them."""

    version: int
    fields: list[FieldSettings]


class StoredField(msgspec.Struct, array_like=True, frozen=True):
    """One stream of a row. chunks: None while nothing of it was stored (a birth).

    since: the offset after its last event, or at which it began; records of its row below that are not its own. standing: see `orders.py`.
    """

    field: str
    fingerprint: bytes
    since: int
    chunks: list[tuple[str, int, bytes]] | None
    standing: Standing | None = None


class StoredRow(msgspec.Struct, array_like=True, frozen=True):
    """A row as of next_offset: the first record that is not in it. commanded: digest of the newest command that is in it, b"": none is."""

    version: int
    next_offset: int
    fields: list[StoredField]
    commanded: bytes = b""


class RowEntries(NamedTuple):
    """A row with the pieces of its streams' sketches, None for a stream of which nothing was stored."""

    row: StoredRow
    pieces: Mapping[str, Pieces | None]


class PartitionEntries(NamedTuple):
    """All of a partition. rows: (feed, key) -> a row. settings, orders: None where none are stored."""

    progress: Progress | None
    rows: Mapping[tuple[str, str], RowEntries]
    settings: StoredSettings | None = None
    orders: StoredOrders | None = None


def row_key(feed: str, key: str) -> bytes:
    """Return the key of a row's own entry."""
    return msgspec.msgpack.encode((ROW, feed, key))


def sketch_key(feed: str, key: str, field: str) -> bytes:
    """Return the key of a stream's sketch."""
    return msgspec.msgpack.encode((SKETCH, feed, key, field))


def values_key(feed: str, key: str, field: str, chunk: Chunk) -> bytes:
    """Return the key of a chunk of a stream's values."""
    return msgspec.msgpack.encode((VALUES, feed, key, field, chunk.part, chunk.ordinal))


def keys_of(feed: str, key: str, field: str, chunks: Iterable[Chunk] | None) -> list[bytes]:
    """Return the keys of all that is stored of a stream. chunks: None where nothing is."""
    return [] if chunks is None else [sketch_key(feed, key, field), *(values_key(feed, key, field, chunk) for chunk in chunks)]


def encoded(key: bytes, entry: StoredRow | Progress | StoredSettings | StoredOrders) -> bytes:
    """Return the value of an entry, as `understood` reads it under this key."""
    text = msgspec.msgpack.encode(entry)
    return text + CRC.pack(zlib.crc32(text, zlib.crc32(key)))


def checksum_of(entry: bytes) -> bytes:
    """Return the checksum that an entry ends with."""
    return entry[-CRC.size:]


def understood(partition: Partition, entries: Mapping[bytes, bytes]) -> PartitionEntries:
    """Return the entries of a partition by what they are. Raises StateError for what is damaged, of another version, or incomplete."""
    try:
        named = list(_named(entries))
        rows = {(names[1], names[2]): _decoded(StoredRow, key, entries[key]) for names, key in named if names[0] == ROW}
        progress = _decoded(Progress, PROGRESS_KEY, entries[PROGRESS_KEY]) if entries else None
        settings = _settings(progress, entries)
        orders = _decoded(StoredOrders, ORDERS_KEY, entries[ORDERS_KEY]) if progress and progress.has_orders else None
        found = {name: RowEntries(row, _pieces(entries, *name, row)) for name, row in rows.items()}
        sketches = sum(names[0] == SKETCH for names, _ in named)
        if sketches != sum(pieces is not None for row in found.values() for pieces in row.pieces.values()):
            raise ValueError("a sketch belongs to no row")
        return PartitionEntries(progress, found, settings, orders)
    except KeyError as error:
        raise StateError(f"the stored state of {partition} is incomplete (no entry {error}); {REMEDY}") from error
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise StateError(f"the stored state of {partition} is damaged ({error}); {REMEDY}") from error


def _named(entries: Mapping[bytes, bytes]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Yield the parts of each key of a row, and the key."""
    for key in entries:
        if key not in (PROGRESS_KEY, SETTINGS_KEY, ORDERS_KEY):
            names = msgspec.msgpack.decode(key)
            if not isinstance(names, list) or not names or tuple(map(type, names)) != SHAPES.get(str(names[0])):
                raise ValueError("an entry is none of a row, a sketch or values")
            yield tuple(names), key


def _settings(progress: Progress | None, entries: Mapping[bytes, bytes]) -> StoredSettings | None:
    """Return the settings that belong to the progress."""
    if progress is None or (not progress.settings and SETTINGS_KEY not in entries):
        return None
    if progress.settings != checksum_of(entries[SETTINGS_KEY]):
        raise ValueError("the settings are not those that belong to the progress")
    return _decoded(StoredSettings, SETTINGS_KEY, entries[SETTINGS_KEY])


def _decoded(shape: type[T], key: bytes, value: bytes) -> T:
    text = value[:-CRC.size]
    if value[len(text):] != CRC.pack(zlib.crc32(text, zlib.crc32(key))):
        raise ValueError("the checksum of an entry differs")
    version = msgspec.msgpack.decode(text, type=Versioned).version
    if version != VERSION:
        raise ValueError(f"format version {version}, this release reads {VERSION}")
    return msgspec.msgpack.decode(text, type=shape)


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
