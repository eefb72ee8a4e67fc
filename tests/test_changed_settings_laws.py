"""Settings that may change under a stored state, changed between any lives: what is told and kept is what a reader finds who changes them where
the stored state then ended: a record is observed under the settings of the life in whose unit of work it was first committed.

The reader knows nothing of batches, replays or saving: one detector for each stream, whose settings are exchanged before its next record.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pytest
from flow import APPLICATION, SHORT, Crash, SteppedSource, Steps, life, usable
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamkl import Detector
from streamkl.adapters.file_records import FileRecords
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore, Rebalance
from streamkl.adapters.sqlite_checkpoint import SqliteCheckpoint
from streamkl.adapters.sqlite_events import SqliteEvents
from streamkl.detect.event import DriftEvent, identity
from streamkl.detect.pieces import cut, join, restored
from streamkl.errors import Unavailable
from streamkl.service.entries import PartitionEntries, understood
from streamkl.service.feed import Feed, Field
from streamkl.service.pace import Pace
from streamkl.service.record import Partition

P0, P1 = Partition("topic", 0), Partition("topic", 1)
NOT_OF_THE_STREAM = ("id", "source", "group", "position", "at")
VARIANTS: dict[str, dict[str, object]] = {
    "as ever": {}, "small budget": {"false_alarms": 20}, "large budget": {"false_alarms": 1e12}, "any effect": {"min_effect": None},
    "large effects": {"min_effect": 1.0}, "rebaseline": {"on_drift": "rebaseline"}, "soon": {"on_drift": "rebaseline", "hold_for": 30},
    "low": {"raise_at": 0.06, "resolve_at": 0.03}, "high": {"raise_at": 0.6, "resolve_at": 0.4},
}  # fmt: skip
UNSAVED = Pace(
    commit_every_seconds=1e9, commit_every_records=120, learning_seconds=0.03, state_share=0.0, replay_records=10**9, readings_every_seconds=0)


class Life(NamedTuple):
    """One life of a process: which settings it has, at which of its steps it ends and how, and at which ones the outside is away."""

    variant: str
    ends_at: int | None = None
    how: str = "crash"
    outages: Sequence[int] = ()


def feeds(variant: str, rows_max: int = 100) -> list[Feed]:
    values = {**SHORT, **VARIANTS[variant]}
    one = (
        Field("x", "x", Detector(**values)), Field("deep", "p.y", Detector(**{**values, "alarm": "threshold"})),
        Field("word", "word", Detector(kind="categorical", **values)),
    )  # fmt: skip
    decoder = JsonRecordDecoder(["k", "x", "p.y", "word"])
    two = (Field("x", "x", Detector(**values)),)
    return [
        Feed("topic", "one", one, decoder, key_path="k", rows_max=rows_max), Feed("topic", "two", two, decoder, is_keyed=True, rows_max=rows_max),
    ]  # fmt: skip


class Ending:
    """At which steps a life ends or fails. The end comes as a death, or as a signal to stop; an outage only in the midst of a commit."""

    def __init__(self, plan: Life) -> None:
        self._plan, self._deaths = plan, Steps([] if plan.ends_at is None or plan.how == "stop" else [plan.ends_at])
        self._count, self.stop, self.died_at = 0, lambda: None, self._deaths.died_at

    def __call__(self, step: str) -> None:
        self._count += 1
        if self._plan.how == "stop" and self._count - 1 == self._plan.ends_at:
            self.stop()
        self._deaths(step)
        if self._count - 1 in self._plan.outages and step not in ("poll", "polled", "start"):
            raise Unavailable("for once")


class InMemory:
    """What outlives the processes."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def open(self, at_step: Callable[[str], None]) -> MemoryCheckpoint:
        return MemoryCheckpoint(self.store, at_step)

    def entries(self, partition: Partition) -> PartitionEntries:
        return understood(partition, self.store.entries.get(partition, {}))

    def events(self) -> list[DriftEvent]:
        return self.store.events


