"""SQLite checkpoint: units of work in one file; its layout stands in `sqlite_file.py`.

Rule 1: one unit is one transaction. With synchronous = FULL the write-ahead log is on the disk before `commit` returns; with NORMAL, the
usual choice beside a write-ahead log, a power failure could take back what readers have already seen, and give its sequence to another event.
Rule 2: an event is kept once by its id and a dead letter once by its offset, so a replay adds nothing; the first one stays.
Rule 3: of readings the newest `readings_max` are kept; what is older is deleted in the transaction that adds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Final

from streamkl.adapters.commit_steps import BEGIN, COMMIT, COMMITTED, DEAD_LETTERS, EVENTS, PROGRESS, READINGS, STATE, AtStep, go_on
from streamkl.adapters.sqlite_file import SqliteFile
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError
from streamkl.service.record import Headers, Partition
from streamkl.service.work import DeadLetter, Reading, Restored, UnitOfWork

READINGS_MAX: Final = 1_000_000  # about 200 bytes each

PUT: Final = (
    'INSERT INTO state(topic, "partition", "key", value) VALUES (?, ?, ?, ?) '
    'ON CONFLICT(topic, "partition", "key") DO UPDATE SET value = excluded.value'
)
DELETE: Final = 'DELETE FROM state WHERE topic = ? AND "partition" = ? AND "key" = ?'
PROCEED: Final = (
    'INSERT INTO progress(topic, "partition", replay_from) VALUES (?, ?, ?) '
    'ON CONFLICT(topic, "partition") DO UPDATE SET replay_from = excluded.replay_from'
)
ADD_EVENT: Final = "INSERT INTO events(id, kind, stream, at, json) VALUES (?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING"
ADD_DEAD_LETTER: Final = (
    'INSERT INTO dead_letters(topic, "partition", "offset", timestamp, "key", value, headers, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?) '
    'ON CONFLICT(topic, "partition", "offset") DO NOTHING'
)
ADD_READING: Final = (
    'INSERT INTO readings(stream, topic, "partition", "offset", at, state, observations, kl, kl_low, kl_high, js, js_low, js_high, evidence, '
    "budget, window_n) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FORGET_READINGS: Final = "DELETE FROM readings WHERE sequence <= (SELECT max(sequence) FROM readings) - ?"


class SqliteCheckpoint:
    """Commits to one file; see `Checkpoint` in `service/ports.py` for what it guarantees.

    path: of the file, made if it is not there. application: whose state it is. at_step: called at each of COMMIT_STEPS, for tests of crashes.
    Raises StateError where another process has the file, or it cannot be ours; Unavailable where it cannot be written.
    """

    def __init__(self, path: str, application: str, at_step: AtStep | None = None, readings_max: int = READINGS_MAX) -> None:
        if readings_max < 1:
            raise ConfigError(f"readings_max={readings_max} must be at least 1; leave it out for {READINGS_MAX}")
        self._at_step = at_step or go_on
        self._readings_max = readings_max
        self._file = SqliteFile(path, application)
        self._connection = self._file.connection

    def restore(self, partition: Partition) -> Restored:
        """Return all that was committed of a partition."""
        execute = self._connection.execute
        with self._file.translated("read"):
            replay_from = execute('SELECT replay_from FROM progress WHERE topic = ? AND "partition" = ?', partition).fetchone()
            entries = dict(execute('SELECT "key", value FROM state WHERE topic = ? AND "partition" = ?', partition))
        return Restored(replay_from and replay_from[0], entries)

    def commit(self, work: UnitOfWork) -> None:
        """Make all of a unit stand, or nothing of it."""
        at_step, connection = self._at_step, self._connection
        with self._file.translated("write"):
            try:
                at_step(BEGIN)
                connection.execute("BEGIN IMMEDIATE")
                at_step(STATE)
                self._change(work)
                at_step(PROGRESS)
                connection.executemany(PROCEED, [(*partition, offset) for partition, offset in work.replay_from.items()])
                at_step(EVENTS)
                connection.executemany(ADD_EVENT, map(_event_row, work.events))
                at_step(DEAD_LETTERS)
                connection.executemany(ADD_DEAD_LETTER, map(_dead_letter_row, work.dead_letters))
                at_step(READINGS)
                self._add_readings(work.readings)
                at_step(COMMIT)
                connection.execute("COMMIT")
                at_step(COMMITTED)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _change(self, work: UnitOfWork) -> None:
        for partition, changes in work.changes.items():
            self._connection.executemany(PUT, _rows(partition, [(key, value) for key, value in changes.items() if value is not None]))
            self._connection.executemany(DELETE, _rows(partition, [(key,) for key, value in changes.items() if value is None]))

    def _add_readings(self, readings: Sequence[Reading]) -> None:
        if readings:
            self._connection.executemany(ADD_READING, map(_reading_row, readings))
            self._connection.execute(FORGET_READINGS, (self._readings_max,))


def _rows(partition: Partition, rest: Iterable[tuple[object, ...]]) -> Iterable[tuple[object, ...]]:
    return ((*partition, *row) for row in rest)


def _event_row(event: DriftEvent) -> tuple[object, ...]:
    return event.id, event.kind, event.stream, event.at, event.to_json()


def _dead_letter_row(letter: DeadLetter) -> tuple[object, ...]:
    record = letter.record
    place = record.topic, record.partition, record.offset, record.timestamp
    return *place, record.key, record.value, headers_json(record.headers), letter.reason


def _reading_row(reading: Reading) -> tuple[object, ...]:
    kl, js = reading.kl, reading.js
    place = reading.stream, *reading.partition, reading.offset, reading.at, reading.state, reading.observations
    return *place, kl.value, kl.low, kl.high, js.value, js.low, js.high, reading.evidence, reading.budget, reading.window_n


def headers_json(headers: Headers) -> str:
    """Return headers as the table has them.

    >>> headers_json([("trace", b"\\xff")])
    '[["trace", "/w=="]]'
    """
    return json.dumps([[name, base64.b64encode(value or b"").decode("ascii")] for name, value in headers])
