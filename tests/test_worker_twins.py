"""The laws of the loop over what is real on one machine - SQLite, a file, a pipe - and with partitions that are handed back and forth."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from flow import APPLICATION, SHORT, Crash, Steps, expected, feeds, filled_log, life, run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_worker_laws import OFTEN, ids_by_partition, offsets_of_dead_letters

from streamkl import Detector
from streamkl.adapters.file_records import FileRecords
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore, Rebalance
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.detect.pieces import join
from streamkl.errors import Unavailable
from streamkl.service.entries import understood
from streamkl.service.feed import Feed, Field
from streamkl.service.pace import Pace
from streamkl.service.record import Partition

TABLES = {
    "events": "SELECT id, json FROM events ORDER BY json ->> '$.source.partition', sequence",
    "state": 'SELECT topic, "partition", "key", value FROM state ORDER BY 1, 2, 3',
    "progress": "SELECT * FROM progress ORDER BY 1, 2",
    "dead letters": 'SELECT topic, "partition", "offset", "key", value, reason FROM dead_letters ORDER BY "partition", sequence',
}
P0, P1 = Partition("topic", 0), Partition("topic", 1)


def in_sqlite(path: str, steps: Steps) -> SqliteCheckpoint:
    return SqliteCheckpoint(path, APPLICATION, steps)


def tables(path: str) -> dict[str, list[tuple]]:
    """All that a run left, but for readings, which follow the clock; events and dead letters in their order within a partition."""
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in TABLES.items()}


@given(
    seed=st.integers(0, 50), rows_max=st.sampled_from([100, 3]), crashes=st.lists(st.integers(1, 400), max_size=8),
    polls=st.lists(st.integers(1, 200), min_size=1, max_size=3), every=st.integers(50, 900), share=st.sampled_from([0.0, 0.2, 5.0]),
    replay=st.integers(30, 2000),
)
@settings(max_examples=12)
def test_a_file_of_state_holds_after_any_crashes_what_it_holds_without(seed, rows_max, crashes, polls, every, share, replay):
    log = filled_log(seed, length=1000)
    with tempfile.TemporaryDirectory() as folder:
        calm, rough = f"{folder}/calm.db", f"{folder}/rough.db"
        run(log, feeds(rows_max), OFTEN._replace(commit_every_records=10**9), poll_sizes=(10_000,), checkpoint_of=in_sqlite, store=calm)
        pace = OFTEN._replace(commit_every_records=every, state_share=share, replay_records=replay)
        run(log, feeds(rows_max), pace, crashes, polls, checkpoint_of=in_sqlite, store=rough)
        assert tables(rough) == tables(calm)


def test_a_crash_before_and_after_every_step_leaves_a_file_as_it_should_be(tmp_path):
    log = filled_log(seed=7, length=700)
    pace = OFTEN._replace(commit_every_records=150, state_share=0.2)
    calm, died = str(tmp_path / "calm.db"), Counter()
    run(log, feeds(4), pace, checkpoint_of=in_sqlite, store=calm)
    left = tables(calm)
    assert all(left.values())
    for step in range(10**6):
        path = str(tmp_path / f"{step}.db")
        _, steps = run(log, feeds(4), pace, crashes=[step], checkpoint_of=in_sqlite, store=path)
        if not steps.died_at:
            break
        died.update(steps.died_at)
        assert tables(path) == left, steps.died_at
    assert {"poll", "polled", "start", "begin", "state", "progress", "events", "dead_letters", "readings", "commit", "committed"} <= set(died)


def test_a_file_and_memory_hold_the_same(tmp_path):
    log, path = filled_log(seed=5, length=1500), str(tmp_path / "state.db")
    memory, _ = run(log, feeds(4), OFTEN)
    run(log, feeds(4), OFTEN, checkpoint_of=in_sqlite, store=path)
    left = tables(path)
    assert {(topic, number, key): value for topic, number, key, value in left["state"]} == {
        (*partition, key): value for partition, entries in memory.entries.items() for key, value in entries.items()}
    assert [name for name, _ in left["events"]] == [name for partition in (P0, P1) for name in ids_by_partition(memory)[partition]]
    assert [row[2] for row in left["dead letters"]] == [offset for p in (P0, P1) for offset in offsets_of_dead_letters(memory)[p]]


# ---------------------------------------------------------------- a file of records


class SteppedFile:
    """A file that is read with a death before or after some polls and starts."""

    def __init__(self, path: str, steps: Steps, block_bytes: int = 12_000) -> None:
        self._file, self._steps = FileRecords(path, "topic", "jsonl", block_bytes=block_bytes), steps
        self.is_replayable = self._file.is_replayable

    def poll(self, timeout_seconds):
        self._steps("poll")
        arrivals = self._file.poll(timeout_seconds)
        self._steps("polled")
        return arrivals

    def start(self, partition, offset):
        self._steps("start")
        return self._file.start(partition, offset)

    def __getattr__(self, name):
        return getattr(self._file, name)


def file_feeds() -> list[Feed]:
    fields = (Field("x", "x", Detector(**SHORT)), Field("word", "word", Detector(kind="categorical", **SHORT)))
    return [Feed("topic", "one", fields, JsonRecordDecoder(["k", "x", "word"]), key_path="k", rows_max=4)]


def as_file(log: MemoryLog, folder: Path) -> tuple[str, MemoryLog]:
    """Write the first partition of a log as lines; return the path, and the log of what a line is."""
    lines = MemoryLog()
    lines.create(P0)
    for record in log.read(P0, 0, 10**9):
        lines.append(P0, record.value or b"rubbish")
    path = folder / "in.jsonl"
    path.write_bytes(b"".join((record.value or b"") + b"\n" for record in lines.read(P0, 0, 10**9)))
    return str(path), lines


def run_file(path: str, store: MemoryStore, pace: Pace, crashes: Sequence[int] = ()) -> Steps:
    steps = Steps(crashes)
    while True:
        source = SteppedFile(path, steps)
        worker = life(source, MemoryCheckpoint(store, steps), pace, file_feeds())
        try:
            worker.run()
        except Crash:
            continue
        finally:
            worker.close()
        return steps


def test_a_file_of_records_is_found_to_hold_what_a_reader_finds_whatever_step_a_crash_comes_at(tmp_path):
    path, lines = as_file(filled_log(seed=4, length=1400, keys=2, partitions=1, bad=0.02), tmp_path)
    pace = OFTEN._replace(commit_every_records=150, state_share=0.2)
    calm = MemoryStore()
    run_file(path, calm, pace)
    ids, dead = expected(lines, file_feeds())
    assert (ids_by_partition(calm), offsets_of_dead_letters(calm)) == (ids, dead)
    assert len(ids[P0]) > 5
    assert len(dead[P0]) > 3
    for step in range(10**6):
        rough = MemoryStore()
        if not run_file(path, rough, pace, [step]).died_at:
            break
        assert (ids_by_partition(rough), offsets_of_dead_letters(rough), rough.entries) == (ids, dead, calm.entries)
    assert step > 50


# ---------------------------------------------------------------- a pipe


def piped(lines: Sequence[bytes]) -> tuple[int, threading.Thread]:
    """Return the reading end of a pipe into which all lines are being written."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for line in lines:
                pipe.write(line)

    thread = threading.Thread(target=write)
    thread.start()
    return reading, thread


