"""Delivery store: a small SQLite file in which a subscription keeps what it dealt with, where it is, and dead letters that have no topic.

Rule 1: what is written stands whatever ends this process; after a loss of power the last of it may be missing, and comes again - but for dead
letters, which are on the disk.
Rule 2: the newest `ids_max` keys are kept: a repeat comes soon after its original.
Rule 3: a file with a position is held by one process (`<path>.lock`); one without, of a group of Kafka, is shared by its members on this machine.

Layout 1:

    about(name TEXT PRIMARY KEY, value TEXT): subscription (its group) and feed.
    dealt_with(sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE)
    position(feed TEXT PRIMARY KEY, offset INTEGER, mark TEXT)     mark: by which the place of events is known to be the same
    dead_letters(sequence, at TEXT, reason TEXT, attempts INTEGER, id TEXT, kind TEXT, stream TEXT, topic TEXT, partition INTEGER, offset INTEGER,
        key BLOB, value BLOB, headers TEXT)   as it came; headers: JSON, [[name, base64 of the value], ...]; never deleted from here.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from streamkl.adapters.sqlite_file import BUSY_SECONDS, WAL_BYTES, locked, translated
from streamkl.errors import StateError, StreamklError, Unavailable
from streamkl.service.cloud_events import rfc3339
from streamkl.service.incoming import Undelivered

LAYOUT: Final = 1
APPLICATION_ID: Final = int.from_bytes(b"sKL\x02")
IDS_MAX: Final = 100_000

TABLES: Final = """
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE dealt_with(sequence INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT NOT NULL UNIQUE);
CREATE TABLE position(feed TEXT PRIMARY KEY, "offset" INTEGER NOT NULL, mark TEXT NOT NULL);
CREATE TABLE dead_letters(sequence INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, reason TEXT NOT NULL, attempts INTEGER NOT NULL, id TEXT, kind TEXT,
    stream TEXT, topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL, "key" BLOB, value BLOB, headers TEXT NOT NULL);
"""


class Position(NamedTuple):
    """Where reading goes on, and by what the place of events is known to be the same."""

    offset: int
    mark: str


class DeliveryFile:
    """A store, held until `close`; meets `service.ports.DeliveryStore`, and `DeadLetters` by `bury`.

    feed: the place of events that it belongs to. is_shared: several processes may use it. Raises StateError for a file that is held, damaged or
    another's, Unavailable where it cannot be written.
    """

    def __init__(self, path: str, subscription: str, feed: str, *, is_shared: bool = False, ids_max: int = IDS_MAX) -> None:
        self.name = path = os.path.realpath(path)
        self._ids_max = ids_max
        self._about = {"subscription": subscription, "feed": _text(feed)}
        self._lock = -1
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make the directory of {path!r}: {error.strerror}; let this user write there, or give store=PATH") from error
        if not is_shared:
            self._lock = locked(path)
        try:
            with self._translated("open"):
                self._connection = _connected(path)
                try:
                    self._prepare()
                except (sqlite3.Error, StreamklError):
                    self._connection.close()
                    raise
        except StreamklError:
            self._unlock()
            raise

    def knows(self, key: str) -> bool:
        """See `DeliveryStore.knows`."""
        with self._translated("read"):
            return self._connection.execute('SELECT 1 FROM dealt_with WHERE "key" = ?', (key,)).fetchone() is not None

    def done(self, key: str) -> None:
        """See `DeliveryStore.done`."""

        def write(execute: Callable[..., Any]) -> None:
            added = execute('INSERT INTO dealt_with("key") VALUES (?) ON CONFLICT DO NOTHING RETURNING sequence', (key,)).fetchone()
            if added is not None:
                execute("DELETE FROM dealt_with WHERE sequence <= ?", (added[0] - self._ids_max,))

        self._write(write)

    def position(self, feed: str) -> Position | None:
        """Return where a feed goes on; None where it was never read."""
        with self._translated("read"):
            found = self._connection.execute('SELECT "offset", mark FROM position WHERE feed = ?', (_text(feed),)).fetchone()
        return None if found is None else Position(*found)

    def keep(self, feed: str, position: Position) -> None:
        """Store where a feed goes on."""
        self._write(lambda execute: execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", (_text(feed), *position)))

    def bury(self, letter: Undelivered) -> tuple[str, str]:
        """See `DeadLetters.bury`."""
        record, event = letter.incoming.record, letter.incoming.event
        headers = json.dumps([[name, base64.b64encode(content or b"").decode()] for name, content in record.headers])
        of_event = (None, None, None) if event is None else (event.id, event.kind, event.stream)
        row = (rfc3339(letter.at), _text(letter.reason), letter.attempts, *map(_text, of_event), _text(record.topic), record.partition, record.offset,
               record.key, record.value, headers)  # fmt: skip
        names = 'at, reason, attempts, id, kind, stream, topic, "partition", "offset", "key", value, headers'
        with self._translated("write to"):
            self._connection.execute("PRAGMA synchronous = FULL")
        self._write(lambda execute: execute(f"INSERT INTO dead_letters({names}) VALUES ({', '.join('?' * len(row))})", row))
        with self._translated("write to"):
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return f"table dead_letters of {self.name}", ""

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._unlock()

    def _write(self, write: Callable[[Callable[..., Any]], object]) -> None:
        with self._translated("write to"):
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                write(execute)
                execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        execute("ROLLBACK")

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(self.name, doing)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        is_new = not self._is_ours()
        if is_new and execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StateError(f"the store {self.name!r} lies where SQLite cannot keep a write-ahead log; give store=PATH on a local disk")
        execute("PRAGMA synchronous = NORMAL")
        if is_new:
            self._write(self._create)
            self._is_ours()

    def _create(self, execute: Callable[..., Any]) -> None:
        if execute("PRAGMA user_version").fetchone()[0]:
            return                                      # another member was first
        for statement in TABLES.split(";\n"):
            execute(statement)
        for pair in self._about.items():
            execute("INSERT INTO about VALUES (?, ?)", pair)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {LAYOUT}")

    def _is_ours(self) -> bool:
        """Return whether the file has our tables, False if it is empty. Raises StateError for what is another's."""
        execute = self._connection.execute
        if execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            if tables := [name for (name,) in execute("SELECT name FROM sqlite_master LIMIT 5")]:
                raise StateError(f"the store {self.name!r} is a database of something else (it has {', '.join(tables)}); give store=PATH of its own")
            return False
        if (layout := execute("PRAGMA user_version").fetchone()[0]) != LAYOUT:
            raise StateError(
                f"the store {self.name!r} has layout {layout}, this version of streamkl reads layout {LAYOUT}; run the version that wrote it, "
                "or move it away: what lies behind its position then comes again"
            )
        if (about := dict(execute("SELECT name, value FROM about"))) != self._about:
            raise StateError(
                f"the store {self.name!r} belongs to the subscription {about.get('subscription')!r} of {about.get('feed')!r}, not to "
                f"{self._about['subscription']!r} of {self._about['feed']!r}; give store=PATH of its own"
            )
        return True

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(Path(path).as_uri(), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _text(value: str | None) -> str | None:
    """Return a text as SQLite takes it: without half characters."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()
