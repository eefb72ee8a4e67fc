"""Commands among the records: a run with crashes in which they come at any step, and what a reader without any of that finds.

The reader knows one detector for each stream. When a key's turn came is asked of the life that did it; what a crash took back was not done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from flow import APPLICATION, Crash, SteppedSource, Steps, ticking, usable

from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore
from streamkl.adapters.memory_control import MemoryCommands
from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.detect.detector import Detector
from streamkl.detect.event import DriftEvent, identity
from streamkl.detect.pieces import join
from streamkl.service import execution
from streamkl.service.command import Command
from streamkl.service.control import Control
from streamkl.service.entries import PartitionEntries, understood
from streamkl.service.feed import Feed
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.record import Partition
from streamkl.service.restoration import Policy
from streamkl.service.shard import Shard
from streamkl.service.telemetry import Telemetry
from streamkl.service.worker import Worker

BEGIN_MS = 1_700_000_000_000
BY_TIME, BY_RECORD = 10**15, 10**16
GLOBS = ("*", "*", "one/*", "one/k1/*", "one/*/x", "two/m1/*", "*/x", "one/k0/word", "nothing/*")


class Act(NamedTuple):
    """at: the data offset before which it was done. own: the command's own. is_felt: it changed something; what did not may be tried again."""

    at: int
    own: int
    command: Command
    is_felt: bool


class Sent(NamedTuple):
    """A message of the control topic, and the step of the run at which it comes. command: or rubbish."""

    step: int
    command: Command | bytes


class Script(Steps):
    """The steps of a run: commands come at some, the process dies at others."""

    def __init__(self, crashes: Sequence[int], topic: MemoryCommands, sent: Sequence[Sent]) -> None:
        super().__init__(crashes)
        self._topic, self._sent, self._taken = topic, sorted(sent, key=lambda one: one.step), 0
        self.acts: dict[tuple[Partition, int, str], list[Act]] = {}         # committed
        self.open: list[tuple[tuple[Partition, int, str], Act]] = []        # and not

    def __call__(self, step: str) -> None:
        self._taken += 1
        if step == "committed":
            for where, act in self.open:
                self.acts.setdefault(where, []).append(act)
            self.open = []
        while self._sent and self._sent[0].step <= self._taken:
            self.send(self._sent.pop(0).command)
        super().__call__(step)

    def send(self, command: Command | bytes) -> None:
        if isinstance(command, bytes):
            self._topic.messages.append((command, []))
        else:
            self._topic.send(command)

    def rest(self) -> None:
        while self._sent:
            self.send(self._sent.pop(0).command)


