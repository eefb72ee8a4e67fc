"""What the loop does beside its laws: it keeps its pace, outlives outages, says what it leaves out, and stops in order."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from flow import APPLICATION, SHORT, SteppedSource, expected, feeds, filled_log, life, run, ticking

from streamkl import Detector, RecordError, StateError, Unavailable
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore, Rebalance
from streamkl.adapters.prometheus import PrometheusMeter
from streamkl.service.entries import SETTINGS_KEY, Progress, checksum_of, understood
from streamkl.service.feed import Feed, Field
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.record import Partition
from streamkl.service.restoration import Policy
from streamkl.service.telemetry import Telemetry
from streamkl.service.thrift import Thrift
from streamkl.service.worker import Worker

P0, P1 = Partition("topic", 0), Partition("topic", 1)
PLAIN = Pace(commit_every_seconds=1e9, commit_every_records=200, readings_every_seconds=0)


def numbers_log(length: int, keys: int = 10, seed: int = 0) -> MemoryLog:
    rng = np.random.default_rng(seed)
    log = MemoryLog()
    for i in range(length):
        log.append(P0, json.dumps({"k": f"k{i % keys}", "x": float(rng.normal())}).encode(), timestamp=1_700_000_000_000 + i)
    return log


def one_feed(**settings) -> list[Feed]:
    return [Feed("topic", "s", (Field("x", "x", Detector(**{**SHORT, **settings})),), JsonRecordDecoder(["k", "x"]), key_path="k")]


def metered(source, checkpoint, pace, some_feeds, clock) -> tuple[Worker, PrometheusMeter]:
    meter = PrometheusMeter()
    telemetry = Telemetry(meter)
    holding = Holding(APPLICATION, some_feeds, source, checkpoint, telemetry, Policy(), clock)
    return Worker(source, checkpoint, holding, telemetry, pace, clock), meter


class Away:
    """A port that is away at some of its calls, counted from 0, and else is what it wraps."""

    def __init__(self, port, method: str, calls: set[int]) -> None:
        self._port, self._method, self._calls, self._count = port, method, calls, -1

    def __getattr__(self, name):
        found = getattr(self._port, name)
        if name != self._method:
            return found

        def call(*arguments):
            self._count += 1
            if self._count in self._calls:
                raise Unavailable(f"{name} is away")
            return found(*arguments)

        return call


@pytest.mark.parametrize("method", ["poll", "start", "pause", "lags"])
def test_a_source_that_is_away_for_a_while_changes_nothing(method):
    log = filled_log(seed=3, length=1500)
    pace = PLAIN._replace(longest_retry_seconds=0.0, lag_every_seconds=0.1)
    store = MemoryStore()
    source = Away(SteppedSource(MemorySource(log, (40,), ends=True), lambda step: None), method, {1, 3, 4, 9})
    worker = life(source, MemoryCheckpoint(store), pace, feeds(5))
    worker._stop.wait = lambda seconds: None        # the back-off itself takes real time
    worker.run()
    assert [event.id for event in sorted_by_place(store.events)] == flat(expected(log, feeds(5))[0])


@pytest.mark.parametrize("method", ["commit", "restore"])
def test_a_checkpoint_that_is_away_for_a_while_changes_nothing(method):
    log = filled_log(seed=4, length=1500)
    calm, _ = run(log, feeds(5), PLAIN)
    store = MemoryStore()
    checkpoint = Away(MemoryCheckpoint(store), method, {0, 2, 3, 6})
    worker = life(MemorySource(log, (40,), ends=True), checkpoint, PLAIN._replace(longest_retry_seconds=0.0), feeds(5))
    worker._stop.wait = lambda seconds: None
    worker.run()
    assert [e.id for e in sorted_by_place(store.events)] == [e.id for e in sorted_by_place(calm.events)]
    assert store.entries == calm.entries


def sorted_by_place(events):
    return sorted(events, key=lambda event: (event.source["partition"],))


def flat(ids):
    return [name for partition in sorted(ids) for name in ids[partition]]


def test_a_bad_record_stops_the_run_before_it_and_again_after_a_restart():
    log = numbers_log(500)
    bad = log.append(P0, b"{")
    for i in range(50):
        log.append(P0, json.dumps({"k": "k0", "x": float(i)}).encode())
    store, pace = MemoryStore(), PLAIN._replace(on_bad_record="stop")
    for _ in range(2):
        with pytest.raises(RecordError, match=rf"topic\[0\], offset {bad}: "):
            life(MemorySource(log, ends=True), MemoryCheckpoint(store), pace, one_feed()).run()
        assert understood(P0, store.entries[P0]).progress == Progress(1, bad, bad, APPLICATION, checksum_of(store.entries[P0][SETTINGS_KEY]))
        assert store.dead_letters == []
    life(MemorySource(log, ends=True), MemoryCheckpoint(store), PLAIN._replace(on_bad_record="skip"), one_feed()).run()
    assert understood(P0, store.entries[P0]).progress.processed == bad + 51
    assert store.dead_letters == []


def test_what_is_held_of_a_lost_partition_is_dropped_and_committed_by_nobody():
    log = filled_log(seed=5, length=600)
    store = MemoryStore()
    rebalances = {0: Rebalance(gained=(P0, P1)), 3: Rebalance(lost=(P1,))}
    worker = life(MemorySource(log, (30,), rebalances, ends=True), MemoryCheckpoint(store), PLAIN._replace(commit_every_records=10**9), feeds())
    worker.run()
    assert set(store.entries) == {P0}
    assert {event.source["partition"] for event in store.events} <= {0}


def test_a_fleet_that_learns_at_once_is_committed_only_once_it_has_learnt_and_polls_go_on():
    keys = 60
    log = numbers_log(keys * 130, keys)
    polls = []

    def at_step(step: str) -> None:
        polls.append(step)

    store = MemoryStore()
    source = SteppedSource(MemorySource(log, (500,), ends=True), at_step)
    checkpoint = MemoryCheckpoint(store, at_step)
    pace = PLAIN._replace(learning_seconds=0.0, commit_every_records=keys * 105)
    worker = life(source, checkpoint, pace, one_feed(extend=1, mature_until=0))
    worker.run()
    learned = [event for event in store.events if event.kind == "reference.learned"]
    assert [event.position for event in learned] == list(range(99 * keys, 100 * keys))
    first_commit = polls.index("begin")
    assert polls[:first_commit].count("poll") > keys * 105 // 500 + 20          # it went on polling while 60 streams learnt one by one
    assert understood(P0, store.entries[P0]).rows.keys() == {("s", f"k{i}") for i in range(keys)}


def test_every_stream_is_read_in_each_round_and_a_still_one_is_not_read_again():
    log = numbers_log(3000, keys=7)
    store = MemoryStore()
    pace = PLAIN._replace(readings_every_seconds=5.0)
    life(MemorySource(log, (100,), ends=True), MemoryCheckpoint(store), pace, one_feed(mature_until=0), clock=ticking(0.05)).run()
    rounds = Counter(reading.stream for reading in store.readings)
    assert set(rounds) == {f"s/k{i}/x" for i in range(7)}
    assert min(rounds.values()) >= 2
    assert len({(reading.stream, reading.offset) for reading in store.readings}) == len(store.readings)
    alone = {f"s/k{i}/x": Detector(name=f"s/k{i}/x", **{**SHORT, "mature_until": 0}) for i in range(7)}
    wanted = {(reading.stream, reading.offset): reading for reading in store.readings}
    for record in log.read(P0, 0, 3000):
        value = json.loads(record.value)
        detector = alone[f"s/{value['k']}/x"]
        detector.update(value["x"])
        if reading := wanted.get((detector.name, record.offset)):
            assert (reading.kl, reading.js, reading.state) == (detector.divergence("kl"), detector.divergence("js"), detector.state) or (
                detector.state == "learning")
            assert (reading.observations, reading.evidence, reading.budget) == (detector.n, detector.evidence, detector.budget)


@pytest.mark.parametrize(("share", "replay"), [(0.4, 10**6), (0.0, 400), (0.4, 250)])
def test_sketches_are_saved_within_their_share_of_the_input_and_within_the_replay_distance(share, replay):
    log = numbers_log(9000, keys=40)
    written, offsets = [], []

    class Watched(MemoryCheckpoint):
        def commit(self, work):
            for changes in work.changes.values():
                written.append(sum(len(v) for k, v in changes.items() if v and b"\xa1v" not in k[:4]))
            super().commit(work)
            offsets.append((work.replay_from[P0], understood(P0, store.entries[P0]).progress.processed))

    store = MemoryStore()
    pace = PLAIN._replace(state_share=share, replay_records=replay, commit_every_records=300)
    life(MemorySource(log, (100,), ends=True), Watched(store), pace, one_feed(mature_until=0)).run()
    behind = [processed - replay_from for replay_from, processed in offsets]
    assert max(behind) <= replay + 100
    if replay == 10**6:
        size = sum(len(record.value) for record in log.read(P0, 0, 9000))
        assert sum(written[:-1]) <= share * size + 8_000
        assert sum(written[:-1]) >= 0.5 * share * size


def test_thrift_earns_nothing_without_input():
    thrift = Thrift(0.4, 10**9)
    log = numbers_log(100)
    store = MemoryStore()
    worker = life(MemorySource(log, (100,), ends=True), MemoryCheckpoint(store), PLAIN._replace(state_share=0.0), one_feed())
    worker._turn()
    worker._turn()
    shard = worker._holding.shards[P0]
    assert shard.replay_from == 0
    assert thrift.save(P0, shard) == 0
    thrift.earn(P0, 10)
    assert thrift.save(P0, shard) > 0


def taken(length: int, pace: Pace):
    """A worker's shard that has taken so many records, none of it saved."""
    worker = life(MemorySource(numbers_log(length), (length,), ends=True), MemoryCheckpoint(MemoryStore()), pace, one_feed())
    worker._turn()
    worker._turn()
    return worker._holding.shards[P0]


