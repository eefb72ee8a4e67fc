"""The contract of `EventFeed`, held against each kind of place and against the twin."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import time

import pytest
from subscribing import OfFile, OfKafka, OfMemory, OfSqlite, event, events

from streamkl import adapters

SECONDS = 30.0
PLACES = [OfMemory, OfFile, OfSqlite, OfKafka]


@pytest.fixture(params=PLACES, ids=lambda one: one.__name__)
def place(request, tmp_path):
    made = request.param(request.getfixturevalue("broker") if request.param is OfKafka else tmp_path)
    yield made
    made.close()


def brought(feed, number):
    """The next messages, so many."""
    found, deadline = [], time.monotonic() + SECONDS
    while len(found) < number:
        assert time.monotonic() < deadline, f"{len(found)} of {number} after {SECONDS} s"
        found += feed.poll(0.1).items
    return found


def nothing(feed):
    """Whether nothing more comes, of a feed that has said what is there."""
    return not any(feed.poll(0.05).items for _ in range(4))


def settle(feed, items):
    feed.settle({item.partition: item.next_offset for item in items})


def test_every_feed_is_held_to_this_contract():
    modules = [importlib.import_module(f"streamkl.adapters.{one.name}") for one in pkgutil.iter_modules(adapters.__path__)]
    found = {one for module in modules for one in vars(module).values() if isinstance(one, type) and hasattr(one, "settle") and hasattr(one, "keep")}
    assert {one.__name__ for one in found} == {"MemoryFeed", "FileFeed", "SqliteFeed", "KafkaFeed"}


def test_each_event_comes_once_and_in_order(place):
    written = events(3, 4)
    place.write(written)
    feed = place.open()
    found = brought(feed, len(written))
    assert [item.event for item in found] == written
    assert all(before.next_offset < after.next_offset for before, after in itertools.pairwise(found))
    assert nothing(feed)
    place.write([event("later", 0)])
    assert [item.event.stream for item in brought(feed, 1)] == ["later"]
    feed.close()


def test_what_is_settled_does_not_come_again_and_what_is_not_does(place):
    written = events(1, 6)
    place.write(written)
    feed = place.open()
    settle(feed, brought(feed, 6)[:4])
    feed.close()
    again = place.open()
    assert [item.event for item in brought(again, 2)] == written[4:]
    assert nothing(again)
    again.close()


def test_nothing_settled_is_everything_again(place):
    place.write(events(1, 3))
    feed = place.open()
    brought(feed, 3)
    feed.close()
    again = place.open()
    assert [item.event for item in brought(again, 3)] == events(1, 3)
    again.close()


def test_what_is_no_event_and_what_is_of_a_newer_version_are_told_apart(place):
    place.write([event("a", 0)])
    place.write_foreign()
    place.write_newer(event("a", 1))
    place.write([event("a", 2)])
    feed = place.open()
    first, foreign, later, last = brought(feed, 4)
    assert (first.event, last.event) == (event("a", 0), event("a", 2))
    assert (foreign.event, foreign.fault) == (None, None)
    assert later.event is None
    assert "version" in later.fault
    assert later.record.value
    feed.close()


def test_a_feed_that_is_kept_brings_nothing_and_loses_nothing(place):
    place.write(events(1, 2))
    feed = place.open()
    settle(feed, brought(feed, 2))
    place.write([event("b", number) for number in range(5)])
    for _ in range(5):
        kept = feed.keep()
        assert (list(kept.items), list(kept.lost)) == ([], [])
        time.sleep(0.02)
    assert [item.event.index for item in brought(feed, 5)] == list(range(5))
    feed.close()


def test_closing_twice_is_fine(place):
    place.write(events(1, 1))
    feed = place.open()
    brought(feed, 1)
    feed.close()
    feed.close()