class InFile:
    """The same in SQLite."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, at_step: Callable[[str], None]) -> SqliteCheckpoint:
        return SqliteCheckpoint(self._path, APPLICATION, at_step)

    def entries(self, partition: Partition) -> PartitionEntries:
        checkpoint = SqliteCheckpoint(self._path, APPLICATION)
        try:
            return understood(partition, checkpoint.restore(partition).entries)
        finally:
            checkpoint.close()

    def events(self) -> list[DriftEvent]:
        reader = SqliteEvents(self._path)
        try:
            return [event for batch in reader.batches(is_following=False) for event in batch]
        finally:
            reader.close()


def log_of(seed: int, length: int, keys: int = 2, partitions: int = 2) -> MemoryLog:
    """Records whose level goes up and down, for some keys more than for others, with new keys now and then, gaps, and some that are no record."""
    rng = np.random.default_rng(seed)
    log = MemoryLog()
    for i in range(length):
        partition = Partition("topic", int(rng.integers(partitions)))
        if i % 97 == 50:
            log.skip(partition, 2)
        if i % 131 == 60:
            log.append(partition, b"{", key=b"\xff")
            continue
        key = int(rng.integers(keys)) if i % 150 else keys + i // 150
        up = (i // (240 * partitions)) % 2 * (0.6 + key)
        value = {"k": f"k{key}", "x": None if i % 41 == 7 else up + float(rng.normal()), "p": {"y": float(rng.exponential()) * (1 + up)},
                 "word": "abcd"[int(rng.integers(4 if up else 2))]}
        log.append(partition, json.dumps(value).encode(), key=f"m{key % 2}".encode(), timestamp=1_700_000_000_000 + i)
    return log


Spans = dict[Partition, list[tuple[int, str]]]      # up to which offset records were committed first under which variant


def live(log: MemoryLog, kept, lives: Sequence[Life], pace: Pace, polls: Sequence[int], rows_max: int = 100) -> tuple[Spans, list[str]]:
    """Let lives follow each other, and a last one with the last one's settings; return who committed what first, and where lives died."""
    spans: Spans = {partition: [] for partition in log.partitions()}
    died = []
    for plan in (*lives, Life(lives[-1].variant)):
        ending = Ending(plan)
        source, checkpoint = SteppedSource(MemorySource(log, polls, ends=True), ending), kept.open(ending)
        worker = life(source, checkpoint, pace, feeds(plan.variant, rows_max))
        ending.stop = worker.stop
        try:
            worker.run()
        except (Crash, Unavailable):        # also an outage in the midst of a stop
            pass
        finally:
            checkpoint.close()
        died += ending.died_at
        for partition, found in spans.items():
            progress = kept.entries(partition).progress
            found.append((progress.processed if progress else 0, plan.variant))
    return spans, died


class Reader:
    """What one reader finds of a feed in a partition: for each row the last offset, and a detector for each field."""

    def __init__(self, place: int, rows_max: int) -> None:
        self.place, self.rows_max = place, rows_max
        self.rows: dict[str, list] = {}
        self.found: list[tuple[int, int, int, DriftEvent]] = []

    def take(self, record, feed: Feed) -> None:
        key, value = usable(feed, record)
        if key is None:
            return
        if key not in self.rows:
            while len(self.rows) >= self.rows_max:
                del self.rows[min(self.rows, key=lambda name: self.rows[name][0])]
            self.rows[key] = [0, [field.fresh.clone(feed.stream(key, field.name)) for field in feed.fields]]
        row = self.rows[key]
        row[0] = record.offset
        for number, field in enumerate(feed.fields):
            now = field.fresh.clone(feed.stream(key, field.name))
            if row[1][number].settings != now.settings:
                row[1][number] = restored(now, cut(row[1][number]))
            x = value
            for name in field.path.split("."):
                x = x.get(name) if isinstance(x, dict) else None
            x = None if field.is_numeric and (isinstance(x, (str, bool))) else x
            if event := row[1][number].update(x):
                self.found.append((record.offset, self.place, number, event))


def read(log: MemoryLog, partition: Partition, spans: Sequence[tuple[int, str]], rows_max: int) -> list[Reader]:
    built = {variant: feeds(variant, rows_max) for variant in VARIANTS}
    readers = [Reader(place, rows_max) for place in range(2)]
    for record in log.read(partition, 0, 10**9):
        variant = next(name for end, name in spans if record.offset < end)
        for reader in readers:
            reader.take(record, built[variant][reader.place])
    return readers


def told(event: DriftEvent) -> str:
    """Return what the stream itself said, as text: NaN is NaN."""
    return repr({name: value for name, value in event.to_dict().items() if name not in NOT_OF_THE_STREAM})