def test_a_sketch_is_saved_only_once_a_restart_would_go_back_far_enough():
    shard = taken(100, PLAIN._replace(state_share=0.0))
    assert (shard.replay_from, shard.next_offset) == (0, 100)
    thrift = Thrift(1000.0, 10**9, save_after_records=100)
    thrift.earn(P0, 10**6)
    assert thrift.save(P0, shard) == 0
    thrift = Thrift(1000.0, 10**9, save_after_records=95)
    thrift.earn(P0, 10**6)
    assert thrift.save(P0, shard) > 0
    assert shard.replay_from == 5


def test_a_unit_of_work_is_committed_before_much_state_comes_together():
    sizes = []

    class Watched(MemoryCheckpoint):
        def commit(self, work):
            sizes.append(sum(len(value) for changes in work.changes.values() for value in changes.values() if value))
            super().commit(work)

    pace = PLAIN._replace(commit_every_records=10**9, state_share=1000.0, commit_every_state_bytes=30_000)
    life(MemorySource(numbers_log(3000), (20,), ends=True), Watched(MemoryStore()), pace, one_feed()).run()
    assert len(sizes) > 10
    assert max(sizes) < 2 * 30_000 + 10_000         # one turn more than asked for, with its ten rows


@pytest.mark.parametrize("has_restarted", [False, True])
def test_what_is_old_by_its_own_time_is_saved_though_nothing_was_earned(has_restarted):
    """Also by a process that has only just begun: retention goes by the records' times, whoever reads them."""
    log, now = numbers_log(100), [1_700_000_000_000 + 50]
    worker = life(MemorySource(log, (100,), ends=True), MemoryCheckpoint(MemoryStore()), PLAIN._replace(state_share=0.0), one_feed())
    worker._turn()
    worker._turn()
    shard = worker._holding.shards[P0]
    thrift = Thrift(0.0, 10**9, save_after_records=10**9, replay_seconds=3600.0, clock=lambda: now[0])
    if not has_restarted:
        thrift.earn(P0, 10, 100, 1_700_000_000_000)
        assert thrift.save(P0, shard) == 0
    now[0] += 3_600_000
    thrift.earn(P0, 10, 100, 1_700_000_000_000)
    assert thrift.save(P0, shard) > 0
    assert shard.replay_from == 100


