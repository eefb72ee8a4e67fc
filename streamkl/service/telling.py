"""Telling: the events of one partition that are not committed yet: each with its id, its source, and its place in their order.

Rule 1: the order is that of the records, and before a record first what was commanded there, then what it was time for.
Rule 2: an id follows from the place, and from the command where there is one: the same after any replay.
Rule 3: what follows from records below `processed` was told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from streamkl.detect.event import DriftEvent, identity
from streamkl.detect.slots import Hit
from streamkl.service.command import Command
from streamkl.service.feed import Feed
from streamkl.service.record import Partition
from streamkl.service.rows import Row, Rows

BY_TIME: Final = 2**62          # behind all commands
BY_RECORD: Final = BY_TIME + 1


class Told(NamedTuple):
    """An event and where it stands in the order of a partition. turn: the offset of the command that caused it, BY_TIME or BY_RECORD."""

    offset: int
    turn: int
    feed: int
    field: int
    event: DriftEvent


class Telling:
    """application: stands in the ids. processed: see rule 3; whoever commits moves it on."""

    def __init__(self, application: str, partition: Partition, rows: Sequence[Rows], processed: int) -> None:
        self.processed = processed
        self.told: list[Told] = []
        self._application, self._partition, self._rows = application, partition, rows

    def in_order(self) -> list[DriftEvent]:
        """Return the events, in order."""
        return [told.event for told in sorted(self.told, key=lambda told: told[:4])]

    def tell(self, hits: Iterable[Hit]) -> None:
        """Take down what observations of this partition caused."""
        for slot, event in hits:
            place, rows = next((i, rows) for i, rows in enumerate(self._rows) if rows.owns(slot))
            row, field = rows.owner(slot)
            offset = event.position or 0
            since, row.since[field] = row.since[field], offset + 1
            if offset >= self.processed:
                is_silenced = event.kind.startswith("drift.") and row.is_silenced(field)
                event = replace(event, silenced=is_silenced)
                self.told.append(Told(offset, BY_RECORD, place, field, self._published(event, rows.feed, field, since, offset, offset)))

    def note(self, place: int, row: Row, field: int, event: DriftEvent, offset: int, command: tuple[int, Command] | None = None) -> None:
        """Take down what was commanded of a stream, or what it was time for, before the record at this offset. command: with its own offset."""
        since, row.since[field] = row.since[field], offset
        if offset >= self.processed:
            turn, id = (BY_TIME, "") if command is None else (command[0], command[1].id)
            published = self._published(replace(event, position=offset), self._rows[place].feed, field, since, offset - 1, offset, id)
            self.told.append(Told(offset, turn, place, field, published))

    def _published(self, event: DriftEvent, feed: Feed, field: int, since: int, last: int, offset: int, command: str = "") -> DriftEvent:
        topic, number = self._partition
        source = {"topic": topic, "partition": number, "first_offset": since, "last_offset": last}
        name = identity(event.stream, offset, event.kind, self._application, topic, number, feed.fields[field].name, command)
        return replace(event, id=name, source=source, group=feed.name)
