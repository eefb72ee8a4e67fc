"""Checkpoints: the stores that the contract is held against. A new one is a class with these methods in the list at the end.

A store outlives the processes that write to it: `open` is a new process, `content` is what somebody else reads.
"""

from __future__ import annotations

import base64
import json
import sqlite3

from contracts.units import ONE, OTHER, Content, plain_event, plain_letter, plain_reading
from streamkl.adapters.commit_steps import COMMIT_STEPS, COMMITTED
from streamkl.adapters.memory import MemoryCheckpoint, MemoryStore
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint

READING_COLUMNS = (
    'stream, topic, "partition", "offset", at, state, observations, kl, kl_low, kl_high, js, js_low, js_high, evidence, budget, window_n'
)


class InMemory:
    """The twin."""

    implementation = MemoryCheckpoint
    steps, stands_at = COMMIT_STEPS, COMMITTED
    keeps_repeats = True        # as a topic does: its readers tell repeats by their id
    has_group = True

    def __init__(self, folder):
        self._store = MemoryStore()

    def open(self, at_step=None):
        return MemoryCheckpoint(self._store, at_step)

    def crash(self, checkpoint):
        """A process of memory leaves nothing behind."""

    def content(self):
        store = self._store
        restored = {p: (store.replay_from.get(p), dict(store.entries.get(p, {}))) for p in (ONE, OTHER)}
        return Content(
            restored, [*map(plain_event, store.events)], [*map(plain_letter, store.dead_letters)], [*map(plain_reading, store.readings)]
        )


class InSqlite:
    """One file; read by a connection of its own, with SQL."""

    implementation = SqliteCheckpoint
    steps, stands_at = COMMIT_STEPS, COMMITTED
    keeps_repeats = False
    has_group = False           # the file is locked: there is one process, and what its source says of a group means nothing

    def __init__(self, folder):
        self.path = folder / "state.db"

    def open(self, at_step=None):
        return SqliteCheckpoint(str(self.path), "payments", at_step)

    def crash(self, checkpoint):
        """Let go of the lock as the system would; the file is as it is."""
        checkpoint.close()

    def content(self):
        reader = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            restored = {}
            for partition in (ONE, OTHER):
                offset = reader.execute('SELECT replay_from FROM progress WHERE topic = ? AND "partition" = ?', partition).fetchone()
                entries = dict(reader.execute('SELECT "key", value FROM state WHERE topic = ? AND "partition" = ?', partition))
                restored[partition] = (None if offset is None else offset[0], entries)
            events = [json.loads(text) for (text,) in reader.execute("SELECT json FROM events ORDER BY sequence")]
            letters = reader.execute(
                'SELECT topic, "partition", "offset", timestamp, "key", value, headers, reason FROM dead_letters ORDER BY sequence'
            )
            dead_letters = [(*row[:6], [(name, base64.b64decode(text)) for name, text in json.loads(row[6])], row[7]) for row in letters]
            return Content(restored, events, dead_letters, reader.execute(f"SELECT {READING_COLUMNS} FROM readings ORDER BY sequence").fetchall())
        finally:
            reader.close()


STORES = [InMemory, InSqlite]
