"""The laws of the loop: what is found does not depend on batches, commits, crashes or restarts."""

from __future__ import annotations

from collections import Counter

import pytest
from flow import expected, feeds, filled_log, run
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkl.adapters.memory import MemoryStore
from streamkl.service.pace import Pace
from streamkl.service.record import Partition

OFTEN = Pace(commit_every_seconds=1e9, commit_every_records=300, learning_seconds=0.03, state_share=0.4, readings_every_seconds=0)


def ids_by_partition(store: MemoryStore) -> dict[Partition, list[str]]:
    found: dict[Partition, list[str]] = {}
    for event in store.events:
        found.setdefault(Partition(event.source["topic"], event.source["partition"]), []).append(event.id)
    return found


def offsets_of_dead_letters(store: MemoryStore) -> dict[Partition, list[int]]:
    found: dict[Partition, list[int]] = {}
    for letter in store.dead_letters:
        found.setdefault(Partition(letter.record.topic, letter.record.partition), []).append(letter.record.offset)
    return found


@pytest.mark.parametrize("rows_max", [100, 4])
def test_the_loop_finds_what_a_reader_without_batches_and_restarts_finds(rows_max):
    log = filled_log(seed=1, length=4000)
    store, _ = run(log, feeds(rows_max), OFTEN)
    ids, dead = expected(log, feeds(rows_max))
    assert ids_by_partition(store) == ids
    assert offsets_of_dead_letters(store) == dead
    kinds = Counter(event.kind for event in store.events)
    assert min(kinds["drift.raised"], kinds["drift.resolved"], kinds["reference.learned"]) > 3


@given(
    seed=st.integers(0, 50), rows_max=st.sampled_from([100, 3]), crashes=st.lists(st.integers(1, 600), max_size=12),
    polls=st.lists(st.integers(1, 200), min_size=1, max_size=4), every=st.integers(20, 900), share=st.sampled_from([0.0, 0.1, 0.4, 5.0]),
    replay=st.integers(30, 2000), after=st.sampled_from([0, 50, 600]), learning=st.sampled_from([0.0, 0.05, 10.0]),
)
@settings(max_examples=40)
def test_a_crash_may_repeat_nothing_and_loses_and_changes_nothing(seed, rows_max, crashes, polls, every, share, replay, after, learning):
    log = filled_log(seed, length=1500)
    calm, _ = run(log, feeds(rows_max), Pace(commit_every_seconds=1e9, commit_every_records=10**9, readings_every_seconds=0), poll_sizes=(10_000,))
    pace = Pace(
        commit_every_seconds=1e9, commit_every_records=every, learning_seconds=learning, state_share=share, replay_records=replay,
        save_after_records=after, readings_every_seconds=0)
    rough, _ = run(log, feeds(rows_max), pace, crashes, poll_sizes=polls)
    assert ids_by_partition(rough) == ids_by_partition(calm)
    assert [event.to_dict() for event in sorted(rough.events, key=lambda e: e.id)] == [e.to_dict() for e in sorted(calm.events, key=lambda e: e.id)]
    assert offsets_of_dead_letters(rough) == offsets_of_dead_letters(calm)
    assert rough.entries == calm.entries
    assert rough.replay_from == calm.replay_from


def test_a_crash_before_and_after_every_step_changes_nothing():
    log = filled_log(seed=7, length=700)
    pace = OFTEN._replace(commit_every_records=150, state_share=0.2)
    calm, steps = run(log, feeds(4), pace)
    died = Counter()
    for step in range(10**6):
        rough, steps = run(log, feeds(4), pace, crashes=[step])
        if not steps.died_at:
            break
        died.update(steps.died_at)
        assert (ids_by_partition(rough), rough.entries, offsets_of_dead_letters(rough)) == (
            ids_by_partition(calm), calm.entries, offsets_of_dead_letters(calm)), steps.died_at
    assert {"poll", "polled", "start", "begin", "state", "progress", "events", "dead_letters", "readings", "commit", "committed"} <= set(died)
