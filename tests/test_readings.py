"""Readings at the end of a source: what a short file leaves behind to be plotted."""

from __future__ import annotations

import json

import pytest
from flow import SHORT, life

from streamkl import Detector
from streamkl.adapters.json_record_decoder import JsonRecordDecoder
from streamkl.adapters.memory import MemoryCheckpoint, MemoryLog, MemorySource, MemoryStore
from streamkl.service.feed import Feed, Field
from streamkl.service.pace import Pace
from streamkl.service.record import Partition

P0 = Partition("topic", 0)


def run(store: MemoryStore, log: MemoryLog, every_seconds: float) -> None:
    feed = Feed("topic", "s", (Field("x", "x", Detector(**SHORT)),), JsonRecordDecoder(["k", "x"]), key_path="k")
    life(MemorySource(log, (100,), ends=True), MemoryCheckpoint(store), Pace(readings_every_seconds=every_seconds), [feed]).run()


def grow(log: MemoryLog, records: int, keys: int) -> None:
    for i in range(records):
        log.append(P0, json.dumps({"k": f"k{i % keys}", "x": i % 17}).encode())


@pytest.mark.parametrize("every_seconds", [1e9, 0.2])
def test_where_the_source_ends_each_stream_that_moved_is_read_at_its_last_record(every_seconds):
    store, log = MemoryStore(), MemoryLog()
    grow(log, 605, keys=5)
    run(store, log, every_seconds)
    last = {reading.stream: reading.offset for reading in store.readings}
    assert last == {f"s/k{i}/x": 600 + i for i in range(5)}
    before = len(store.readings)
    grow(log, 40, keys=2)
    run(store, log, every_seconds)
    assert {reading.stream: reading.offset for reading in store.readings[before:]} == {"s/k0/x": 643, "s/k1/x": 644}
    after = len(store.readings)
    run(store, log, every_seconds)
    assert len(store.readings) == after


def test_where_readings_are_off_the_end_brings_none():
    store, log = MemoryStore(), MemoryLog()
    grow(log, 605, keys=5)
    run(store, log, 0)
    assert store.readings == []
