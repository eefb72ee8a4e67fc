"""Memory: a log of records, a source that reads it, and a checkpoint whose store outlives a crash; the twins of Kafka and of SQLite.

Rule 1: nothing here reads a clock or waits: what a poll brings follows from the arguments alone.
Rule 2: the twins keep the text of the ports, and refuse what a broker refuses: offsets that retention has taken, a process whose place is taken,
and a member of an older generation than the one that committed a partition last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Literal, NamedTuple

from streamkl.adapters.commit_steps import BEGIN, COMMIT, COMMITTED, DEAD_LETTERS, EVENTS, PROGRESS, READINGS, STATE, AtStep, go_on
from streamkl.detect.event import DriftEvent
from streamkl.errors import StateError, Unavailable
from streamkl.service.record import Arrivals, Headers, Partition, PlainRecord, Run
from streamkl.service.work import DeadLetter, Reading, Restored, UnitOfWork

DISCARD = "discard the state to begin anew with: streamkl run CONFIG --discard-state '*'"


class MemoryLog:
    """Topics of partitions of records.

    >>> log = MemoryLog()
    >>> log.append(Partition("t", 0), b"one"), log.append(Partition("t", 0), b"two")
    (0, 1)
    """

    def __init__(self) -> None:
        self._records: dict[Partition, list[PlainRecord]] = {}
        self._starts: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._generation = 0

    def append(
        self, partition: Partition, value: bytes | None, key: bytes | None = None, timestamp: int | None = None, headers: Headers = ()
    ) -> int:
        """Add a record at the end of a partition, which need not be there before; return its offset."""
        self.create(partition)
        offset = self._ends[partition]
        self._records[partition].append(PlainRecord(partition.topic, partition.number, offset, timestamp, key, value, headers))
        self._ends[partition] = offset + 1
        return offset

    def create(self, partition: Partition) -> None:
        """Let there be an empty partition, unless it is there."""
        self._records.setdefault(partition, [])
        self._starts.setdefault(partition, 0)
        self._ends.setdefault(partition, 0)

    def skip(self, partition: Partition, offsets: int) -> None:
        """Leave offsets without a record, as control records and compaction do."""
        self.create(partition)
        self._ends[partition] += offsets

    def cut(self, partition: Partition, start: int) -> None:
        """Let retention take all records before an offset."""
        self._starts[partition] = start
        self._ends[partition] = max(start, self._ends[partition])
        self._records[partition] = [record for record in self._records[partition] if record.offset >= start]

    def partitions(self) -> list[Partition]:
        """Return the partitions, in the order of their creation."""
        return list(self._records)

    def rebalanced(self) -> int:
        """Return the next generation of the group that reads the log: one group, however many sources there are or were."""
        self._generation += 1
        return self._generation

    def start(self, partition: Partition) -> int:
        """Return the first offset that may still be read."""
        return self._starts[partition]

    def end(self, partition: Partition) -> int:
        """Return the offset that the next record will have."""
        return self._ends[partition]

    def read(self, partition: Partition, offset: int, most: int) -> list[PlainRecord]:
        """Return so many records at most, from an offset on."""
        records = self._records[partition]
        low, high = 0, len(records)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if records[middle].offset < offset else (low, middle)
        return records[low : low + most]


class Rebalance(NamedTuple):
    """What one poll brings besides records."""

    gained: Sequence[Partition] = ()
    lost: Sequence[Partition] = ()


class MemorySource:
    """Reads a log; see `RecordSource` in `service/ports.py` for what it guarantees.

    poll_sizes: the most records of each poll, over and over again; 0 is a poll that brings none. rebalances: number of the poll, from 0, to
    what is gained and lost by it; None: the first poll gains every partition of the log. begin: where `start(partition, None)` begins.
    ends: whether a poll says `is_end` once all has been handed out; a topic never does.
    >>> log, partition = MemoryLog(), Partition("t", 0)
    >>> _ = log.append(partition, b"one")
    >>> source = MemorySource(log)
    >>> source.poll(0.0).gained
    (Partition(topic='t', number=0),)
    >>> source.start(partition, 0)
    0
    >>> [record.value for record in source.poll(0.0).runs[0].records]
    [b'one']
    """

    is_replayable = True

    def __init__(
        self,
        log: MemoryLog,
        poll_sizes: Sequence[int] = (500,),
        rebalances: Mapping[int, Rebalance] | None = None,
        begin: Literal["earliest", "latest"] = "earliest",
        ends: bool = False,
    ) -> None:
        if not any(poll_sizes):
            raise ValueError(f"poll_sizes={list(poll_sizes)} would never bring a record; one of them must be at least 1")
        self._log = log
        self._sizes = cycle(poll_sizes)
        self._rebalances = dict(rebalances) if rebalances is not None else {0: Rebalance(gained=tuple(log.partitions()))}
        self._begin = begin
        self._ends = ends
        self._polls = 0
        self._generation = 0
        self._positions: dict[Partition, int | None] = {}  # of the partitions held; None: not started
        self._paused: set[Partition] = set()

    def poll(self, timeout_seconds: float) -> Arrivals:
        """Return the next records and what the script has for this poll; never wait."""
        gained, lost = self._rebalances.pop(self._polls, Rebalance())
        self._polls += 1
        if gained or lost:
            self._generation = self._log.rebalanced()
        for partition in lost:
            del self._positions[partition]
            self._paused.discard(partition)
        self._positions.update(dict.fromkeys(gained))
        runs = self._runs(next(self._sizes))
        is_end = self._ends and not runs and not self._rebalances and self._is_drained()
        return Arrivals(runs, gained, lost, is_end, self._generation)

    def start(self, partition: Partition, offset: int | None) -> int:
        """Read a partition from this offset on; return it. Raises StateError where the log no longer, or not yet, reaches there."""
        first, end = self._log.start(partition), self._log.end(partition)
        if offset is None:
            offset = first if self._begin == "earliest" else end
        if not first <= offset <= end:
            what = f"records before {first} are gone (retention)" if offset < first else f"it ends at {end} (was it made anew?)"
            raise StateError(f"{partition} cannot be read from offset {offset}: {what}; {DISCARD}")
        if partition not in self._positions:
            raise ValueError(f"{partition} is not held, so it cannot be started")
        self._positions[partition] = offset
        self._paused.discard(partition)
        return offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Bring no records of these until `resume`."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Bring records of these again."""
        self._paused.difference_update(partitions)

    def lags(self) -> Mapping[Partition, int]:
        """Return how many offsets lie between what was handed out and the end, of each partition that is held."""
        return {p: self._log.end(p) - (self._log.start(p) if at is None else at) for p, at in self._positions.items()}

    def close(self) -> None:
        """Leave."""
        self._positions.clear()

    def _runs(self, most: int) -> list[Run]:
        runs: list[Run] = []
        held = list(self._positions.items())
        turn = self._polls % len(held) if held else 0  # so that no partition starves behind another
        for partition, position in held[turn:] + held[:turn]:
            if position is None or partition in self._paused or most <= 0:
                continue
            if records := self._log.read(partition, position, most):
                runs.append(Run(partition, records))
                self._positions[partition] = records[-1].offset + 1
                most -= len(records)
        return runs

    def _is_drained(self) -> bool:
        return all(position is not None and not self._log.read(p, position, 1) for p, position in self._positions.items())