def compare(log: MemoryLog, kept, spans: Spans, rows_max: int = 100) -> Counter:
    """See that what is kept is what readers find; return how many events there are of each kind."""
    events, kinds = kept.events(), Counter()
    for partition in log.partitions():
        readers = read(log, partition, spans[partition], rows_max)
        found = sorted((hit for reader in readers for hit in reader.found), key=lambda hit: hit[:3])
        names = feeds("as ever")
        ids = [identity(e.stream, offset, e.kind, APPLICATION, *partition, names[place].fields[number].name) for offset, place, number, e in found]
        mine = [event for event in events if event.source["partition"] == partition.number]
        assert [event.id for event in mine] == ids
        assert [told(event) for event in mine] == [told(event) for *_, event in found]
        kinds.update(event.kind for event in mine)
        entries = kept.entries(partition)
        assert entries.progress.replay_from == entries.progress.processed
        stored = {(name, key, field): Detector.of_state(join(pieces)).to_bytes()
                  for (name, key), row in entries.rows.items() for field, pieces in row.pieces.items()}
        assert stored == {(feed.name, key, field.name): detector.to_bytes() for reader, feed in zip(readers, names, strict=True)
                          for key, row in reader.rows.items() for field, detector in zip(feed.fields, row[1], strict=True)}
    return kinds


variants = st.sampled_from(sorted(VARIANTS))
hows = st.sampled_from(["crash", "crash", "stop"])
some_lives = st.lists(
    st.builds(Life, variants, st.none() | st.integers(1, 160), hows, st.just(()) | st.just(()) | st.tuples(st.integers(1, 120))),
    min_size=2, max_size=4)
paces = st.builds(
    lambda every, share, learning, replay, state: UNSAVED._replace(
        commit_every_records=every, state_share=share, learning_seconds=learning, replay_records=replay, commit_every_state_bytes=state),
    st.integers(20, 600), st.sampled_from([0.0, 0.0, 0.2, 5.0]), st.sampled_from([0.0, 0.05, 10.0]), st.sampled_from([10**9, 300]),
    st.sampled_from([2 << 20, 5_000]),
)


@given(
    seed=st.integers(0, 50), lives=some_lives, pace=paces, polls=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    rows_max=st.sampled_from([100, 2]), keys=st.integers(1, 3), partitions=st.integers(1, 2),
)
@settings(max_examples=40)
@example(1, [Life("as ever", 60), Life("large budget")], UNSAVED, [50], 100, 2, 1)
@example(1, [Life("large effects", 60), Life("any effect")], UNSAVED, [50], 100, 2, 1)
@example(2, [Life("as ever", 60), Life("rebaseline", 40), Life("high")], UNSAVED, [50], 100, 2, 1)
def test_changed_settings_take_hold_where_the_stored_state_ended_whatever_lives_come_before(seed, lives, pace, polls, rows_max, keys, partitions):
    log, kept = log_of(seed, 900 * partitions, keys, partitions), InMemory()
    spans, _ = live(log, kept, lives, pace, polls, rows_max)
    compare(log, kept, spans, rows_max)


@given(seed=st.integers(0, 50), lives=some_lives, pace=paces, polls=st.lists(st.integers(1, 200), min_size=1, max_size=3))
@settings(max_examples=10)
def test_the_same_holds_of_a_file_of_state(seed, lives, pace, polls):
    log = log_of(seed, 900, partitions=1)
    with tempfile.TemporaryDirectory() as folder:
        kept = InFile(f"{folder}/state.db")
        spans, _ = live(log, kept, lives, pace, polls)
        compare(log, kept, spans)


def test_whatever_step_the_second_life_ends_at_the_third_finds_the_same():
    """The second life replays under the first one's settings, saves, commits, restores and goes on: it ends at every step of that."""
    log, died, kinds = log_of(3, 700, partitions=1), Counter(), Counter()
    for step in range(10**6):
        kept = InMemory()
        pace = UNSAVED._replace(commit_every_records=200, commit_every_state_bytes=6_000)
        spans, at = live(log, kept, [Life("any effect", 45), Life("large budget", step), Life("soon")], pace, [60])
        kinds += compare(log, kept, spans)
        died.update(at[1:])
        if len(at) < 2:
            break
    assert {"poll", "polled", "start", "begin", "state", "progress", "commit", "committed"} <= set(died)
    assert min(kinds["drift.raised"], kinds["reference.rebaselined"], kinds["reference.learned"]) > 3
    assert step > 50