def test_a_partition_that_stands_still_is_begun_anew_and_told():
    log = numbers_log(900)

    class Stalling(MemorySource):
        """Loses track of its partition after some polls, without an error, until it is started again."""

        def poll(self, timeout_seconds):
            if self._polls == 4:
                self.pause([P0])
            return super().poll(timeout_seconds)

    store = MemoryStore()
    worker, meter = metered(Stalling(log, (100,), ends=True), MemoryCheckpoint(store), PLAIN._replace(stall_seconds=10.0), one_feed(), ticking(0.1))
    worker.run()
    assert meter.value("streamkl_stalls_total") == 1
    assert understood(P0, store.entries[P0]).progress.processed == 900


def test_the_lag_is_what_is_not_committed_also_while_a_restart_replays():
    log = numbers_log(1000)
    store = MemoryStore()
    pace = PLAIN._replace(state_share=0.0, commit_every_records=400, lag_every_seconds=0.0)

    def lag_after(turns: int) -> float:
        worker, meter = metered(MemorySource(log, (100,)), MemoryCheckpoint(store), pace, one_feed(), ticking())
        for _ in range(turns):
            worker._turn()
        return meter.value("streamkl_consumer_lag_records", topic="topic", partition="0")

    assert lag_after(4) == 1000         # the first turn brings the partition; 300 were taken, and nothing is committed
    assert lag_after(5) == 600
    assert lag_after(2) == 600          # 100 of those that were processed are replayed


