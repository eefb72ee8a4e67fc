"""The laws of commands: each acts once on each key, at one place among its records, whatever crashes come; a plain reader finds what is told."""

from __future__ import annotations

import tempfile
from collections import Counter

import flow
from commanded import check, run_commanded, some_commands
from flow import APPLICATION, SHORT, filled_log
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamkl.adapters.memory import MemoryStore
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.adapters.sqlite_events import SqliteEvents
from streamkl.service.pace import Pace

OFTEN = Pace(commit_every_seconds=1e9, commit_every_records=120, learning_seconds=0.03, state_share=0.2, readings_every_seconds=0)
STEPS = 120                 # of a run without a crash, at least
LIVELY = {**SHORT, "false_alarms": 60, "min_effect": None}


def test_what_was_commanded_in_the_midst_of_a_run_is_what_a_plain_reader_finds():
    log, kinds = filled_log(seed=3, length=3000, keys=3), Counter()
    for seed in range(3):
        done = run_commanded(log, feeds(), OFTEN, some_commands(seed, 25, 3000, 2 * STEPS))
        assert isinstance(done.store, MemoryStore)
        check(log, feeds(), done, done.store.events, done.store.entries)
        kinds.update(event.kind for event in done.store.events)
        kinds.update("silenced" for event in done.store.events if event.silenced)
    assert all(kinds[kind] > 2 for kind in ("stream.silenced", "stream.unsilenced", "stream.forgotten", "reference.rebaselined", "silenced")), kinds


@given(
    seed=st.integers(0, 30), rows_max=st.sampled_from([100, 3]), crashes=st.lists(st.integers(1, 300), max_size=8),
    polls=st.lists(st.integers(1, 200), min_size=1, max_size=3), every=st.integers(20, 600), share=st.sampled_from([0.0, 0.2, 5.0]),
    learning=st.sampled_from([0.0, 0.05, 10.0]), count=st.integers(1, 25), at_once=st.sampled_from([1, 3, 50]),
)
@settings(max_examples=60)
@example(468, 100, [4, 43, 72, 121, 137, 273], [23, 11], 107, 0.0, 0.0, 6, 3)       # keys are forgotten and born anew in the midst of a command
def test_commands_act_once_whatever_crashes_come(seed, rows_max, crashes, polls, every, share, learning, count, at_once):
    log = filled_log(seed, length=600, keys=3)
    pace = OFTEN._replace(commit_every_records=every, learning_seconds=learning, state_share=share)
    done = run_commanded(log, feeds(rows_max), pace, some_commands(seed, count, 600, 60), crashes, polls, keys_at_once=at_once)
    check(log, feeds(rows_max), done, done.store.events, done.store.entries)


@given(seed=st.integers(0, 30), crashes=st.lists(st.integers(1, 300), max_size=6))
@settings(max_examples=6)
@example(1, [40, 60])
def test_in_a_state_file_too(seed, crashes):
    log = filled_log(seed, length=700)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/state.db"

        def opened(_, at_step):
            return SqliteCheckpoint(path, APPLICATION, at_step)

        done = run_commanded(log, feeds(), OFTEN, some_commands(seed, 20, 700, STEPS), crashes, checkpoint_of=opened)
        reader, checkpoint = SqliteEvents(path), SqliteCheckpoint(path, APPLICATION)
        try:
            events = [event for batch in reader.batches(is_following=False) for event in batch]
            check(log, feeds(), done, events, {partition: checkpoint.restore(partition).entries for partition in log.partitions()})
        finally:
            reader.close()
            checkpoint.close()


def test_a_crash_at_every_step_between_a_command_and_its_commit_changes_nothing():
    log, died = filled_log(seed=7, length=300), Counter()
    pace = OFTEN._replace(commit_every_records=100, learning_seconds=0.0)
    for step in range(10**6):
        done = run_commanded(log, feeds(4), pace, some_commands(2, 8, 300, 30), [step], keys_at_once=1)
        check(log, feeds(4), done, done.store.events, done.store.entries)
        died.update(done.steps.died_at)
        if not done.steps.died_at:
            break
    assert {"poll", "polled", "start", "begin", "state", "progress", "events", "commit", "committed"} <= set(died)


def feeds(rows_max: int = 100) -> list[flow.Feed]:
    return flow.feeds(rows_max, LIVELY)