# ---------------------------------------------------------------- a file, and partitions that change hands


@pytest.mark.parametrize("rest", [0, 1, 400])
@pytest.mark.parametrize("second", [None, 3, 9, 14])
def test_the_end_of_a_file_is_met_under_the_new_settings(tmp_path, rest, second):
    """Also where the file ends with the last record of the replay, or was read to its end before that one was known to be the last."""
    values = np.random.default_rng(5).normal(size=500 + rest)
    values[430:] += 1.5
    path, kept = tmp_path / "in.jsonl", InMemory()
    log = MemoryLog()
    for x in values:
        log.append(P0, json.dumps({"k": "k0", "x": float(x), "p": {"y": float(x)}, "word": "a"}).encode())
    lines = [record.value + b"\n" for record in log.read(P0, 0, 10**9)]
    spans = []
    for size, plan in ((500, Life("large effects", 52)), (500 + rest, Life("any effect", second)), (500 + rest, Life("any effect"))):
        path.write_bytes(b"".join(lines[:size]))
        ending = Ending(plan)
        source = SteppedSource(FileRecords(str(path), "topic", "jsonl", block_bytes=4_000), ending)
        worker = life(source, kept.open(ending), UNSAVED, keyed_by_field(plan.variant))
        with suppress(Crash):
            worker.run()
        worker.close()
        spans.append((kept.entries(P0).progress.processed, plan.variant))
    assert 0 < spans[0][0] <= 500
    reader = Reader(0, 100)
    for record in log.read(P0, 0, 10**9):
        variant = next(name for end, name in spans if record.offset < end)
        reader.take(record, keyed_by_field(variant)[0])
    assert [(event.kind, event.source["last_offset"]) for event in kept.events()] == [
        (event.kind, offset) for offset, _, _, event in sorted(reader.found, key=lambda hit: hit[:3])]
    assert kept.entries(P0).progress.processed == 500 + rest


def keyed_by_field(variant: str) -> list[Feed]:
    return feeds(variant)[:1]


@given(
    seed=st.integers(0, 50), moves=st.dictionaries(st.integers(1, 90).map(lambda turn: 2 * turn), st.sampled_from([P0, P1]), min_size=1, max_size=8),
    polls=st.lists(st.integers(5, 40), min_size=1, max_size=3), pace=paces, one=variants, other=variants,
)
@settings(max_examples=15)
def test_a_partition_that_changes_hands_between_two_configurations_is_observed_under_that_of_its_holder(seed, moves, polls, pace, one, other):
    log, kept = log_of(seed, 1600), InMemory()
    scripts: list[dict[int, Rebalance]] = [{0: Rebalance((P0,))}, {0: Rebalance((P1,))}]
    holder = {P0: 0, P1: 1}
    for turn, partition in sorted(moves.items()):
        owner = holder[partition]
        scripts[owner][turn] = Rebalance(lost=(partition,))
        scripts[1 - owner][turn + 1] = Rebalance((partition,))
        holder[partition] = 1 - owner
    spans: Spans = {P0: [], P1: []}
    shared = kept.open(lambda step: None)           # one for both, as two instances have transactional ids of their own
    workers = [
        life(MemorySource(log, polls, script, ends=True), Noted(shared, kept, spans, variant), pace, feeds(variant))
        for script, variant in zip(scripts, (one, other), strict=True)
    ]
    for _ in range(200):
        for worker in workers:
            worker._turn()
    for worker in workers:
        worker.run()
        worker.close()
    compare(log, kept, spans)


class Noted:
    """A checkpoint that notes up to where a partition was committed under which variant."""

    def __init__(self, checkpoint: MemoryCheckpoint, kept: InMemory, spans: Spans, variant: str) -> None:
        self._checkpoint, self._kept, self._spans, self._variant = checkpoint, kept, spans, variant

    def commit(self, work) -> None:
        self._checkpoint.commit(work)
        for partition in work.changes:
            self._spans[partition].append((self._kept.entries(partition).progress.processed, self._variant))

    def __getattr__(self, name):
        return getattr(self._checkpoint, name)