def test_a_stop_finishes_the_unit_of_work():
    log = numbers_log(1000)
    store = MemoryStore()
    worker = life(MemorySource(log, (90,)), MemoryCheckpoint(store), PLAIN._replace(commit_every_records=10**9), one_feed())
    for _ in range(4):      # the first one brings the partition
        worker._turn()
    worker.stop()
    worker.run()
    progress = understood(P0, store.entries[P0]).progress
    assert progress.processed == progress.replay_from == 270
    assert not worker.is_ready


def test_a_stop_that_cannot_finish_in_time_says_that_its_records_come_again():
    keys = 30
    log = numbers_log(keys * 110, keys)
    store = MemoryStore()
    pace = PLAIN._replace(commit_every_records=10**9, learning_seconds=0.0, shutdown_seconds=0.2)
    worker = life(MemorySource(log, (keys * 110,)), MemoryCheckpoint(store), pace, one_feed(extend=1), clock=ticking(0.1))
    worker._turn()
    worker._turn()
    worker.stop()
    with pytest.raises(Unavailable, match="come again"):
        worker.run()
    assert store.entries == {}


def test_an_evicted_stream_is_told_and_a_stalled_one_is_not():
    log = numbers_log(300, keys=6)
    some = [one_feed()[0]._replace(rows_max=4)]
    worker, meter = metered(MemorySource(log, (50,), ends=True), MemoryCheckpoint(MemoryStore()), PLAIN, some, ticking())
    worker.run()
    assert meter.value("streamkl_evictions_total") == 300 - 4
    assert meter.value("streamkl_streams") == 4


def test_a_log_that_begins_late_is_read_from_its_beginning():
    log = numbers_log(500)
    log.cut(P0, 200)
    store, _ = run(log, one_feed(), PLAIN)
    assert understood(P0, store.entries[P0]).progress.processed == 500
    assert {row.row.next_offset for row in understood(P0, store.entries[P0]).rows.values()} == set(range(491, 501))


def test_records_that_retention_took_are_refused_with_the_remedy_and_discarding_goes_on():
    log = numbers_log(500)
    store, _ = run(log, one_feed(), PLAIN)
    for i in range(100):
        log.append(P0, json.dumps({"k": "k1", "x": float(i)}).encode())
    log.cut(P0, 550)
    with pytest.raises(StateError, match="--discard-state"):
        run(log, one_feed(), PLAIN, store=store)
    run(log, one_feed(), PLAIN, store=store, policy=Policy(discard=("*",)))
    assert understood(P0, store.entries[P0]).progress.processed == 600
    assert list(understood(P0, store.entries[P0]).rows) == [("s", "k1")]


def test_reading_goes_on_where_a_commit_fails_that_waited_for_learning():
    keys = 40
    log = numbers_log(keys * 130, keys)
    store = MemoryStore()
    pace = PLAIN._replace(learning_seconds=0.0, commit_every_records=keys * 105, longest_retry_seconds=0.0)
    source = SteppedSource(MemorySource(log, (500,), ends=True), lambda step: None)
    worker = life(source, Away(MemoryCheckpoint(store), "commit", {0}), pace, one_feed(extend=1, mature_until=0))
    worker._stop.wait = lambda seconds: None
    for _ in range(1000):
        turn(worker)
        if worker._is_ended:
            break
    worker._finish()
    assert understood(P0, store.entries[P0]).progress.processed == keys * 130


def turn(worker: Worker) -> None:
    with suppress(Unavailable):
        worker._turn()


def test_a_pipe_keeps_its_unit_until_it_stands():
    log = numbers_log(2000)
    calm, _ = run(log, one_feed(), PLAIN)

    class Pipe(MemorySource):
        is_replayable = False

        def start(self, partition, offset):
            assert not self._positions.get(partition), "a pipe was read anew"
            return super().start(partition, offset)

    store = MemoryStore()
    worker = life(Pipe(log, (90,), ends=True), Away(MemoryCheckpoint(store), "commit", {1, 2, 5}), PLAIN, one_feed())
    worker._stop.wait = lambda seconds: None
    worker.run()
    assert [event.id for event in store.events] == [event.id for event in calm.events]
    assert store.entries == calm.entries


def test_a_file_that_ends_while_streams_wait_to_learn_is_finished_whatever_the_time_to_shut_down():
    keys = 30
    log = numbers_log(keys * 110, keys)
    store = MemoryStore()
    pace = PLAIN._replace(commit_every_records=10**9, learning_seconds=0.0, shutdown_seconds=1e-9)
    life(MemorySource(log, (keys * 110,), ends=True), MemoryCheckpoint(store), pace, one_feed(extend=1)).run()
    assert sum(event.kind == "reference.learned" for event in store.events) == keys


