"""Who is remembered, what is stored of him and which bad records are told follow from the records alone: tiny logs, so that all orders are met.

The oracle remembers, per feed, the keys that came last; nothing here learns, so that a life takes milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from flow import run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamkl import Detector
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryLog, MemoryStore
from streamkl.detect.pieces import join
from streamkl.detect.slots import Slots
from streamkl.service.entries import understood
from streamkl.service.feed import Feed, Field
from streamkl.service.pace import Pace
from streamkl.service.record import Partition, PlainRecord
from streamkl.service.rows import Row
from streamkl.service.shard import Shard
from streamkl.service.thrift import Thrift

PLACE = Partition("topic", 0)
BAD = "!"


def tiny_feeds(rows_max: int) -> list[Feed]:
    decoder = JsonRecordDecoder(["k", "x"])
    field = (Field("x", "x", Detector(warmup=1000)),)
    return [
        Feed("topic", "one", field, decoder, key_path="k", rows_max=rows_max),
        Feed("topic", "two", field, decoder, is_keyed=True, rows_max=rows_max + 1),
    ]


def tiny_log(keys: Sequence[str]) -> MemoryLog:
    log = MemoryLog()
    log.create(PLACE)
    for i, key in enumerate(keys):
        if i % 7 == 3:
            log.skip(PLACE, 1)
        value = b"{" if key == BAD else json.dumps({"k": key, "x": i}).encode()
        log.append(PLACE, value, key=b"\xff" if key == BAD else key.upper().encode())
    return log


def remembered(log: MemoryLog, rows_max: int) -> dict[str, list[float]]:
    """Return the values of each key that is remembered at the end, by an order of the keys alone."""
    held: dict[str, list[float]] = {}
    for record in log.read(PLACE, 0, 10**9):
        if record.value == b"{":
            continue
        fields = json.loads(record.value)
        values = held.pop(fields["k"], None)
        while values is None and len(held) >= rows_max:
            del held[next(iter(held))]
        held[fields["k"]] = [*(values or ()), fields["x"]]
    return held


def stored(store: MemoryStore, feed: str) -> dict[str, list[float]]:
    """Return the values of each key that is stored, and see that nothing else is."""
    rows = understood(PLACE, store.entries[PLACE]).rows
    assert len(store.entries[PLACE]) == 2 + 2 * len(rows)
    found = {}
    for (name, key), row in rows.items():
        if name == feed:
            values = join(row.pieces["x"]).life.learning.values.values("numeric")
            found[key.lower()] = values.tolist()
    return found


@given(
    keys=st.lists(st.sampled_from([*"abcde", BAD]), min_size=1, max_size=70), rows_max=st.integers(1, 3),
    crashes=st.lists(st.integers(1, 250), max_size=6), polls=st.lists(st.integers(1, 12), min_size=1, max_size=3), every=st.integers(1, 30),
    share=st.sampled_from([0.0, 2.0, 20.0, 1000.0]), replay=st.sampled_from([2, 20, 10**6]),
)
@settings(max_examples=150)
@example(list("ababababcabababababacbabab"), 2, [30, 60], [3], 4, 0.0, 10**6)
@example(list("aabbaabbc" * 4), 2, [43], [4], 8, 20.0, 10**6)
def test_after_any_crashes_those_are_stored_who_came_last_each_with_all_that_was_his(keys, rows_max, crashes, polls, every, share, replay):
    log = tiny_log(keys)
    pace = Pace(commit_every_seconds=1e9, commit_every_records=every, state_share=share, replay_records=replay, readings_every_seconds=0)
    store, _ = run(log, tiny_feeds(rows_max), pace, crashes, polls)
    assert stored(store, "one") == remembered(log, rows_max)
    assert stored(store, "two") == remembered(log, rows_max + 1)
    assert [letter.record.offset for letter in store.dead_letters] == [r.offset for r in log.read(PLACE, 0, 10**9) if r.value == b"{"]
    assert store.replay_from[PLACE] == understood(PLACE, store.entries[PLACE]).progress.processed == log.read(PLACE, 0, 10**9)[-1].offset + 1


@pytest.mark.parametrize(("keys", "rows_max", "every", "shares"), [
    ("aab!abcab!bac", 2, 3, (0.0, 1000.0)),
    ("axayaza!abax", 2, 3, (0.0,)),                     # records of keys that were forgotten are replayed for the sake of another one
    ("abacdbaed", 3, 4, (1.0, 2.0, 4.0, 7.0, 10.0, 13.0, 16.0, 20.0)),      # some rows are saved, in another order than that of their records
])  # fmt: skip
@pytest.mark.parametrize("again", [None, 17])
def test_whatever_steps_crashes_come_at_who_was_idle_longest_goes(keys, rows_max, every, shares, again):
    log = tiny_log(list(keys))
    for share in shares:
        pace = Pace(commit_every_seconds=1e9, commit_every_records=every, state_share=share, readings_every_seconds=0)
        for step in range(10**6):
            store, steps = run(log, tiny_feeds(rows_max), pace, [step, *([step + again] if again else [])], [every])
            assert stored(store, "one") == remembered(log, rows_max), (share, steps.died_at)
            assert stored(store, "two") == remembered(log, rows_max + 1), (share, steps.died_at)
            assert [letter.record.offset for letter in store.dead_letters] == [r.offset for r in log.read(PLACE, 0, 10**9) if r.value == b"{"]
            if not steps.died_at:
                break
        assert step > 20


def record(offset: int, key: str) -> PlainRecord:
    return PlainRecord(*PLACE, offset, None, key.encode(), json.dumps({"k": key, "x": offset}).encode())


def counted(*_: object) -> None:
    """Faults are not what is tested here."""


def test_after_a_replay_who_was_idle_longest_goes_by_offset_and_not_by_the_order_of_the_store():
    shard = Shard("test", PLACE, tiny_feeds(2)[:1], Slots(), processed=12)
    for key, next_offset in (("a", 10), ("b", 5)):
        shard.rows[0].restore(Row(key, next_offset, [next_offset], [None]), {"x": None})
    shard.begin(8)
    shard.take([record(8, "a"), record(9, "a")], counted)               # both are in its row
    shard.take([record(11, "z"), record(12, "c")], counted)             # z was nobody when the twelve were processed
    assert [row.key for row in shard.rows[0]] == ["a", "c"]


def test_a_stream_that_goes_while_it_waits_to_learn_tells_first_what_it_was_due_to_tell():
    (feed, _) = tiny_feeds(1)
    feed = feed._replace(fields=(Field("x", "x", Detector(warmup=100, extend=1)),))
    shard = Shard("test", PLACE, [feed], Slots())
    shard.begin(0)
    shard.take([record(i, "a" if i < 105 else "b") for i in range(110)], counted)
    assert [(told.offset, told.event.kind, told.event.stream) for told in shard.telling.told] == [(99, "reference.learned", "one/a/x")]


def test_all_is_saved_at_the_end_slice_by_slice():
    shard = Shard("test", PLACE, tiny_feeds(9), Slots())
    shard.begin(0)
    shard.take([record(i, "abcd"[i % 4]) for i in range(40)], counted)
    thrift, is_all, calls = Thrift(0.0, 10**9), False, 0
    while not is_all:
        _, is_all = thrift.save_all({PLACE: shard}, 1)
        calls += 1
    assert (shard.replay_from, calls) == (40, 9)
