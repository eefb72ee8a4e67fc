"""Saving: a row as it is -> its entries in the store.

Rule: a chunk of values that is stored stays as it is; one that does not belong to the row any more is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamkl.detect.pieces import cut, fingerprint
from streamkl.detect.slots import Slots
from streamkl.service.entries import VERSION, StoredField, StoredRow, encoded, keys_of, row_key, sketch_key, values_key
from streamkl.service.feed import Feed
from streamkl.service.rows import Row, Stored


class Saved(NamedTuple):
    """How many bytes were saved: of sketches, and of raw values of streams that learn, mature or drift."""

    sketch_bytes: int
    value_bytes: int


class Saving(NamedTuple):
    """What is to be written of a row: key -> value, None: delete. stored: for each field the chunks that are stored then."""

    changes: dict[bytes, bytes | None]
    stored: list[Stored | None]
    size: Saved


class Saver:
    """Makes the entries of the rows of one feed."""

    def __init__(self, feed: Feed, slots: Slots) -> None:
        self._feed, self._slots = feed, slots
        self._fingerprints = [fingerprint(field.fresh) for field in feed.fields]

    def saving(self, row: Row) -> Saving:
        """Return what is to be written of a row; none of its streams may wait to learn."""
        feed, stored = self._feed, list[Stored | None]()
        changes: dict[bytes, bytes | None] = {}
        sketch_bytes = value_bytes = 0
        for field in range(len(feed.fields)):
            name = feed.fields[field].name
            pieces = cut(self._slots.detector(row.first + field))
            before = row.stored[field] or frozenset()
            for chunk, values in pieces.chunks.items():
                if chunk not in before:
                    changes[values_key(feed.name, row.key, name, chunk)] = values
                    value_bytes += len(values)
            places = {(chunk.part, chunk.ordinal) for chunk in pieces.chunks}
            for chunk in before:
                if (chunk.part, chunk.ordinal) not in places:
                    changes[values_key(feed.name, row.key, name, chunk)] = None
            changes[sketch_key(feed.name, row.key, name)] = pieces.core
            sketch_bytes += len(pieces.core)
            stored.append(frozenset(pieces.chunks))
        own = changes[row_key(feed.name, row.key)] = self._entry(row, row.next_offset, stored)
        return Saving(changes, stored, Saved(sketch_bytes + len(own), value_bytes))

    def birth(self, row: Row) -> tuple[bytes, bytes]:
        """Return the entry of a row of which nothing is stored but that it is there."""
        return row_key(self._feed.name, row.key), self._entry(row, row.unsaved_from or 0, [None] * len(row.since))

    def keys(self, row: Row) -> list[bytes]:
        """Return the keys of everything that may have been stored of a row."""
        keys = [row_key(self._feed.name, row.key)]
        for field, stored in zip(self._feed.fields, row.stored, strict=True):
            keys += keys_of(self._feed.name, row.key, field.name, stored)
        return keys

    def _entry(self, row: Row, next_offset: int, stored: Sequence[Stored | None]) -> bytes:
        fields = [
            StoredField(field.name, self._fingerprints[i], row.since[i] if stored[i] is not None else next_offset,
                        None if (chunks := stored[i]) is None else sorted(chunks), row.standing.get(i))
            for i, field in enumerate(self._feed.fields)
        ]
        return encoded(row_key(self._feed.name, row.key), StoredRow(VERSION, next_offset, fields, row.commanded))
