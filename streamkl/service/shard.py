"""Shard: all that is held of one partition: its rows, how far it was read, and what the open unit of work has of it.

Rule 1: nothing here depends on how records were cut into batches, nor on when work was committed.
Rule 2: what follows from records below `processed` was committed before: replaying them brings state back, and tells nothing again.
Rule 3: sketches are saved in turn, the one whose unsaved records begin first before the others; a restart replays from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.slots import Slots
from streamkl.service.command import Command
from streamkl.service.entries import ORDERS_KEY, PROGRESS_KEY, SETTINGS_KEY, VERSION, Progress, checksum_of, encoded
from streamkl.service.era import entry_of
from streamkl.service.feed import Feed, Understood, understood
from streamkl.service.orders import Orders, Outcome, Standing, Undertaking
from streamkl.service.record import Partition, Record
from streamkl.service.rows import SKIPPED, Row, Rows
from streamkl.service.saving import Saved, Saver
from streamkl.service.telling import Telling
from streamkl.service.work import DeadLetter

Places = NDArray[np.int64]
TIME_IS_UP = "its time was up"


class Refused(NamedTuple):
    """A record that could not be used by a feed."""

    offset: int
    letter: DeadLetter


class Evicted(NamedTuple):
    """A row for which there was no room any more, with its streams."""

    streams: tuple[str, ...]
    idle_offsets: int


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
        self._application, self.slots = application, slots
        self.rows = [Rows(feed, slots, processed) for feed in feeds]
        self._savers = [Saver(feed, slots) for feed in feeds]
        self.telling = Telling(application, partition, self.rows, processed)
        self.orders = Orders(None, True)            # whoever restores gives it those that are stored
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
        if self._is_replaying and self.next_offset >= self.processed:
            self._is_replaying = False
            self._settle()

    def first_refused(self, records: Sequence[Record]) -> int | None:
        """Return the index of the first record that some feed cannot use, and that was not dealt with before; nothing is taken."""
        refused = (index for rows in self.rows for index, _ in understood(rows.feed, records).refused)
        return min((index for index in refused if records[index].offset >= self.processed), default=None)

    @property
    def is_current(self) -> bool:
        """Whether nothing is to be replayed any more, so that commands may be carried out."""
        return not (self._is_replaying or self._is_former)

    def undertake(self, offset: int, command: Command) -> None:
        """Begin to carry out a command."""
        self.orders.begin(Undertaking(offset, command, ((place, key) for place, rows in enumerate(self.rows) for key in rows.keys)))
        self._note_begun()

    def finish(self, undertaking: Undertaking) -> Outcome:
        """A command is carried out."""
        self.orders.done(undertaking.offset, undertaking.command)
        self._note_begun()
        return Outcome(undertaking.offset, undertaking.command, undertaking.matched, undertaking.touched)

    def resume(self, orders: Orders) -> None:
        """Go on with what was commanded before a restart."""
        self.orders = orders
        self._note_begun()

    def _note_begun(self) -> None:
        for rows in self.rows:
            rows.begun = self.orders.begun

    def bring_up(self, place: int, row: Row) -> None:
        """Let a row's streams be as they are behind all records before: thawed, and none waits to learn."""
        rows = self.rows[place]
        rows.thaw(row)
        for slot in range(row.first, row.first + len(rows.feed.fields)):
            self.telling.tell(self.slots.learn_of(slot))

    def begin_anew(self, place: int, row: Row, field: int) -> None:
        """Let a stream know nothing."""
        feed = self.rows[place].feed
        watched = feed.fields[field]
        self.slots.replace(row.first + field, watched.fresh.clone(feed.stream(row.key, watched.name)))
        self.rows[place].stand(row, field, Standing())

    def forget(self, place: int, row: Row) -> None:
        """Let go of a row that was brought up, and of all that is stored of it."""
        self.changes.update(dict.fromkeys(self._savers[place].keys(row)))
        self.rows[place].remove(row)

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
        return None if self.slots.is_held(row.first, len(self.rows[place].feed.fields)) else self.save(place, row)

    def save(self, place: int, row: Row) -> Saved:
        """Save a row, none of whose streams waits to learn."""
        saving = self._savers[place].saving(row)
        self.changes.update(saving.changes)
        self.rows[place].saved(row, saving.stored)
        return saving.size

    @property
    def replay_from(self) -> int:
        """The least offset that some row which is not saved needs."""
        next_offset = self.processed if self.is_repeated else self.next_offset      # the last records below it may be gone
        return min([next_offset, *(row.unsaved_from for rows in self.rows if (row := rows.oldest_unsaved) and row.unsaved_from is not None)])

    def finish_changes(self) -> Mapping[bytes, bytes | None]:
        """Return what is to be stored of this unit of work: what was saved, who was born or forgotten, and how far it came."""
        births = dict(saver.birth(row) for saver, rows in zip(self._savers, self.rows, strict=True) for row in rows.born.values())
        processed = max(self.processed, self.next_offset)
        stored = self.orders.stored(VERSION)
        settings = {SETTINGS_KEY: self._settings} if self._settings != self._stored_settings else {}
        orders = {ORDERS_KEY: encoded(ORDERS_KEY, stored)} if stored and self.orders.is_changed else {}
        progress = encoded(PROGRESS_KEY, Progress(
            VERSION, self.replay_from, processed, self._application, checksum_of(self._settings), stored is not None))
        return {**self.changes, **births, **settings, **orders, PROGRESS_KEY: progress}

    def committed(self) -> None:
        """The unit of work stands: begin the next one."""
        self.telling.told, self.refused, self.changes, self._stored_settings = [], [], {}, self._settings
        self.orders.committed()
        for rows in self.rows:
            rows.born = {}
        if not self._is_replaying:
            self.processed = self.telling.processed = max(self.processed, self.next_offset)

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
        start = 0
        while start < len(found.keys):
            stop = rows.next_due(found, start)
            self._place(place, rows, found if stop - start == len(found.keys) else found.part(start, stop))
            if stop < len(found.keys):
                self._fall_due(place, rows, found.keys[stop], found.offsets[stop], int(found.times_ms[stop]))
            start = stop

    def _place(self, place: int, rows: Rows, found: Understood) -> None:
        """Let the rows take records that they understand."""
        feed = rows.feed
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
        self.telling.tell(self.slots.take(slots, values, times, offsets, is_postponing=True))

    def _fall_due(self, place: int, rows: Rows, key: str, offset: int, at: int) -> None:
        """Do what it is time for in a row, before its record at this offset is taken."""
        row = rows.standing.get(key)
        if row is None:                     # it went to make room for another one
            return
        self.bring_up(place, row)
        for field, standing in sorted(row.standing.items()):
            life, event, slot = self.slots.detector(row.first + field).life, None, row.first + field
            if standing.silenced_until is not None and at >= standing.silenced_until:
                standing = standing.of(silenced_until=None)
                still = f"; episode {life.episode_number} is open" if life.episode else ""
                event = life.remark("stream.unsilenced", f"{TIME_IS_UP}{still}", "")
                self.telling.note(place, row, field, replace(event, at=at), offset)
            if standing.accept_at is not None and at >= standing.accept_at:
                is_open = life.episode is not None and life.episode_number == standing.episode
                event = self.slots.rebaseline(slot, standing.reason, standing.by) if is_open else None
                standing = standing.of(accept_at=None)
                if event is not None:
                    self.telling.note(place, row, field, replace(event, at=at), offset)
            rows.stand(row, field, standing)

    def _forget(self, place: int, rows: Rows) -> None:
        """Let go of the rows for which there was no room: what they were due to tell they tell first."""
        for row, offset in rows.forgotten:
            if row.first != SKIPPED:
                for slot in range(row.first, row.first + len(rows.feed.fields)):
                    self.telling.tell(self.slots.learn_of(slot))
            self.changes.update(dict.fromkeys(self._savers[place].keys(row)))
            self.evicted.append(Evicted(tuple(rows.feed.stream(row.key, field.name) for field in rows.feed.fields), offset - row.next_offset))
        rows.free_forgotten()

