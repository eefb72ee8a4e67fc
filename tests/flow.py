"""A small world for the worker: a log of records, feeds over it, a clock that only moves when asked, and runs with crashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import numpy as np

from streamkl import Detector
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore, Rebalance
from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.detect.event import identity
from streamkl.service.feed import Feed, Field
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.record import Partition
from streamkl.service.restoration import Policy
from streamkl.service.telemetry import Telemetry
from streamkl.service.worker import Worker

SHORT = {"warmup": 100, "mature_until": 450, "false_alarms": 200, "extend": 2, "on_drift": "hold", "min_effect": 0.02}
APPLICATION = "test"


class Crash(BaseException):
    """The process dies here."""


class Steps:
    """Counts the steps of a run, over all its lives; dies at the steps of a plan."""

    def __init__(self, plan: Sequence[int] = ()) -> None:
        self._left = sorted(plan)
        self._count = count()
        self.died_at: list[str] = []

    def __call__(self, step: str) -> None:
        if next(self._count) in self._left:
            self.died_at.append(step)
            raise Crash(step)


class SteppedSource:
    """A source that dies around its polls and starts, too."""

    def __init__(self, source, at_step: Callable[[str], None]) -> None:
        self._source, self._at_step, self.is_replayable = source, at_step, source.is_replayable

    def poll(self, timeout_seconds):
        self._at_step("poll")
        arrivals = self._source.poll(timeout_seconds)
        self._at_step("polled")
        return arrivals

    def start(self, partition, offset):
        self._at_step("start")
        return self._source.start(partition, offset)

    def __getattr__(self, name):
        return getattr(self._source, name)


def feeds(rows_max: int = 100, settings: Mapping[str, object] = SHORT, **overrides) -> list[Feed]:
    """Two feeds over one topic: numbers and texts by a field, and one number by the message key."""
    one = (
        Field("x", "x", Detector(**settings)),
        Field("deep", "p.y", Detector(**settings)),
        Field("word", "word", Detector(kind="categorical", **settings)),
    )
    two = (Field("x", "x", Detector(**settings)),)
    decoder = JsonRecordDecoder(["k", "x", "p.y", "word", "t"])
    return [
        Feed("topic", "one", one, decoder, key_path="k", time_path="t", rows_max=rows_max),
        Feed("topic", "two", two, decoder, is_keyed=True, rows_max=rows_max, **overrides),
    ]


def filled_log(seed: int, length: int, keys: int = 5, partitions: int = 2, bad: float = 0.01) -> MemoryLog:
    """Records of keys that come at uneven rates, some only for a while, with steps, gaps in the offsets, and rubbish."""
    rng = np.random.default_rng(seed)
    log = MemoryLog()
    for number in range(partitions):
        log.create(Partition("topic", number))
    for i in range(length):
        partition = Partition("topic", int(rng.integers(partitions)))
        if rng.random() < 0.01:
            log.skip(partition, int(rng.integers(1, 4)))
        if rng.random() < bad:
            log.append(partition, [None, b"", b"{", b'{"k": ""}', b"[1]"][int(rng.integers(5))], key=b"\xff" if rng.random() < 0.5 else b"m0")
            continue
        key = int(rng.integers(keys)) if rng.random() < 0.9 else keys + i // 200
        shift = 3.0 if (i // 600) % 2 and key % 2 else 0.0
        x, y, word = shift + float(rng.normal()), float(rng.exponential()), "abcd"[int(rng.integers(3 + key % 2))]
        value = {"k": f"k{key}", "x": x, "p": {"y": y}, "word": word}
        if rng.random() < 0.05:
            value["x"] = [None, "12ms", True][int(rng.integers(3))]
        log.append(partition, json.dumps({**value, "t": 1_700_000_000_000 + i}).encode(), key=f"m{key % 3}".encode(), timestamp=1_700_000_000_000 + i)
    return log


def ticking(step: float = 0.01) -> Callable[[], float]:
    """A clock that moves by a step whenever it is asked."""
    ticks = count()
    return lambda: next(ticks) * step


def life(source, checkpoint, pace: Pace, some_feeds: Sequence[Feed], policy: Policy = Policy(), clock=None) -> Worker:  # noqa: B008
    """One life of a process."""
    clock = clock or ticking()
    telemetry = Telemetry(PrometheusMeter())
    holding = Holding(APPLICATION, some_feeds, source, checkpoint, telemetry, policy, clock)
    return Worker(source, checkpoint, holding, telemetry, pace, clock)


def run(
    log: MemoryLog, some_feeds: Sequence[Feed], pace: Pace, crashes: Sequence[int] = (), poll_sizes: Sequence[int] = (50,),
    checkpoint_of: Callable[[object, Callable[[str], None]], object] = MemoryCheckpoint, store: object = None, policy: Policy = Policy(),  # noqa: B008
    rebalances: Mapping[int, Rebalance] | None = None,
) -> tuple[object, Steps]:
    """Run to the end of the log, dying at some steps; return what outlives the processes."""
    store, steps = MemoryStore() if store is None else store, Steps(crashes)
    while True:
        source = SteppedSource(MemorySource(log, poll_sizes, rebalances, ends=True), steps)
        rebalances = None
        try:
            checkpoint = checkpoint_of(store, steps)
            worker = life(source, checkpoint, pace, some_feeds, policy)
            worker.run()
        except Crash:
            if hasattr(checkpoint, "close"):
                checkpoint.close()
            continue
        worker.close()
        return store, steps


def expected(log: MemoryLog, some_feeds: Sequence[Feed]) -> tuple[dict[Partition, list[str]], dict[Partition, list[int]]]:
    """What a reader without batches, pools, snapshots or restarts finds: ids of events, offsets of dead letters, by partition."""
    ids: dict[Partition, list[str]] = {}
    dead: dict[Partition, list[int]] = {}
    for partition in log.partitions():
        found, ids[partition], dead[partition] = [], [], []
        for place, feed in enumerate(some_feeds):
            rows: dict[str, list] = {}
            for record in log.read(partition, 0, 10**9):
                key, value = usable(feed, record)
                if key is None:
                    if record.offset not in dead[partition]:
                        dead[partition].append(record.offset)
                    continue
                if key not in rows:
                    while len(rows) >= feed.rows_max:
                        del rows[min(rows, key=lambda name: rows[name][0])]
                    rows[key] = [0, [field.fresh.clone(feed.stream(key, field.name)) for field in feed.fields]]
                rows[key][0] = record.offset
                for number, (field, detector) in enumerate(zip(feed.fields, rows[key][1], strict=True)):
                    x = value
                    for name in field.path.split("."):
                        x = x.get(name) if isinstance(x, dict) else None
                    x = None if field.is_numeric and (isinstance(x, (str, bool))) else x
                    if event := detector.update(x):
                        found.append((record.offset, place, number, event))
        for offset, place, number, event in sorted(found, key=lambda hit: hit[:3]):
            field = some_feeds[place].fields[number].name
            ids[partition].append(identity(event.stream, offset, event.kind, APPLICATION, *partition, field))
        dead[partition].sort()
    return ids, dead


def usable(feed: Feed, record) -> tuple[str | None, object]:
    try:
        value = json.loads(record.value or b"")
    except ValueError:
        return None, None
    if not isinstance(value, dict):
        return None, None
    try:
        key = record.key.decode() if feed.is_keyed else value.get("k")
    except UnicodeDecodeError:
        return None, None
    return key or None, value
