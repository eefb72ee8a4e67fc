"""SQLite subscription: the drift events of a state file, from the stored position on, while a service writes it.

Rule 1: the file is opened to read only, and no lock is taken; its layout stands in `sqlite_file.py`.
Rule 2: it is known to be the same file by the ids of its first events and of the last that were dealt with. Where they differ the file was made anew,
and is read from its start: what was dealt with is left out by its id.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final

from streamkl.adapters.delivery_store import DeliveryFile, Position
from streamkl.adapters.sqlite_events import NOT_OURS
from streamkl.errors import ConfigError, Unavailable
from streamkl.service.incoming import Brought, of_line
from streamkl.service.record import Partition, PlainRecord

BATCH: Final = 500
MARKED: Final = 100
"""So many events at the start, and before the position, tell one file from another."""
LOOK_SECONDS: Final = 0.05
NEWEST: Final = "SELECT coalesce(max(sequence), 0) FROM events"
READ: Final = "SELECT sequence, json FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"


class SqliteFeed:
    """Brings the events of a state file; meets `service.ports.EventFeed`. store: keeps the position. look_seconds: between two looks.

    is_latest: a new group begins behind the events that are there when the file is first opened.
    """

    is_ready = True

    def __init__(self, path: str, store: DeliveryFile, look_seconds: float = LOOK_SECONDS, is_latest: bool = False) -> None:
        self.name = path
        self._place = Partition(path, 0)
        self._store = store
        self._look_seconds = look_seconds
        self._is_latest = is_latest
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None       # device and inode of what is open
        self._sequence = 0                              # of the newest event that was brought
        self._settled = 0

    def poll(self, timeout_seconds: float) -> Brought:
        """See `EventFeed.poll`."""
        until = monotonic() + timeout_seconds
        replaced = self._opened()
        while not (rows := self._rows()) and not replaced and (left := until - monotonic()) > 0:
            time.sleep(min(left, self._look_seconds))
            replaced = self._opened()
        if rows:
            self._sequence = rows[-1][0]
        records = [PlainRecord(self.name, 0, sequence, None, None, _bytes(line)) for sequence, line in rows]
        return Brought([of_line(record, record.offset + 1) for record in records], replaced=replaced)

    def keep(self) -> Brought:
        """Nobody takes a file away."""
        return Brought()

    def settle(self, positions: Mapping[Partition, int]) -> None:
        """See `EventFeed.settle`."""
        if self._place in positions:
            sequence = positions[self._place] - 1
            self._store.keep(self.name, Position(sequence, self._mark_of(sequence)))
            self._settled = sequence

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> str:
        """Open the file where it is not, or is another one now, and return why it is read from its start, or nothing."""
        if self._connection is not None and (_stat(self.name) == self._file or self._settled < self._sequence):
            return ""                                   # the old one is held until all of it is dealt with
        self.close()
        self._file = _stat(self.name)
        if self._file is None:
            raise Unavailable(f"there is no file {self.name!r}; correct the path, or start the service first")
        try:
            self._connection = sqlite3.connect(Path(self.name).absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None,
                                               check_same_thread=False)  # fmt: skip
            known = self._store.position(self.name)
            self._sequence = self._settled = 0
            if known is None:
                if self._is_latest:
                    self._sequence = self._query(NEWEST, ())[0][0]
                    self.settle({self._place: self._sequence + 1})
                return ""
            if known.offset and self._mark_of(known.offset) != known.mark:
                return f"it does not hold the {known.offset} events that were dealt with: it was made anew, and is read from its start"
        except (sqlite3.Error, Unavailable, ConfigError):
            self.close()
            raise
        self._sequence = self._settled = known.offset
        return ""

    def _mark_of(self, sequence: int) -> str:
        """Return what the file is known by up to an event; another one where that is not there."""
        digest = hashlib.sha256()
        for order in ("ASC", "DESC"):
            statement = f"SELECT sequence, id FROM events WHERE sequence <= ? ORDER BY sequence {order} LIMIT ?"
            for number, id in self._query(statement, (sequence, MARKED)):
                digest.update(f"{number} {id}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _rows(self) -> list[Any]:
        return self._query(READ, (self._sequence, BATCH))

    def _query(self, statement: str, values: tuple[int, ...]) -> list[Any]:
        assert self._connection is not None
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if any(words in str(error) for words in NOT_OURS):
                raise ConfigError(f"{self.name!r} is no state file of streamkl: {error}; give the path of one") from error
            raise Unavailable(f"cannot read {self.name!r}: {error}; see to the rights of the file and its directory") from error


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _bytes(line: object) -> bytes:
    return line if isinstance(line, bytes) else str(line).encode("utf-8", "surrogatepass")