def stored_detector(store: MemoryStore) -> tuple[Detector, int]:
    entries = understood(P0, store.entries[P0])
    assert entries.progress.replay_from == entries.progress.processed == store.replay_from[P0]
    assert entries.rows["one", "k"].row.next_offset <= entries.progress.processed
    return Detector.of_state(join(entries.rows["one", "k"].pieces["x"])), entries.progress.processed


@pytest.mark.parametrize("commit", [None, 1, 3])
def test_of_a_pipe_every_commit_holds_all_and_a_crash_loses_only_what_was_handed_out(commit):
    values = np.random.default_rng(3).normal(size=3000).round(6)
    values[2000:] += 3
    lines = [json.dumps({"k": "k", "x": float(x)}).encode() + b"\n" for x in values]
    feed = Feed("topic", "one", (Field("x", "x", Detector(**SHORT)),), JsonRecordDecoder(["k", "x"]), key_path="k")
    reading, thread = piped(lines)
    pace = Pace(commit_every_seconds=1e9, commit_every_records=200, state_share=0.0, readings_every_seconds=0, poll_seconds=0.2)
    store, kept, n = MemoryStore(), 0, 0
    try:
        for plan in ([], []) if commit is None else ([8 * commit], []):
            steps = Steps(plan)
            source = FileRecords(f"/dev/fd/{reading}", "topic", "jsonl", block_bytes=2000)
            assert not source.is_replayable
            worker = life(source, MemoryCheckpoint(store, steps), pace, [feed])
            with suppress(Crash):
                worker.run()
            worker.close()
            if commit is None:
                break
            if steps.died_at:
                detector, n = stored_detector(store)
                kept = detector.n
                calm = feed.fields[0].fresh.clone("one/k/x")
                calm.update_many(values[:kept])
                assert 200 * commit <= kept == n
                assert detector.to_bytes() == calm.to_bytes()
    finally:
        thread.join(timeout=60)
        os.close(reading)
    detector, _ = stored_detector(store)
    later = detector.n - kept
    assert len(values) - 300 < detector.n <= len(values) if commit else detector.n == len(values)
    calm = feed.fields[0].fresh.clone("one/k/x")
    calm.update_many([*values[:kept], *values[len(values) - later:]])
    assert detector.to_bytes() == calm.to_bytes()