def test_polls_go_on_between_partitions_that_are_restored_and_only_then_it_is_ready():
    log = MemoryLog()
    for number in range(5):
        log.append(Partition("topic", number), b'{"k": "a", "x": 1}')
    steps = []
    worker = life(SteppedSource(MemorySource(log), steps.append), MemoryCheckpoint(MemoryStore()), PLAIN, one_feed())
    assert not worker.is_ready
    ready = []
    for _ in range(7):
        worker._turn()
        ready.append(worker.is_ready)
    assert steps[:9] == ["poll", "polled", "start"] * 3
    assert ready == [False, False, False, False, True, True, True]


def test_a_bad_record_that_was_skipped_does_not_stop_a_replay():
    log = numbers_log(300)
    log.append(P0, b"{")
    for i in range(300):
        log.append(P0, json.dumps({"k": f"k{i % 10}", "x": float(i)}).encode())
    store = MemoryStore()
    worker = life(MemorySource(log, (100,)), MemoryCheckpoint(store), PLAIN._replace(on_bad_record="skip", state_share=0.0), one_feed())
    for _ in range(6):
        worker._turn()
    progress = understood(P0, store.entries[P0]).progress
    assert progress.replay_from == 0
    assert progress.processed > 301
    life(MemorySource(log, (100,), ends=True), MemoryCheckpoint(store), PLAIN._replace(on_bad_record="stop"), one_feed()).run()
    assert understood(P0, store.entries[P0]).progress.processed == 601


def test_a_unit_of_large_bad_records_is_committed_before_it_is_large():
    log = MemoryLog()
    for _ in range(40):
        log.append(P0, b"x" * 1_000_000)
    sizes = []

    class Watched(MemoryCheckpoint):
        def commit(self, work):
            sizes.append(sum(len(letter.record.value) for letter in work.dead_letters))
            super().commit(work)

    life(MemorySource(log, (2,), ends=True), Watched(MemoryStore()), PLAIN._replace(commit_every_records=10**9), one_feed()).run()
    assert sum(sizes) == 40_000_000
    assert max(sizes) <= 6_000_000


def test_an_unknown_lag_is_no_reason_to_stop():
    log = numbers_log(900)
    store = MemoryStore()
    source = Away(MemorySource(log, (100,), ends=True), "lags", set(range(1000)))
    worker, meter = metered(source, MemoryCheckpoint(store), PLAIN._replace(lag_every_seconds=0.0), one_feed(), ticking())
    worker._stop.wait = None            # waiting would be an error
    worker.run()
    assert meter.value("streamkl_unavailable_total", what="lag") > 3
    assert understood(P0, store.entries[P0]).progress.processed == 900


def test_it_is_not_ready_while_a_partition_that_came_later_is_restored():
    log = filled_log(seed=6, length=300)
    seen = []
    rebalances = {0: Rebalance(gained=(P0,)), 4: Rebalance(gained=(P1,))}
    source = SteppedSource(MemorySource(log, (20,), rebalances), lambda step: seen.append(worker.is_ready) if step == "start" else None)
    worker = life(source, MemoryCheckpoint(MemoryStore()), PLAIN, feeds())
    ready = [worker._turn() or worker.is_ready for _ in range(8)]
    assert ready[2:] == [True] * 6
    assert seen == [False, False]


def test_the_state_of_another_application_is_refused():
    log = numbers_log(300)
    store, _ = run(log, one_feed(), PLAIN)
    telemetry = Telemetry(PrometheusMeter())
    source, checkpoint = MemorySource(log, ends=True), MemoryCheckpoint(store)
    holding = Holding("another", one_feed(), source, checkpoint, telemetry, Policy(), ticking())
    with pytest.raises(StateError, match="that of application 'test', not of 'another'"):
        Worker(source, checkpoint, holding, telemetry, PLAIN, ticking()).run()


def test_a_stop_after_a_commit_that_failed_does_not_say_that_all_is_committed():
    log = numbers_log(900)
    worker = life(MemorySource(log, (100,)), Away(MemoryCheckpoint(MemoryStore()), "commit", set(range(99))), PLAIN, one_feed())
    waits = []
    worker._stop.wait = lambda seconds: waits.append(seconds) or (worker.stop() if len(waits) == 5 else None)
    worker.run()
    assert worker.has_lost
    assert waits == sorted(waits)       # it is tried less and less often, though restoring works each time
    assert waits[-1] > waits[0]