def some_commands(seed: int, count: int, records: int, steps: int) -> list[Sent]:
    """Commands of all kinds; some come twice, some are none, some contradict those before."""
    rng = np.random.default_rng([seed, 77])
    sent: list[Sent] = []
    for i in range(count):
        step = int(rng.integers(steps))
        if sent and rng.random() < 0.15:
            sent.append(Sent(step, sent[int(rng.integers(len(sent)))].command))
            continue
        if rng.random() < 0.1:
            sent.append(Sent(step, [b"{", b'{"command": "explode"}', b""][int(rng.integers(3))]))
            continue
        name = str(rng.choice(["rebaseline", "undo", "silence", "unsilence", "forget"], p=[0.4, 0.1, 0.35, 0.1, 0.05]))
        takes_time = name == "silence" or (name == "rebaseline" and rng.random() < 0.5)
        at = BEGIN_MS + max(0, records * step // steps + int(rng.integers(-100, 100)))
        glob = GLOBS[int(rng.integers(len(GLOBS)))]
        sent.append(Sent(step, Command(f"c{i}", name, glob, f"reason {i}", "ann", at, int(rng.integers(1, records // 3)) if takes_time else None)))
    return sent


class Silent:
    """A log that costs nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Noting(Telemetry):
    """Notes when commands were begun and finished: (partition, id) -> the least data offset of a beginning, and that of the last end."""

    def __init__(self) -> None:
        super().__init__(PrometheusMeter())
        self._log = Silent()
        self.begun: dict[tuple[Partition, str], int] = {}
        self.ended: dict[tuple[Partition, str], int] = {}
        self.offsets: dict[tuple[Partition, str], int] = {}     # of the message that was carried out

    def command_carried_out(self, command, partition, next_offset, matched, touched):
        self.ended[partition, command.id] = next_offset
        super().command_carried_out(command, partition, next_offset, matched, touched)


class Done(NamedTuple):
    """What a run left. acts: (partition, feed, key) -> what was done to that key, in commits that stand. topic: the commands."""

    store: object
    steps: Script
    acts: Mapping[tuple[Partition, int, str], list[Act]]
    telemetry: Noting
    topic: MemoryCommands


def run_commanded(
    log: MemoryLog, some_feeds: Sequence[Feed], pace: Pace, sent: Sequence[Sent], crashes: Sequence[int] = (), polls: Sequence[int] = (50,),
    checkpoint_of: Callable[[object, Callable[[str], None]], object] = MemoryCheckpoint, store: object = None, keys_at_once: int = 2,
) -> Done:
    """Run to the end of the log and of the commands."""
    store, topic = MemoryStore() if store is None else store, MemoryCommands()
    steps = Script(crashes, topic, sent)
    act = execution._act

    def noted(shard, place, row, fields, undertaking):
        before, where = undertaking.touched, (shard.partition, place, row.key)
        saved = act(shard, place, row, fields, undertaking)
        steps.open.append((where, Act(shard.next_offset, undertaking.offset, undertaking.command, undertaking.touched > before)))
        return saved

    telemetry, undertake = Noting(), Shard.undertake

    def begun(shard, offset, command):
        where = shard.partition, command.id
        telemetry.offsets[where] = offset
        telemetry.begun[where] = min(shard.next_offset, telemetry.begun.get(where, shard.next_offset))
        undertake(shard, offset, command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamkl.service.control.KEYS_AT_ONCE", keys_at_once)
        patch.setattr(execution, "_act", noted)
        patch.setattr(Shard, "undertake", begun)
        is_over = False
        while not is_over:
            source = SteppedSource(MemorySource(log, polls, None, ends=True), steps)
            checkpoint, is_all = None, not steps._sent
            try:
                checkpoint = checkpoint_of(store, steps)
                clock = ticking()
                holding = Holding(APPLICATION, some_feeds, source, checkpoint, telemetry, Policy(), clock)
                worker = Worker(source, checkpoint, holding, telemetry, pace, clock, Control(holding, topic, telemetry, clock))
                worker.run()
                worker.close()
                is_over = is_all                # whatever came too late for this life comes in another one
                steps.rest()
            except Crash:
                steps.open = []
                with suppress(AttributeError):
                    checkpoint.close()
    return Done(store, steps, steps.acts, telemetry, topic)


class Stream:
    """One stream of the reader: a plain detector, and what stands of it."""

    def __init__(self, name: str, fresh: Detector) -> None:
        self.name, self.fresh = name, fresh
        self.forget()

    def forget(self) -> None:
        self.detector = self.fresh.clone(self.name)
        self.silenced_until: int | None = None
        self.accept: tuple[int, int, str, str] | None = None

    def command(self, command: Command) -> DriftEvent | None:
        det, reason, by = self.detector, command.reason, command.by
        if command.name == "silence":
            self.silenced_until = command.at + command.for_ms
            until = np.datetime64(self.silenced_until, "ms")
            return det.life.remark("stream.silenced", f"{reason} (until {until}Z)", by)
        if command.name == "unsilence":
            was, self.silenced_until = self.silenced_until, None
            return None if was is None else det.life.remark("stream.unsilenced", reason, by)
        if command.name == "undo":
            event = det.undo_rebaseline(f"undo: {reason}", by)
            self.accept = None if event else self.accept
            return event
        if command.name == "rebaseline":
            if command.for_ms is None:
                self.accept = self.accept if det.state == "learning" else None
                return det.rebaseline(reason, by)
            if det.state == "drifting":
                self.accept = (command.at + command.for_ms, det.life.episode_number, reason, by)
            return None
        event = det.life.remark("stream.forgotten", reason, by)
        self.forget()
        return event

    def time_comes(self, at: int) -> list[DriftEvent]:
        told = []
        if self.silenced_until is not None and at >= self.silenced_until:
            self.silenced_until = None
            is_open = self.detector.state == "drifting"
            still = f"; episode {self.detector.life.episode_number} is open" if is_open else ""
            told.append(self.detector.life.remark("stream.unsilenced", f"its time was up{still}", ""))
        if self.accept is not None and at >= self.accept[0]:
            (_, episode, reason, by), self.accept = self.accept, None
            if self.detector.state == "drifting" and self.detector.life.episode_number == episode:
                told += [event for event in [self.detector.rebaseline(reason, by)] if event]
        return told


class Found(NamedTuple):
    """What the reader finds in a partition. events: in order. rows: (feed, key) -> its streams. lives: of keys: feed, key, birth, end."""

    events: list[DriftEvent]
    rows: dict[tuple[int, str], list[Stream]]
    lives: list[tuple[int, str, int, float]]


def found_by_a_reader(log: MemoryLog, some_feeds: Sequence[Feed], acts: Mapping[tuple[Partition, int, str], list[Act]]) -> dict[Partition, Found]:
    """What a reader without batches, pools, snapshots or restarts finds, by partition."""
    return {partition: _read(log, partition, some_feeds, acts) for partition in log.partitions()}


def _read(log: MemoryLog, partition: Partition, some_feeds: Sequence[Feed], acts: Mapping[tuple[Partition, int, str], list[Act]]) -> Found:
    told: list[tuple[int, int, int, int, DriftEvent]] = []
    rows: dict[tuple[int, str], list[Stream]] = {}
    lives: list[tuple[int, str, int, float]] = []
    births: dict[tuple[int, str], int] = {}

    def end(place: int, key: str, offset: float) -> None:
        lives.append((place, key, births.pop((place, key)), offset))
        del rows[place, key]

    for place, feed in enumerate(some_feeds):
        mine = ((key, some) for (at, where, key), some in acts.items() if (at, where) == (partition, place))
        waiting = sorted(((*act, key) for key, some in mine for act in some), key=lambda one: one[:2])
        last: dict[str, int] = {}

        def act_until(offset: float, place=place, feed=feed, waiting=waiting, last=last) -> None:
            while waiting and waiting[0][0] <= offset:
                at, own, command, _, key = waiting.pop(0)
                matching = [i for i, field in enumerate(feed.fields) if _matches(feed.stream(key, field.name), command.streams)]
                for i in matching:
                    event = rows[place, key][i].command(command)
                    if event:
                        told.append((at, own, place, i, _as_told(partition, feed, i, event, at, command.at, command.id)))
                if command.name == "forget" and len(matching) == len(feed.fields):
                    end(place, key, at)
                    del last[key]

        for record in log.read(partition, 0, 10**9):
            act_until(record.offset)
            key, value = usable(feed, record)
            if key is None:
                continue
            if (place, key) not in rows:
                while len(last) >= feed.rows_max:
                    idle = min(last, key=lambda name: last[name])
                    del last[idle]
                    end(place, idle, record.offset)
                births[place, key] = record.offset
                rows[place, key] = [Stream(feed.stream(key, field.name), field.fresh) for field in feed.fields]
            last[key] = record.offset
            at = value["t"] if feed.time_path else record.timestamp
            for i, (field, stream) in enumerate(zip(feed.fields, rows[place, key], strict=True)):
                for event in [] if at is None else stream.time_comes(at):
                    told.append((record.offset, BY_TIME, place, i, _as_told(partition, feed, i, event, record.offset, at)))
                is_silenced = stream.silenced_until is not None
                if event := stream.detector.update(_value(value, field), at):
                    shown = replace(event, silenced=is_silenced and event.kind.startswith("drift."))
                    told.append((record.offset, BY_RECORD, place, i, _as_told(partition, feed, i, shown, record.offset, at)))
        act_until(float("inf"))
    lives += [(place, key, birth, float("inf")) for (place, key), birth in births.items()]
    return Found([event for *_, event in sorted(told, key=lambda one: one[:4])], rows, lives)


def _as_told(partition: Partition, feed: Feed, field: int, event: DriftEvent, offset: int, at: int, command: str = "") -> DriftEvent:
    name = identity(event.stream, offset, event.kind, APPLICATION, *partition, feed.fields[field].name, command)
    return replace(event, id=name, group=feed.name, position=offset, at=at)


def _matches(stream: str, glob: str) -> bool:
    parts = glob.split("*")
    if len(parts) == 1:
        return stream == glob
    at = len(parts[0])
    if not stream.startswith(parts[0]):
        return False
    for part in parts[1:-1]:
        if (at := stream.find(part, at)) < 0:
            return False
        at += len(part)
    return stream.endswith(parts[-1]) and len(stream) - len(parts[-1]) >= at


def _value(value: Mapping[str, object], field) -> object:
    for name in field.path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return None if field.is_numeric and isinstance(value, (str, bool)) else value


def check(
    log: MemoryLog, some_feeds: Sequence[Feed], done: Done, events: Sequence[DriftEvent], entries: Mapping[Partition, Mapping[bytes, bytes]]
) -> None:
    """See that what was told and what is stored is what the reader finds."""
    for partition, found in found_by_a_reader(log, some_feeds, done.acts).items():
        mine = [event for event in events if (event.source["topic"], event.source["partition"]) == partition]
        check_once(partition, some_feeds, done, found)
        assert by_stream(mine) == by_stream(found.events)
        check_stored(some_feeds, understood(partition, entries[partition]), found)


def check_once(partition: Partition, some_feeds: Sequence[Feed], done: Done, found: Found) -> None:
    """See that each command acted once on each key that was there all the while, in the order of the topic, and that none was left out."""
    acts = {(place, key): some for (at, place, key), some in done.acts.items() if at == partition}
    for some in acts.values():
        felt = [act for act in some if act.is_felt]
        assert [act.own for act in felt] == sorted({act.own for act in felt})
        assert len({act.command.id for act in felt}) == len(felt)
    ours = min((offset for (at, _), offset in done.telemetry.offsets.items() if at == partition), default=10**9)
    first: dict[str, tuple[int, Command]] = {}
    for offset, command in done.topic.read(0).commands:
        if isinstance(command, Command) and offset >= ours:
            first.setdefault(command.id, (offset, command))
    assert {id: offset for (at, id), offset in done.telemetry.offsets.items() if at == partition} == {id: offset for id, (offset, _) in first.items()}
    for _, command in first.values():
        begun, ended = done.telemetry.begun[partition, command.id], done.telemetry.ended[partition, command.id]
        for place, key, birth, end in found.lives:
            names = (some_feeds[place].stream(key, field.name) for field in some_feeds[place].fields)
            if birth < begun and end > ended and any(_matches(name, command.streams) for name in names):
                assert command.id in {act.command.id for act in acts.get((place, key), [])}, (command, place, key)


def check_stored(some_feeds: Sequence[Feed], stored: PartitionEntries, found: Found) -> None:
    names = [feed.name for feed in some_feeds]
    assert {(names.index(name), key) for name, key in stored.rows} == set(found.rows)
    for (name, key), row in stored.rows.items():
        for field, stream in zip(row.row.fields, found.rows[names.index(name), key], strict=True):
            assert join(row.pieces[field.field]) == stream.detector.to_state(), stream.name
            standing = field.standing
            assert (standing.silenced_until if standing else None) == stream.silenced_until
            accept = (standing.accept_at, standing.episode, standing.reason, standing.by) if standing and standing.accept_at is not None else None
            assert accept == stream.accept


def by_stream(events: Sequence[DriftEvent]) -> dict[str, list[dict[str, object]]]:
    """What was told of each stream, in order; where it came from is not compared here."""
    found: dict[str, list[dict[str, object]]] = {}
    for event in events:
        found.setdefault(event.stream, []).append({**event.to_dict(), "source": None})
    return found
