"""A subscriber that is killed again and again, over a real broker, a state file and a file: nothing is lost, and the order is kept."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from subscribing import OfFile, OfKafka, OfSqlite, event

from streamkl.service.incoming import of_message

SECONDS = 120.0
EVENTS, STREAMS, KILLS = 1000, 20, 5
LIFE = Path(__file__).with_name("subscriber_life.py")
WRITTEN = [event(f"s{number % STREAMS}", number) for number in range(EVENTS)]
DEAD = {one.id for one in WRITTEN if one.id.endswith("23")}


class Lives:
    """A subscriber, and who kills it."""

    def __init__(self, url: str, group: str, folder: Path) -> None:
        self._command = [sys.executable, "-P", str(LIFE), url, group, str(folder / "store"), str(folder / "taken")]
        self._log = folder / "taken"
        self._errors = (folder / "errors").open("w")
        self._process: subprocess.Popen[bytes] | None = None

    def taken(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def begin(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=self._errors)

    def until(self, number: int) -> None:
        """Wait until so many different events were taken."""
        deadline = time.monotonic() + SECONDS
        while len(set(self.taken())) < number:
            assert self._process.poll() is None, f"the subscriber ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"{len(set(self.taken()))} of {number} events after {SECONDS} s"
            time.sleep(0.01)

    def end(self, number: int) -> int:
        self._process.send_signal(number)
        return self._process.wait(30)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
        self._errors.close()


@pytest.fixture(params=[OfKafka, OfSqlite, OfFile], ids=lambda one: one.__name__)
def place(request, tmp_path):
    made = OfKafka(request.getfixturevalue("broker"), partitions=3) if request.param is OfKafka else request.param(tmp_path)
    yield made
    made.close()


def write_slowly(place) -> None:
    for begin in range(0, EVENTS, 50):
        place.write(WRITTEN[begin : begin + 50])
        time.sleep(0.1)


def test_a_subscriber_that_is_killed_loses_nothing_and_keeps_the_order(place, tmp_path):
    if isinstance(place, OfKafka):
        letters = place.broker.topic(name=f"{place.topic}.{place.group}.dead-letters")
    lives = Lives(place.url, getattr(place, "group", "group"), tmp_path)
    writer = threading.Thread(target=write_slowly, args=(place,))
    rng = random.Random(1)
    with contextlib.closing(lives):
        writer.start()
        for kill in range(1, KILLS + 1):
            lives.begin()
            lives.until(kill * EVENTS // (KILLS + 2) + rng.randrange(40))
            assert lives.end(signal.SIGKILL) == -signal.SIGKILL
        lives.begin()
        lives.until(EVENTS - len(DEAD))
        writer.join()
        time.sleep(0.5)                              # what would come too often comes now
        assert lives.end(signal.SIGTERM) == 0
        taken = lives.taken()
    assert set(taken) == {one.id for one in WRITTEN} - DEAD
    assert len(taken) - len(set(taken)) <= KILLS
    for stream in range(STREAMS):
        mine = [one for one in dict.fromkeys(taken) if one.startswith(f"s{stream} ")]
        assert mine == [one.id for one in WRITTEN if one.stream == f"s{stream}" and one.id not in DEAD]
    if isinstance(place, OfKafka):
        found = [of_message(record, record.offset + 1).event for record in place.broker.read(letters)]
        assert {one.id for one in found} == DEAD
