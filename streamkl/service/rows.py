"""Rows: the keys of one feed in one partition, each a row of streams; which there are, and which of them are not saved yet.

Rule 1: a key's first record bears its row; where there are too many, the row that was idle longest is forgotten: by offset, so always the same.
Rule 2: below the offset that was processed before a restart nothing is born or forgotten: who was there then is known, and records of others,
and those that a row holds already, are skipped.
Rule 3: a stored row is thawed when its first record comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.detector import Detector
from streamkl.detect.event_time import NO_TIME
from streamkl.detect.pieces import Chunk, Pieces, restored
from streamkl.detect.slots import Slots
from streamkl.errors import StateError
from streamkl.service.feed import Feed, Understood
from streamkl.service.orders import Standing

SKIPPED = -1
NOTHING: Final[Mapping[int, Standing]] = MappingProxyType({})
Stored = frozenset[Chunk]


class Row:
    """The streams of one key, in slots in a row. first: -1 while it is frozen, its streams being in `frozen`.

    next_offset: the first record that is not in it; at_ms: event time of the newest one that is, NO_TIME: it has none, or is not known.
    unsaved_from: the first record that is not in what was saved of it; None: all is. read_until: the offset of its last reading.
    since: for each field the offset after the last event, or where it began. stored: for each field the chunks that were saved; None: nothing was.
    standing: field -> what stands of it (`orders.py`). commanded: digest of the newest command that is in it.
    """

    __slots__ = ("at_ms", "commanded", "first", "frozen", "key", "next_offset", "read_until", "since", "standing", "stored", "unsaved_from")

    def __init__(self, key: str, next_offset: int, since: list[int], stored: list[Stored | None]) -> None:
        self.key, self.next_offset, self.since, self.stored = key, next_offset, since, stored
        self.first, self.read_until, self.at_ms = SKIPPED, next_offset, NO_TIME
        self.frozen: Sequence[Pieces | None] = ()
        self.unsaved_from: int | None = None
        self.standing: Mapping[int, Standing] = NOTHING
        self.commanded = b""

    def is_silenced(self, field: int) -> bool:
        """Return whether somebody asked not to be told of a stream now."""
        return bool(self.standing) and field in self.standing and self.standing[field].silenced_until is not None


class Rows:
    """The rows of one feed in one partition. processed: see rule 2."""

    def __init__(self, feed: Feed, slots: Slots, processed: int) -> None:
        self.feed = feed
        self._slots = slots
        self._processed = processed
        self._rows: OrderedDict[str, Row] = OrderedDict()       # idle longest first
        self._unsaved: OrderedDict[str, Row] = OrderedDict()    # by unsaved_from
        self._row_of_slot: dict[int, Row] = {}
        self.beginnings: dict[int, int] = {}                    # slot -> the first record of a stream that began behind its row
        self._most = max(1, feed.rows_max)
        self.born: dict[str, Row] = {}                          # since the last unit of work
        self.standing: dict[str, Row] = {}                      # those of which something stands
        self.begun = b""                                        # digest of a command that is being carried out; it is not for those born meanwhile
        self.forgotten: list[tuple[Row, int]] = []              # until their slots are freed; with the offset for which there was no room

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def restore(self, row: Row, pieces: Mapping[str, Pieces | None]) -> None:
        """Take over a stored row; it is thawed later."""
        row.frozen = [pieces.get(field.name) for field in self.feed.fields]
        self._rows[row.key] = row
        if row.standing:
            self.standing[row.key] = row

    def settle(self) -> None:
        """All records of before the restart have been replayed: from now on the order of the rows tells who was idle longest."""
        self._rows = OrderedDict(sorted(self._rows.items(), key=lambda item: item[1].next_offset))

    def place(self, offsets: Sequence[int], keys: Sequence[str], times_ms: Sequence[int]) -> NDArray[np.int64]:
        """Return for each record the first slot of its row, SKIPPED for one that the row holds already."""
        firsts = self._place_known(offsets, keys, times_ms)
        return np.array(self._place_each(offsets, keys, times_ms) if firsts is None else firsts, np.int64)

    def _place_known(self, offsets: Sequence[int], keys: Sequence[str], times_ms: Sequence[int]) -> list[int] | None:
        """Do it key by key, where every row is there and thawed (it then has none of the records); else do nothing and return None."""
        count = len(keys)
        last = dict(zip(keys, range(count), strict=True))                               # in the order of their first records
        first = dict(zip(reversed(keys), reversed(range(count)), strict=True))          # in the order of their last ones, turned round
        known = {key: row for key in last if (row := self._rows.get(key)) and row.first != SKIPPED}
        if len(known) < len(last):
            return None
        for key, row in known.items():
            row.next_offset, row.at_ms = offsets[last[key]] + 1, times_ms[last[key]]
            if row.unsaved_from is None:
                row.unsaved_from = offsets[first[key]]
                self._unsaved[key] = row
        for key in reversed(first):
            self._rows.move_to_end(key)
        return [known[key].first for key in keys]

    def _place_each(self, offsets: Sequence[int], keys: Sequence[str], times_ms: Sequence[int]) -> list[int]:
        rows, unsaved, move = self._rows, self._unsaved, self._rows.move_to_end
        places = []
        for offset, key, at_ms in zip(offsets, keys, times_ms, strict=True):
            row = rows.get(key)
            if row is None:
                if offset < self._processed:
                    places.append(SKIPPED)
                    continue
                row = self._bear(key, offset)
            elif offset < row.next_offset:
                places.append(SKIPPED)
                continue
            elif row.first == SKIPPED:
                self._thaw(row)
            row.next_offset, row.at_ms = offset + 1, at_ms
            if row.unsaved_from is None:
                row.unsaved_from = offset
                unsaved[key] = row
            move(key)
            places.append(row.first)
        return places

    @property
    def keys(self) -> list[str]:
        """Return all keys, the one that was idle longest first."""
        return list(self._rows)

    def get(self, key: str) -> Row | None:
        """Return the row of a key, if there is one."""
        return self._rows.get(key)

    def thaw(self, row: Row) -> None:
        """Let a row's streams be there, though no record of it came."""
        if row.first == SKIPPED:
            self._thaw(row)

    def stand(self, row: Row, field: int, standing: Standing) -> None:
        """From now on this stands of a stream."""
        rest = {i: other for i, other in row.standing.items() if i != field}
        row.standing = {**rest, field: standing} if standing.due_at is not None else rest
        if row.standing:
            self.standing[row.key] = row
        else:
            self.standing.pop(row.key, None)

    def next_due(self, found: Understood, start: int) -> int:
        """Return the index of the first record from `start` on with which something is due that stands of its row; the number of records: none."""
        if self.standing:
            for i in range(start, len(found.keys)):
                row = self.standing.get(found.keys[i])
                if row and found.offsets[i] >= row.next_offset and any(standing.is_due(int(found.times_ms[i])) for standing in row.standing.values()):
                    return i
        return len(found.keys)

    def remove(self, row: Row) -> None:
        """Forget a row; whatever it was due to tell has been told."""
        self._let_go(row)
        if row.first != SKIPPED:
            self._free(row)

    def owns(self, slot: int) -> bool:
        """Return whether a slot is one of these rows'."""
        return slot in self._row_of_slot

    def owner(self, slot: int) -> tuple[Row, int]:
        """Return the row of a slot, and which of its fields it is."""
        row = self._row_of_slot[slot]
        return row, slot - row.first

    @property
    def oldest_unsaved(self) -> Row | None:
        """The row whose unsaved records begin first."""
        return next(iter(self._unsaved.values()), None)

    @property
    def unsaved(self) -> int:
        """How many rows are not saved as they are now."""
        return len(self._unsaved)

    def saved(self, row: Row, stored: list[Stored | None]) -> None:
        """Note that all of a row was saved."""
        row.stored, row.unsaved_from = stored, None
        self._unsaved.pop(row.key, None)
        self.born.pop(row.key, None)

    def free_forgotten(self) -> None:
        """Give the slots of forgotten rows to others: whatever they were to take has been taken."""
        for row, _ in self.forgotten:
            if row.first != SKIPPED:
                self._free(row)
        self.forgotten = []

    def drop(self) -> None:
        """The partition is another's: free all slots."""
        for row in (*self._rows.values(), *(row for row, _ in self.forgotten)):
            if row.first != SKIPPED:
                self._free(row)

    def _bear(self, key: str, offset: int) -> Row:
        while len(self._rows) >= self._most:
            idle = next(iter(self._rows.values()))
            self._let_go(idle)
            self.forgotten.append((idle, offset))
        count = len(self.feed.fields)
        row = self._rows[key] = self.born[key] = Row(key, offset, [offset] * count, [None] * count)
        row.commanded = self.begun
        self._settle_in(row, [None] * count)
        return row

    def _let_go(self, row: Row) -> None:
        for rows in (self._rows, self._unsaved, self.born, self.standing):
            rows.pop(row.key, None)

    def _thaw(self, row: Row) -> None:
        self._settle_in(row, row.frozen)
        row.frozen = ()

    def _settle_in(self, row: Row, frozen: Sequence[Pieces | None]) -> None:
        detectors = []
        for field, pieces in zip(self.feed.fields, frozen, strict=True):
            fresh = field.fresh.clone(self.feed.stream(row.key, field.name))
            detectors.append(_thawed(fresh, pieces) if pieces else fresh)
        row.first = self._slots.add(detectors)
        self._row_of_slot.update((slot, row) for slot in range(row.first, row.first + len(detectors)))
        self.beginnings.update((slot, since) for slot, since in enumerate(row.since, start=row.first) if since > row.next_offset)

    def _free(self, row: Row) -> None:
        count = len(self.feed.fields)
        for slot in range(row.first, row.first + count):
            del self._row_of_slot[slot]
            self.beginnings.pop(slot, None)
        self._slots.discard(row.first, count)
        row.first = SKIPPED


def _thawed(fresh: Detector, pieces: Pieces) -> Detector:
    try:
        return restored(fresh, pieces)
    except StateError as error:
        raise StateError(
            f"the stored state of {fresh.name} cannot be used: {error}; or let this stream learn anew: "
            f"streamkl run CONFIG --discard-state '{fresh.name}'"
        ) from error