# ---------------------------------------------------------------- rebalances


def two_workers(log: MemoryLog, moves: Mapping[int, Partition], pace: Pace, polls: Sequence[int], rows_max: int, turns: int = 250) -> MemoryStore:
    """Two workers over one store take turns; a move (turn -> partition) takes a partition from its holder, and gives it to the other."""
    scripts: list[dict[int, Rebalance]] = [{0: Rebalance((P0,))}, {0: Rebalance((P1,))}]
    holder = {P0: 0, P1: 1}
    for turn, partition in sorted(moves.items()):
        owner = holder[partition]
        scripts[owner][turn] = Rebalance(lost=(partition,))
        scripts[1 - owner][turn + 1] = Rebalance((partition,))
        holder[partition] = 1 - owner
    store = MemoryStore()
    checkpoint = MemoryCheckpoint(store)            # one for both, as two instances have transactional ids of their own
    workers = [life(MemorySource(log, polls, script, ends=True), checkpoint, pace, feeds(rows_max)) for script in scripts]
    for _ in range(turns):
        for worker in workers:
            worker._turn()
    for worker in workers:
        worker.run()
        worker.close()
    return store


@given(
    seed=st.integers(0, 50),
    moves=st.dictionaries(st.integers(1, 120).map(lambda turn: 2 * turn), st.sampled_from([P0, P1]), min_size=1, max_size=10),
    polls=st.lists(st.integers(1, 40), min_size=1, max_size=3), every=st.integers(10, 400), share=st.sampled_from([0.0, 0.2, 5.0]),
    rows_max=st.sampled_from([100, 3]), learning=st.sampled_from([0.0, 0.05, 10.0]),
)
@settings(max_examples=15)
def test_partitions_that_are_handed_back_and_forth_change_nothing(seed, moves, polls, every, share, rows_max, learning):
    log = filled_log(seed, length=1200)
    calm, _ = run(log, feeds(rows_max), OFTEN._replace(commit_every_records=10**9), poll_sizes=(10_000,))
    pace = OFTEN._replace(commit_every_records=every, state_share=share, learning_seconds=learning)
    rough = two_workers(log, moves, pace, polls, rows_max)
    assert ids_by_partition(rough) == ids_by_partition(calm)
    assert offsets_of_dead_letters(rough) == offsets_of_dead_letters(calm)
    assert rough.entries == calm.entries
    assert rough.replay_from == calm.replay_from


@pytest.mark.parametrize("taken", [3, 10, 40])
@pytest.mark.parametrize("unnoticed", [0, 1, 30])
def test_who_does_not_notice_that_a_partition_was_taken_in_the_middle_of_a_unit_changes_nothing(taken, unnoticed):
    log = filled_log(7, length=1200)
    calm, _ = run(log, feeds(100), OFTEN._replace(commit_every_records=10**9), poll_sizes=(10_000,))
    scripts = [{0: Rebalance((P0, P1)), taken + unnoticed: Rebalance(lost=(P0,))}, {taken: Rebalance((P0,))}]
    store = MemoryStore()
    checkpoint = MemoryCheckpoint(store)
    paces = [OFTEN._replace(commit_every_records=every) for every in (200, 1)]   # the second commits with the turn in which it has a record
    workers = [life(MemorySource(log, (7,), script, ends=True), checkpoint, pace, feeds(100)) for script, pace in zip(scripts, paces, strict=True)]
    for _ in range(200):
        for worker in workers:
            with suppress(Unavailable):
                worker._turn()
    for worker in reversed(workers):
        worker.run()
        worker.close()
    assert ids_by_partition(store) == ids_by_partition(calm)
    assert offsets_of_dead_letters(store) == offsets_of_dead_letters(calm)
    assert store.entries == calm.entries
    assert store.replay_from == calm.replay_from
