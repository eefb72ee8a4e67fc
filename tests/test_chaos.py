"""The law on a real broker: `kill -9` under load, in every step of a commit, changes nothing of what is found.

Drift events in order of first appearance, dead letters, and the final state bit for bit are those of one uninterrupted run over the same log, and
of a reader without batches, commits and restarts. STREAMKL_CHAOS_KILLS: how often, at least 16; figures are printed.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos_lives import STAGES, Notes
from serving import SECONDS, Monitor, World, messages, until

from streamkl.adapters.kafka_checkpoint import STEPS

KILLS = int(os.environ.get("STREAMKL_CHAOS_KILLS", "55"))
PER_SECOND = 300
CHUNK = 20
TARGETS = (*STEPS, "poll", "detect", "learn", "snapshot", "unit", "restore", "start")
HOW = ("there", "soon", "whenever")
LIFE_SECONDS = 3.0


class Load:
    """Records that keep coming, from a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world, self._stop, self.sent = world, threading.Event(), 0
        self._thread = threading.Thread(target=self._send, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        producer = self._world.broker.producer()
        while not self._stop.wait(CHUNK / PER_SECOND):
            for partition, key, value, headers in messages(11, self.sent, CHUNK, self._world.partitions):
                producer.send(self._world.input, partition=partition, key=key, value=value, headers=headers)
            self.sent += CHUNK
        producer.flush()
        producer.close()


class Killer:
    """Begins lives and ends them, one after the other. hits: what each was doing when it died."""

    def __init__(self, config: str, folder: Path) -> None:
        self.notes = Notes.create(folder / "notes")
        self._path = folder / "lives.log"
        self._log = self._path.open("wb")
        command = [sys.executable, str(Path(__file__).with_name("chaos_lives.py")), config, str(folder / "notes")]
        self._lives = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.hits: list[str] = []
        self.restarts: list[float] = []             # seconds to the first record

    def begin(self, wait_at: str | None = None, nth: int = 0) -> int:
        self.notes.begin(wait_at, nth)
        self._lives.stdin.write("live\n")
        self._lives.stdin.flush()
        return int(self._lives.stdout.readline())

    def end(self, pid: int, number: signal.Signals) -> int:
        """Send a signal to the life and return its exit code."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            raise AssertionError(f"the life ended by itself:\n{self._path.read_text()[-2000:]}") from None
        return int(self._lives.stdout.readline())

    def kill(self, target: str, how: str, rng: random.Random) -> None:
        """Begin a life and kill it: "there", where it waits for it; "soon", a moment after it came there; "whenever", at any time."""
        nth = 0 if target in ("start", "restore") else rng.randrange(3)
        pid = self.begin(target if how == "there" else None, nth)
        deadline = time.monotonic() + (rng.uniform(0.0, 2.5) if how == "whenever" else LIFE_SECONDS)
        while time.monotonic() < deadline:
            is_due = self.notes.is_waiting or (how == "soon" and self.notes.doing == target and (nth == 0 or self.notes.first_record_seconds))
            if is_due:
                break
            time.sleep(0.0001)
        if how == "soon":
            time.sleep(rng.random() * 0.002)
        assert self.end(pid, signal.SIGKILL) == -signal.SIGKILL
        self.hits.append(self.notes.doing)
        if (seconds := self.notes.first_record_seconds) is not None:
            self.restarts.append(seconds)

    def close(self) -> None:
        self._lives.stdin.close()
        self._lives.kill()
        self._lives.wait()
        self._lives.stdout.close()
        self._log.close()


@pytest.fixture
def world(broker, tmp_path):
    made = World(broker, tmp_path, streams_max=21)
    yield made
    made.close()


def test_kills_under_load_lose_repeat_and_change_nothing(world, tmp_path, record_property):
    began, rng = time.monotonic(), random.Random(12)
    changes = {"source.session_timeout_seconds": 1, "commit.every_seconds": 0.1, "state.replay_records_max": 1000}
    killer = Killer(world.config(changes), tmp_path)
    try:
        with Load(world) as load:
            for number in range(KILLS):
                killer.kill(TARGETS[number % len(TARGETS)], "there" if number < len(TARGETS) else rng.choice(HOW), rng)
        under_load = time.monotonic() - began
        pid = killer.begin()
        world.wait_until_all_is_processed()
        assert killer.end(pid, signal.SIGTERM) == 0
    finally:
        killer.close()
    hits = Counter(killer.hits)
    shown = ", ".join(f"{stage} {hits[stage]}" for stage in STAGES if hits[stage])
    restart = f"{min(killer.restarts):.2f} to {max(killer.restarts):.2f} s, median {statistics.median(killer.restarts):.2f} s"
    record_property("told", f"{KILLS} kills in {under_load:.0f} s while {load.sent} records came; killed at: {shown}; restart: {restart}")
    rough = world.ids(), world.dead(), world.entries()
    assert sum(map(len, rough[0].values())) > 2 * KILLS
    assert min(map(len, rough[1].values())) > KILLS / 2
    assert world.tombstones() > 0
    assert (rough[0], rough[1]) == world.expected()
    assert uninterrupted(world) == rough
    assert set(STEPS) <= set(hits), hits


def uninterrupted(world: World) -> tuple:
    """What one run over the same log leaves, which commits nothing until its end."""
    world.take_new_outputs()
    monitor = Monitor()
    running = world.run(changes={"commit.every_seconds": 3600, "commit.every_records": 10_000_000, "monitoring.port": monitor.port})
    total = sum(world.ends().values())
    until(lambda: monitor.metric("streamkl_records_total") == total, f"all of {total} records", SECONDS, every=0.2)
    assert running.end() == 0
    return world.ids(), world.dead(), world.entries()


@pytest.mark.parametrize("step", ["begin", "commit"])
def test_what_a_frozen_member_had_not_committed_is_another_s_and_is_refused_when_it_thaws(world, tmp_path, step):
    changes = {"source.session_timeout_seconds": 1, "source.poll_records_max": 100, "commit.every_seconds": 0.1}
    changes["source.transaction_timeout_seconds"] = 5
    world.produce(messages(13, 0, 3000, 2))
    killer = Killer(world.config({**changes, "source.instance": "frozen"}), tmp_path)
    try:
        pid = killer.begin(step, nth=2)
        until(lambda: killer.notes.is_waiting, f"a commit at {step}")
        os.kill(pid, signal.SIGSTOP)
        successor = world.run(changes={**changes, "source.instance": "successor"})
        world.wait_until_all_is_processed()
        killer.notes.release()
        os.kill(pid, signal.SIGCONT)
        until(lambda: b"outside.failed" in (tmp_path / "lives.log").read_bytes(), "the refusal of the commit")
        world.produce(messages(13, 3000, 500, 2))
        world.wait_until_all_is_processed()
        until(lambda: (tmp_path / "lives.log").read_bytes().count(b'"state.restored"') >= 3, "one partition of two to be its own again")
        assert killer.end(pid, signal.SIGTERM) == 0
        assert successor.end() == 0
    finally:
        killer.close()
    assert (world.ids(), world.dead()) == world.expected()