@dataclass(slots=True)
class MemoryStore:
    """What survives a crash: the entries and progress of each partition, and all events, dead letters and readings in order of commit."""

    entries: dict[Partition, dict[bytes, bytes]] = field(default_factory=dict)
    replay_from: dict[Partition, int] = field(default_factory=dict)
    generations: dict[Partition, int] = field(default_factory=dict)    # the newest that committed
    events: list[DriftEvent] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    owner: object = None


class MemoryCheckpoint:
    """Commits to a store; see `Checkpoint` in `service/ports.py` for what it guarantees.

    Opening one takes the place of the one before: that one's next commit raises StateError. A unit whose membership is a generation (a number,
    as of MemorySource) raises Unavailable where a newer one committed one of its partitions. at_step: called at each of COMMIT_STEPS; what it
    raises goes through, and the store is as a crash at this step would leave it. Nothing is deduplicated, as in a topic.
    >>> checkpoint = MemoryCheckpoint(MemoryStore())
    >>> checkpoint.commit(UnitOfWork({Partition("t", 0): 7}, {Partition("t", 0): {b"k": b"v"}}))
    >>> checkpoint.restore(Partition("t", 0))
    Restored(replay_from=7, entries={b'k': b'v'})
    """

    def __init__(self, store: MemoryStore, at_step: AtStep | None = None) -> None:
        self._store = store
        self._at_step = at_step or go_on
        store.owner = self

    def restore(self, partition: Partition) -> Restored:
        """Return all that was committed of a partition."""
        return Restored(self._store.replay_from.get(partition), dict(self._store.entries.get(partition, {})))

    def commit(self, work: UnitOfWork) -> None:
        """Make all of a unit stand, or nothing of it: everything is prepared beside the store, and put in its place at once."""
        store, at_step = self._store, self._at_step
        at_step(BEGIN)
        if store.owner is not self:
            raise StateError("another process has taken the place of this one in the same store; stop one of the two")
        generations = self._generations(work)
        at_step(STATE)
        entries = {partition: _changed(store.entries.get(partition, {}), changes) for partition, changes in work.changes.items()}
        at_step(PROGRESS)
        replay_from = dict(work.replay_from)
        at_step(EVENTS)
        events = list(work.events)
        at_step(DEAD_LETTERS)
        dead_letters = list(work.dead_letters)
        at_step(READINGS)
        readings = list(work.readings)
        at_step(COMMIT)
        store.generations.update(generations)
        store.entries.update(entries)
        store.replay_from.update(replay_from)
        store.events += events
        store.dead_letters += dead_letters
        store.readings += readings
        at_step(COMMITTED)

    def _generations(self, work: UnitOfWork) -> dict[Partition, int]:
        """Return partition -> generation of a unit. Raises Unavailable where a newer one was here."""
        generation = work.membership
        if not isinstance(generation, int):
            return {}
        for partition in (*work.replay_from, *work.changes):
            newest = self._store.generations.get(partition, generation)
            if generation < newest:
                raise Unavailable(f"{partition} was committed by generation {newest} of the group, we are of {generation}; it is tried again")
        return dict.fromkeys((*work.replay_from, *work.changes), generation)

    def close(self) -> None:
        """Let go of the store, which keeps what was committed."""


def _changed(entries: Mapping[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
    """Return entries with changes; None deletes."""
    return {key: value for key, value in {**entries, **changes}.items() if value is not None}
