"""`streamkl run` as a process of its own on a real broker: what it publishes, how it ends, and how it goes on."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest
from serving import Monitor, World, headers_of, messages, until


@pytest.fixture
def make(broker, tmp_path):
    """Makes worlds, and ends what runs in them."""
    made: list[World] = []

    def world(**settings) -> World:
        made.append(World(broker, tmp_path, **settings))
        return made[-1]

    yield world
    for one in made:
        one.close()


def test_records_become_the_drift_events_and_dead_letters_that_a_reader_without_batches_finds(make):
    world = make(streams_max=21)
    world.produce(messages(1, 0, 6000, 2))
    running = world.run()
    world.wait_until_all_is_processed()
    assert running.end() == 0
    ids, dead = world.expected()
    assert world.ids() == ids
    assert world.dead() == dead
    kinds = Counter(event["kind"] for event in world.events())
    assert min(kinds["drift.raised"], kinds["drift.resolved"], kinds["reference.learned"]) > 3, kinds
    assert min(map(len, dead.values())) > 3
    assert world.tombstones() > 0                       # rows were forgotten, and so was what was stored of them
    assert world.offsets() == world.ends()              # at a graceful end all is saved
    assert world.broker.read(world.readings)
