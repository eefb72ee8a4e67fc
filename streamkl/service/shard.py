"""Shard: all that is held of one partition: its rows, how far it was read, and what the open unit of work has of it.

Rule 1: nothing here depends on how records were cut into batches, nor on when work was committed.
Rule 2: what follows from records below `processed` was committed before: replaying them brings state back, and tells nothing again.
Rule 3: sketches are saved in turn, the one whose unsaved records begin first before the others; a restart replays from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.event import DriftEvent, identity
from streamkl.detect.pieces import cut, fingerprint
from streamkl.detect.slots import Hit, Slots
from streamkl.service.entries import (
    PROGRESS_KEY,
    SETTINGS_KEY,
    VERSION,
    Progress,
    StoredField,
    StoredRow,
    checksum_of,
    encoded,
    keys_of,
    row_key,
    sketch_key,
    values_key,
)
from streamkl.service.era import entry_of
from streamkl.service.feed import Feed, understood
from streamkl.service.record import Partition, Record
from streamkl.service.rows import SKIPPED, Row, Rows, Stored
from streamkl.service.work import DeadLetter

Places = NDArray[np.int64]


class Told(NamedTuple):
    """An event and where it stands in the order of a partition."""

    offset: int
    feed: int
    field: int
    event: DriftEvent


class Refused(NamedTuple):
    """A record that could not be used by a feed."""

    offset: int
    letter: DeadLetter


class Evicted(NamedTuple):
    """A row for which there was no room any more, with its streams."""

    streams: tuple[str, ...]
    idle_offsets: int


class Saved(NamedTuple):
    """How many bytes were saved: of sketches, and of raw values of streams that learn, mature or drift."""

    sketch_bytes: int
    value_bytes: int


class Shard:
    """One partition. application: stands in the events' ids. processed: see rule 2; next_offset: of the next record to come.

    settings: the stored entry of them, None where there is none. is_former: those of the feeds are former ones: it takes what is to be replayed,
    and no more.
    """

    def __init__(
        self, application: str, partition: Partition, feeds: Sequence[Feed], slots: Slots, processed: int = 0, settings: bytes | None = None,
        is_former: bool = False,
    ) -> None:
        self.partition, self.processed, self.next_offset = partition, processed, processed
        self._application, self._slots = application, slots
        self.rows = [Rows(feed, slots, processed) for feed in feeds]
        self._fingerprints = [[fingerprint(field.fresh) for field in feed.fields] for feed in feeds]
        self.told: list[Told] = []
        self.refused: list[Refused] = []
        self.changes: dict[bytes, bytes | None] = {}
        self.evicted: list[Evicted] = []            # the caller empties it
        self._is_replaying = self._is_cut = False
        self._is_former, self._settings, self._stored_settings = is_former, entry_of(feeds), settings

    @property
    def streams(self) -> int:
        """How many streams are held."""
        return sum(len(rows) * len(rows.feed.fields) for rows in self.rows)

    def begin(self, replay_from: int) -> None:
        """Records come from this offset on; what was stored has been restored."""
        self.next_offset = replay_from
        self._is_replaying = replay_from < self.processed
        if not self._is_replaying:
            self._settle()

    @property
    def is_repeated(self) -> bool:
        """Whether all was replayed under former settings: to be saved and committed, and then restored, under the new ones."""
        return self._is_former and (self._is_cut or self.next_offset >= self.processed)

    def due(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return those of the records that are to be taken: under former settings none from `processed` on; these come again, under the new ones."""
        if not self._is_former:
            return records
        own = sum(record.offset < self.processed for record in records)
        self._is_cut = self._is_cut or own < len(records)
        return records[:own]

    def take(self, records: Sequence[Record], count_fault: Callable[[str, str, int], None]) -> None:
        """Take the next records. count_fault: told (feed, reason, how many) of values that were no value."""
        while records:
            stop = len(records)
            if self._is_replaying:
                stop = sum(record.offset < self.processed for record in records)
                if stop == 0:
                    self._is_replaying, stop = False, len(records)
                    self._settle()
            for place, rows in enumerate(self.rows):
                self._feed(place, rows, records[:stop], count_fault)
            self.next_offset = records[stop - 1].offset + 1
            records = records[stop:]

    def first_refused(self, records: Sequence[Record]) -> int | None:
        """Return the index of the first record that some feed cannot use, and that was not dealt with before; nothing is taken."""
        refused = (index for rows in self.rows for index, _ in understood(rows.feed, records).refused)
        return min((index for index in refused if records[index].offset >= self.processed), default=None)

    def tell(self, hits: Iterable[Hit]) -> None:
        """Take down what observations of this partition caused."""
        for slot, event in hits:
            place, rows = next((i, rows) for i, rows in enumerate(self.rows) if rows.owns(slot))
            row, field = rows.owner(slot)
            offset = event.position or 0
            since, row.since[field] = row.since[field], offset + 1
            if offset >= self.processed:
                self.told.append(Told(offset, place, field, self._published(event, rows.feed, field, since, offset)))

    def owns(self, slot: int) -> bool:
        """Return whether a slot is of a stream of this partition."""
        return any(rows.owns(slot) for rows in self.rows)

    @property
    def unsaved(self) -> int:
        """How many rows are not saved as they are now."""
        return sum(rows.unsaved for rows in self.rows)

    def save_oldest(self) -> Saved | None:
        """Save the row whose unsaved records begin first; None where all are saved, or it waits to learn."""
        oldest = min(
            ((row.unsaved_from, place, row) for place, rows in enumerate(self.rows) if (row := rows.oldest_unsaved)),
            key=lambda found: found[:2], default=None,
        )
        if oldest is None:
            return None
        _, place, row = oldest
        return None if self._slots.is_held(row.first, len(self.rows[place].feed.fields)) else self._save(place, row)

    @property
    def replay_from(self) -> int:
        """The least offset that some row which is not saved needs."""
        next_offset = self.processed if self.is_repeated else self.next_offset      # the last records below it may be gone
        return min([next_offset, *(row.unsaved_from for rows in self.rows if (row := rows.oldest_unsaved) and row.unsaved_from is not None)])

    def finish_changes(self) -> Mapping[bytes, bytes | None]:
        """Return what is to be stored of this unit of work: what was saved, who was born or forgotten, and how far it came."""
        births: dict[bytes, bytes | None] = {}
        for place, rows in enumerate(self.rows):
            for row in rows.born.values():
                births[row_key(rows.feed.name, row.key)] = self._encoded(place, row, row.unsaved_from or 0, [None] * len(row.since))
        processed = max(self.processed, self.next_offset)
        progress = encoded(PROGRESS_KEY, Progress(VERSION, self.replay_from, processed, self._application, checksum_of(self._settings)))
        settings = {SETTINGS_KEY: self._settings} if self._settings != self._stored_settings else {}
        return {**self.changes, **births, **settings, PROGRESS_KEY: progress}

    def committed(self) -> None:
        """The unit of work stands: begin the next one."""
        self.told, self.refused, self.changes, self._stored_settings = [], [], {}, self._settings
        for rows in self.rows:
            rows.born = {}
        if not self._is_replaying:
            self.processed = max(self.processed, self.next_offset)

    def drop(self) -> None:
        """Forget all: the partition is another's, or is to be restored."""
        for rows in self.rows:
            rows.drop()

    def _settle(self) -> None:
        for rows in self.rows:
            rows.settle()

    def _feed(self, place: int, rows: Rows, records: Sequence[Record], count_fault: Callable[[str, str, int], None]) -> None:
        feed, found = rows.feed, understood(rows.feed, records)
        for index, reason in found.refused:
            if records[index].offset >= self.processed:
                self.refused.append(Refused(records[index].offset, DeadLetter(records[index], reason)))
        if not self._is_replaying:
            for reason, number in found.faults.items():
                count_fault(feed.name, reason, number)
        firsts = rows.place(found.offsets, found.keys, found.times_ms.tolist())
        taken = np.flatnonzero(firsts != SKIPPED)
        offsets = np.asarray(found.offsets, np.int64)[taken]
        firsts, times = firsts[taken], found.times_ms[taken]
        numeric = np.array([i for i, field in enumerate(feed.fields) if field.is_numeric], np.int64)
        if len(numeric):
            slots = (firsts[:, None] + numeric).ravel()
            values = np.ascontiguousarray(found.numbers[taken]).ravel()
            per = len(numeric)
            self._observe(rows, slots, values, np.repeat(times, per), np.repeat(offsets, per))
        categorical = [i for i, field in enumerate(feed.fields) if not field.is_numeric]
        for i, texts in zip(categorical, found.texts, strict=True):
            values_of_field = [texts[j] for j in taken.tolist()]
            self._observe(rows, firsts + i, values_of_field, times, offsets)
        self._forget(place, rows)

    def _observe(self, rows: Rows, slots: Places, values: NDArray[np.float64] | list[object], times: Places, offsets: Places) -> None:
        """Let streams take values, but for those of a replay that lie before a stream's beginning."""
        if self._is_replaying and rows.beginnings:
            own = np.flatnonzero(offsets >= np.array([rows.beginnings.get(slot, 0) for slot in slots.tolist()], np.int64))
            slots, times, offsets = slots[own], times[own], offsets[own]
            values = [values[i] for i in own.tolist()] if isinstance(values, list) else values[own]
        self.tell(self._slots.take(slots, values, times, offsets, is_postponing=True))

    def _forget(self, place: int, rows: Rows) -> None:
        """Let go of the rows for which there was no room: what they were due to tell they tell first."""
        for row, offset in rows.forgotten:
            if row.first != SKIPPED:
                for slot in range(row.first, row.first + len(rows.feed.fields)):
                    self.tell(self._slots.learn_of(slot))
            self.changes.update(dict.fromkeys(self._keys_of(place, row)))
            self.evicted.append(Evicted(tuple(rows.feed.stream(row.key, field.name) for field in rows.feed.fields), offset - row.next_offset))
        rows.free_forgotten()

    def _published(self, event: DriftEvent, feed: Feed, field: int, since: int, offset: int) -> DriftEvent:
        topic, number = self.partition
        source = {"topic": topic, "partition": number, "first_offset": since, "last_offset": offset}
        name = identity(event.stream, offset, event.kind, self._application, topic, number, feed.fields[field].name)
        return replace(event, id=name, source=source, group=feed.name)

    def _save(self, place: int, row: Row) -> Saved:
        rows = self.rows[place]
        feed, stored = rows.feed, list[Stored | None]()
        sketch_bytes = value_bytes = 0
        for field in range(len(feed.fields)):
            name = feed.fields[field].name
            pieces = cut(self._slots.detector(row.first + field))
            before = row.stored[field] or frozenset()
            for chunk, values in pieces.chunks.items():
                if chunk not in before:
                    self.changes[values_key(feed.name, row.key, name, chunk)] = values
                    value_bytes += len(values)
            places = {(chunk.part, chunk.ordinal) for chunk in pieces.chunks}
            for chunk in before:
                if (chunk.part, chunk.ordinal) not in places:
                    self.changes[values_key(feed.name, row.key, name, chunk)] = None
            self.changes[sketch_key(feed.name, row.key, name)] = pieces.core
            sketch_bytes += len(pieces.core)
            stored.append(frozenset(pieces.chunks))
        entry = self._encoded(place, row, row.next_offset, stored)
        self.changes[row_key(feed.name, row.key)] = entry
        rows.saved(row, stored)
        return Saved(sketch_bytes + len(entry), value_bytes)

    def _encoded(self, place: int, row: Row, next_offset: int, stored: Sequence[Stored | None]) -> bytes:
        fields = [
            StoredField(field.name, self._fingerprints[place][i], row.since[i] if stored[i] is not None else next_offset,
                        None if (chunks := stored[i]) is None else sorted(chunks))
            for i, field in enumerate(self.rows[place].feed.fields)
        ]
        return encoded(row_key(self.rows[place].feed.name, row.key), StoredRow(VERSION, next_offset, fields))

    def _keys_of(self, place: int, row: Row) -> list[bytes]:
        """Return the keys of everything that may have been stored of a row."""
        feed = self.rows[place].feed
        keys = [row_key(feed.name, row.key)]
        for field, stored in zip(feed.fields, row.stored, strict=True):
            keys += keys_of(feed.name, row.key, field.name, stored)
        return keys
