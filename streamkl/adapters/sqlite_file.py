"""SQLite file: one state file, opened by one process at a time, of our own layout.

Rule 1: who may write is told by a lock on `<path>.lock`, which the system takes back with the process, however it ends; the lock file stays.
Rule 2: others may read at any time, while it is written too: `sqlite3 'file:PATH?mode=ro'`.
Rule 3: a file that is another program's, another application's or a newer version's is refused, never changed.

Layout 1. `offset`, `key` and `partition` are names of columns, so quote them:

    events(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, stream TEXT, at INTEGER, json TEXT)
        in order of commit, sequence is never used again; json: `DriftEvent.to_json()`; an event that comes again, with the same id, is left out.
    state(topic TEXT, partition INTEGER, key BLOB, value BLOB)     unique by the first three
    progress(topic TEXT, partition INTEGER, replay_from INTEGER)   unique by the first two
    dead_letters(sequence, topic, partition, offset, timestamp, key BLOB, value BLOB, headers TEXT, reason TEXT)
        unique by topic, partition and offset; headers: JSON, [[name, base64 of the value], ...]; never deleted from here.
    readings(sequence, stream, topic, partition, offset, at, state, observations, kl, kl_low, kl_high, js, js_low, js_high, evidence, budget,
        window_n)  divergences in nats, NULL where not known yet; the newest `readings_max` rows are kept.
    latest_readings: a view, of each stream the newest of them.
    commands(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id, at INTEGER, json TEXT): what was asked for, by whoever opens the file beside us, and
        when it came; json: `Command.to_dict()`; an id may stand there twice. A file of an older release gets the table when it is opened.
    about(name TEXT PRIMARY KEY, value TEXT): application.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from streamkl.errors import StateError, StreamklError, Unavailable

LAYOUT: Final = 1
APPLICATION_ID: Final = int.from_bytes(b"sKL\x01")
BUSY_SECONDS: Final = 5.0
WAL_BYTES: Final = 1 << 26  # to which the write-ahead log is cut once it has been written back
TRY_LATER: Final = tuple(f"SQLITE_{name}" for name in ("BUSY", "CANTOPEN", "FULL", "INTERRUPT", "IOERR", "LOCKED", "NOMEM", "PERM", "READONLY"))
ADVICE: Final = {
    "SQLITE_FULL": "make room on the disk",
    "SQLITE_BUSY": "another program is writing to it; end that one's transaction",
    "SQLITE_READONLY": "let this user write the file and its directory",
    "SQLITE_CANTOPEN": "let this user write the file and its directory",
}
DISCARD: Final = "restore it from a copy, or move it away to begin anew"

COMMANDS_TABLE: Final = """
CREATE TABLE IF NOT EXISTS commands(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at INTEGER NOT NULL, json TEXT NOT NULL)"""
TABLES: Final = """
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE state(topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "key" BLOB NOT NULL, value BLOB NOT NULL, UNIQUE(topic, "partition", "key"));
CREATE TABLE progress(topic TEXT NOT NULL, "partition" INTEGER NOT NULL, replay_from INTEGER NOT NULL, UNIQUE(topic, "partition"));
CREATE TABLE events(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, stream TEXT NOT NULL, at INTEGER,
    json TEXT NOT NULL);
CREATE TABLE dead_letters(sequence INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, "partition" INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    timestamp INTEGER, "key" BLOB, value BLOB, headers TEXT NOT NULL, reason TEXT NOT NULL, UNIQUE(topic, "partition", "offset"));
CREATE TABLE readings(sequence INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, topic TEXT NOT NULL, "partition" INTEGER NOT NULL,
    "offset" INTEGER NOT NULL, at INTEGER, state TEXT NOT NULL, observations INTEGER NOT NULL, kl REAL, kl_low REAL, kl_high REAL, js REAL,
    js_low REAL, js_high REAL, evidence REAL, budget REAL, window_n INTEGER NOT NULL);
