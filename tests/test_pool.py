"""A pool is nothing but its streams' own detectors: events, bytes and readings are theirs, whatever comes beside them."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkl import ConfigError, Detector, DetectorPool, StateError
from streamkl.detect.event_time import NO_TIME
from streamkl.detect.slots import Slots

NAMES = ["a", "b/x", "c", "d"]
SHORT = {"warmup": 100, "mature_until": 900, "false_alarms": 300, "extend": 2}


def lives(seed: int, kind: str, length: int) -> tuple[list[str], list[object], list[int]]:
    """Interleaved streams with steps, outages and missing values, at uneven rates."""
    rng = np.random.default_rng(seed)
    streams = rng.choice(NAMES, size=length, p=[0.5, 0.25, 0.2, 0.05])
    level = dict(zip(NAMES, rng.normal(size=len(NAMES)), strict=True))
    values: list[object] = []
    for i, name in enumerate(streams):
        if i % 700 == 350:
            level[NAMES[seed % 3]] += 3.0
        x = level[name] + rng.normal()
        is_missing = rng.random() < 0.02
        values.append(None if is_missing else (float(x) if kind == "numeric" else "abcdefghij"[int(abs(x) * 2) % 10]))
    return streams.tolist(), values, (np.arange(length) * 10).tolist()


def one_by_one(streams, values, times, **setting):
    detectors, events = {}, []
    for i, (name, x, at) in enumerate(zip(streams, values, times, strict=True)):
        detector = detectors.setdefault(name, Detector(name=name, **setting))
        event = detector.update(x, at)
        if event:
            events.append(replace(event, position=i))
    return detectors, events


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
@pytest.mark.parametrize("setting", [{}, {"on_drift": "hold"}, {"alarm": "threshold", "window": 50}, {"mature_until": 0}, {"hold_for": 0}])
@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(1, 2999), max_size=6))
@settings(max_examples=8)
def test_a_pool_does_what_its_streams_detectors_do_one_by_one(kind, setting, seed, cuts):
    setting = {**SHORT, "kind": kind, **setting}
    streams, values, times = lives(seed, kind, 3000)
    detectors, expected = one_by_one(streams, values, times, **setting)
    pool, events = DetectorPool(**setting), []
    bounds = [0, *sorted(set(cuts)), len(values)]
    for start, end in pairwise(bounds):
        found = pool.update_many(streams[start:end], values[start:end], at=times[start:end])
        events += [replace(event, position=start + event.position) for event in found]
    assert events == expected
    assert {name: pool.to_bytes(name) for name in pool} == {name: detector.to_bytes() for name, detector in detectors.items()}
    assert {event.kind for event in expected} >= {"reference.learned"} or setting["alarm"] == "threshold"


@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(1, 2999), max_size=6), pattern=st.lists(st.booleans(), min_size=7, max_size=7))
@settings(max_examples=40)
def test_postponed_learning_changes_nothing_but_when_it_is_told(seed, cuts, pattern):
    streams, values, times = lives(seed, "numeric", 3000)
    detectors, expected = one_by_one(streams, values, times, **SHORT)
    slots, slot_of = Slots(), {}
    for name in detectors:
        slot_of[name] = slots.add([Detector(name=name, **SHORT)])
    places = np.array([slot_of[name] for name in streams])
    numbers = np.array(values, float)
    bounds = [0, *sorted(set(cuts)), len(values)]
    hits = []
    for (start, end), is_learning in zip(pairwise(bounds), pattern, strict=False):
        part = slice(start, end)
        hits += slots.take(places[part], numbers[part], np.array(times[part]), np.arange(start, end), is_postponing=True)
        if is_learning:
            hits += slots.learn()
    while slots.held:
        hits += slots.learn()
    assert sorted((hit.event for hit in hits), key=lambda event: event.position) == expected
    assert {name: slots.detector(slot).to_bytes() for name, slot in slot_of.items()} == {n: d.to_bytes() for n, d in detectors.items()}


def test_a_view_reads_what_the_detector_would_say_now():
    pool, alone = DetectorPool(**SHORT), Detector(name="s", **SHORT)
    values = np.random.default_rng(3).normal(size=555)
    for part in np.split(values, [150, 333, 401]):
        pool.update_many(["s"] * len(part), part)
        alone.update_many(part)
        view = pool["s"]
        assert (view.n, view.state, view.divergence("kl"), view.criterion(), view.to_bytes()) == (
            alone.n, alone.state, alone.divergence("kl"), alone.criterion(), alone.to_bytes())
    with pytest.raises(AttributeError, match="updated by the pool"):
        pool["s"].update(1.0)


def test_slots_are_names_of_streams_too():
    pool = DetectorPool(**SHORT)
    a, b = pool.slot("a"), pool.slot("b")
    assert pool.slot("a") == a != b
    pool.update_many(np.array([a, b, a]), [1.0, 2.0, 3.0])
    pool.update_many([a, b], [1.0, 2.0])
    assert (pool["a"].n, pool["b"].n, len(pool), list(pool)) == (3, 2, 2, ["a", "b"])


def test_a_discarded_stream_begins_anew_and_its_slot_is_used_again():
    pool = DetectorPool(**SHORT)
    pool.update_many(["a"] * 700, np.random.default_rng(1).normal(size=700))
    slot = pool.slot("a")
    pool.discard("a")
    assert "a" not in pool
    with pytest.raises(IndexError, match="holds no stream"):
        pool.update_many([slot], [1.0])
    assert pool.slot("new") == slot
    assert pool["new"].n == 0


def test_a_stored_stream_goes_on_in_another_pool():
    pool, other = DetectorPool(**SHORT), DetectorPool(**SHORT)
    values = np.random.default_rng(2).normal(size=1500)
    pool.update_many(["a"] * 1000, values[:1000])
    assert other.restore(pool.to_bytes("a")) == "a"
    assert other.update_many(["a"] * 500, values[1000:]) == pool.update_many(["a"] * 500, values[1000:])
    assert other.to_bytes("a") == pool.to_bytes("a")
    with pytest.raises(StateError):
        other.restore(b"rubbish")


def test_a_stream_that_another_thread_updates_is_not_read_half_way():
    pool = DetectorPool(reference=np.random.default_rng(6).normal(size=1000), false_alarms=1e15)
    slots, values = np.full(500_000, pool.slot("a")), np.random.default_rng(7).normal(size=500_000)
    feeding = threading.Thread(target=lambda: [pool.update_many(slots, values) for _ in range(4)])
    feeding.start()
    refused = 0
    while feeding.is_alive():
        try:
            pool.to_bytes("a")
        except RuntimeError:
            refused += 1
    feeding.join()
    assert refused
    assert pool["a"].n == 4 * len(values)


def test_rebaselining_through_the_pool_is_that_of_the_detector():
    pool, alone = DetectorPool(**SHORT), Detector(name="s", **SHORT)
    values = np.random.default_rng(4).normal(size=900)
    pool.update_many(["s"] * 500, values[:500])
    alone.update_many(values[:500])
    assert pool.rebaseline("s", "new sensor") == alone.rebaseline("new sensor")
    assert pool.update_many(["s"] * 400, values[500:]) == alone.update_many(values[500:])
    assert pool.to_bytes("s") == alone.to_bytes()


@pytest.mark.parametrize(("streams", "values", "at", "error"), [
    (["a"], [1.0, 2.0], None, ValueError), ("a", [1.0], None, TypeError), (["a"], ["x"], None, TypeError), (["a", 3], [1.0, 2.0], None, TypeError),
    ([7], [1.0], None, IndexError), ([-1], [1.0], None, IndexError), (["a"], [1.0], [1.5], ValueError), ([None], [1.0], None, TypeError),
    ([True], [1.0], None, TypeError), (["\ud800"], [1.0], None, ConfigError),
])
def test_wrong_input_is_refused_before_anything_is_taken(streams, values, at, error):
    pool = DetectorPool(**SHORT)
    pool.slot("a")
    with pytest.raises(error):
        pool.update_many(streams, values, at)
    assert pool["a"].n == 0


def test_a_wrong_setting_is_refused_when_the_pool_is_made():
    with pytest.raises(ConfigError, match="warmup"):
        DetectorPool(warmup=3)
    with pytest.raises(KeyError):
        DetectorPool()["unknown"]
    with pytest.raises(IndexError):
        Slots().detector(0)
    assert DetectorPool().update_many([], []) == []


def test_an_observation_without_a_time_has_none_in_its_event():
    pool = DetectorPool(reference=[i % 10 for i in range(1000)], false_alarms=1000)
    assert [event.at for event in pool.update_many(["s"] * 300, [5.0] * 300, at=[NO_TIME] * 300)] == [None]
