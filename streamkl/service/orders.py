"""Orders: what was commanded to one partition: how far it was carried out, and what stands of it for a stream until its time is up.

Rule 1: a command is carried out between two records, key by key: where a key's turn comes the command acts on it once, and what it did is saved
in the same unit of work. So a restart goes on with the keys that are left, and never repeats it to one.
Rule 2: it acts on the keys that there are when its turn comes; one is carried out after the other, in the order of the control topic.
Rule 3: nothing here reads a clock: a silence ends with the first record of the stream that is late enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from streamkl.service.command import Command

MOST_RECENT = 1000          # ids of a partition, of which a repeat is known


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """What stands of a stream. silenced_until: ms UTC, None: it is not silenced.

    accept_at: when the new normal is accepted if this episode is still open; None: it is not to be. reason, by: of that.
    """

    silenced_until: int | None = None
    accept_at: int | None = None
    episode: int = 0
    reason: str = ""
    by: str = ""

    @property
    def due_at(self) -> int | None:
        """When the first of these is due, ms UTC; None: nothing stands."""
        return min((at for at in (self.silenced_until, self.accept_at) if at is not None), default=None)

    def is_due(self, at: int) -> bool:
        """Return whether something is due at this time, ms UTC."""
        return (self.silenced_until is not None and at >= self.silenced_until) or (self.accept_at is not None and at >= self.accept_at)

    def of(self, **changes: object) -> Standing:
        """Return it with changes."""
        return msgspec.structs.replace(self, **changes)


class StoredOrders(msgspec.Struct, array_like=True, frozen=True):
    """next_offset: of the control topic, up to which all was carried out. recent: digests of the newest ids, the newest last.

    begun: that of the command at next_offset, where some keys have it already; b"": it was not begun.
    """

    version: int
    next_offset: int
    recent: list[bytes]
    begun: bytes = b""


class Outcome(NamedTuple):
    """A command was carried out. matched: streams of its names; touched: of these, where it changed something."""

    offset: int
    command: Command
    matched: int
    touched: int


class Undertaking:
    """A command that is being carried out. places: the keys whose turn has not come: (which feed, key)."""

    def __init__(self, offset: int, command: Command, places: Iterable[tuple[int, str]]) -> None:
        self.offset, self.command, self.places = offset, command, deque(places)
        self.digest, self.pattern = command.digest, command.pattern
        self.matched = self.touched = 0


class Orders:
    """next_offset: of the command that is next; None: where to begin is not known yet. is_anchored: that is stored."""

    def __init__(self, stored: StoredOrders | None, is_new: bool) -> None:
        self.next_offset: int | None = stored.next_offset if stored else None if is_new else 0
        self.is_anchored = not is_new
        self.is_changed, self._is_stored = False, stored is not None
        self.current: Undertaking | None = None
        self.begun = stored.begun if stored else b""
        self._recent = dict.fromkeys(stored.recent if stored else ())

    def begin_at(self, offset: int) -> None:
        """Nothing was ever commanded here: what comes from this offset on is ours, once that is stored."""
        self.next_offset, self.is_changed = offset, True

    def begin(self, undertaking: Undertaking) -> None:
        """A command is being carried out."""
        self.current, self.begun, self.is_changed = undertaking, undertaking.digest, True

    def has(self, command: Command) -> bool:
        """Return whether this id was carried out already."""
        return command.digest in self._recent

    def done(self, offset: int, command: Command | None) -> None:
        """All up to this offset is carried out; command: the one that stands there, None: there is none."""
        self.next_offset, self.is_changed, self.current, self.begun = offset + 1, True, None, b""
        if command is not None:
            self._recent.pop(command.digest, None)
            self._recent[command.digest] = None
            for digest in list(self._recent)[:-MOST_RECENT]:
                del self._recent[digest]

    def stored(self, version: int) -> StoredOrders | None:
        """Return what is stored once this unit of work stands, None: nothing."""
        if self.next_offset is None or not (self.is_changed or self._is_stored):
            return None
        return StoredOrders(version, self.next_offset, list(self._recent), self.begun)

    def committed(self) -> None:
        """What was to be stored is."""
        self.is_changed, self._is_stored = False, self.is_changed or self._is_stored
        self.is_anchored = self.is_anchored or self.next_offset is not None