CREATE INDEX readings_of_stream ON readings(stream, topic, "partition", sequence);
CREATE VIEW latest_readings AS SELECT * FROM readings WHERE sequence IN (SELECT max(sequence) FROM readings GROUP BY stream, topic, "partition");
"""


class SqliteFile:
    """A state file, held until `close`. connection: in autocommit; who uses it does so inside `translated`.

    Raises StateError for a file that is held by another process or cannot be ours, Unavailable where it cannot be written.
    """

    def __init__(self, path: str, application: str) -> None:
        path = path if "\0" in path else os.path.realpath(path)      # so that another name of the same file has the same lock
        self.path = path
        self._lock = locked(path)
        try:
            with self.translated("open"):
                self.connection = sqlite3.connect(
                    Path(path).absolute().as_uri(), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                try:
                    self._prepare(application)
                except (sqlite3.Error, StreamklError):
                    self.connection.close()
                    raise
        except StreamklError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let go of the file, all of it in one piece though others read it still; a second call does nothing."""
        if self._lock >= 0:
            with suppress(sqlite3.Error):
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with suppress(sqlite3.Error):
                self.connection.close()
            os.close(self._lock)
            self._lock = -1

    def translated(self, doing: str) -> AbstractContextManager[None]:
        """Turn an error of SQLite into Unavailable or StateError. doing: what could not be done."""
        return translated(self.path, doing)

    def _prepare(self, application: str) -> None:
        execute = self.connection.execute
        execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        is_new = not is_ours(self.connection, self.path, application)
        if is_new and execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StateError(f"the state file {self.path!r} lies where SQLite cannot keep a write-ahead log; keep it on a local disk")
        execute("PRAGMA synchronous = FULL")
        if is_new:
            execute("BEGIN IMMEDIATE")
            for statement in TABLES.split(";\n"):
                execute(statement)
            execute("INSERT INTO about VALUES ('application', ?)", (application,))
            execute(f"PRAGMA application_id = {APPLICATION_ID}")
            execute(f"PRAGMA user_version = {LAYOUT}")
            execute("COMMIT")
        execute(COMMANDS_TABLE)


@contextmanager
def translated(path: str, doing: str) -> Iterator[None]:
    """Turn an error of SQLite into Unavailable or StateError. doing: what could not be done with the file."""
    try:
        yield
    except sqlite3.Error as error:
        name = str(getattr(error, "sqlite_errorname", ""))
        what = f"cannot {doing} the state file {path!r}: {error}"
        if name.startswith(TRY_LATER):
            advice = next((words for start, words in ADVICE.items() if name.startswith(start)), "see to the disk")
            raise Unavailable(f"{what} ({name}); {advice}") from error
        raise StateError(f"{what} ({name or type(error).__name__}); {DISCARD}") from error


def is_ours(connection: sqlite3.Connection, path: str, application: str | None) -> bool:
    """Return whether a file has our tables, False if it is empty. application: None: any one's.

    Raises StateError for what is another's, or of another layout.
    """
    execute = connection.execute
    if execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if tables := [name for (name,) in execute("SELECT name FROM sqlite_master LIMIT 5")]:
            raise StateError(f"the state file {path!r} is a database of something else (it has {', '.join(tables)}); give another path")
        return False
    layout = execute("PRAGMA user_version").fetchone()[0]
    if layout != LAYOUT:
        raise StateError(
            f"the state file {path!r} has layout {layout}, this version of streamkl reads layout {LAYOUT}; "
            "run the version that wrote it, or move the file away to begin anew"
        )
    found = execute("SELECT value FROM about WHERE name = 'application'").fetchone()
    if application is not None and found != (application,):
        owner = "nobody" if found is None else repr(found[0])
        raise StateError(
            f"the state file {path!r} is that of the application {owner}, this configuration is of {application!r}; "
            "give each application a file of its own, or restore the old name"
        )
    return True


def locked(path: str) -> int:
    """Return the descriptor of the lock. Raises StateError if another process has it, Unavailable if there cannot be one."""
    name = f"{path}.lock"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(f"cannot open {name!r}: {reason}; let this user write the directory of the state file, or give another path") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace")
        os.close(lock)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise Unavailable(f"cannot lock {name!r}: {error.strerror}; keep the state file on a local disk") from error
        raise StateError(f"the state file {path!r} is in use by process {holder.strip() or '?'}; stop that one, or give another path") from error
    with suppress(OSError):  # the number is only for the message above; a full disk is told by SQLite
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
