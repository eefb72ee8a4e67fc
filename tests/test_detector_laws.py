"""Laws of the Detector: what holds for every stream, every setting and every way of feeding it."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specification.evidence import CategoricalBins, NumericBins
from specification.shapes import SHAPES, make

from streamkl import Detector, Reference, divergence

SETTINGS = {
    "learns": {"warmup": 120, "window": 40, "false_alarms": 300, "hold_for": 0},
    "rebaselines late": {"warmup": 100, "window": 30, "false_alarms": 200, "hold_for": 250, "stride": 2},
    "holds": {"warmup": 150, "window": 60, "false_alarms": 400, "on_drift": "hold", "min_effect": 0.02},
    "budget alone": {"warmup": 100, "window": 30, "false_alarms": 1000, "min_effect": None, "stride": 3},
    "threshold kl": {"warmup": 120, "window": 60, "alarm": "threshold", "measure": "kl", "raise_at": 0.15, "resolve_at": 0.07},
    "threshold js": {"warmup": 120, "window": 60, "alarm": "threshold", "measure": "js", "raise_at": 0.04, "resolve_at": 0.02, "hold_for": 80},
}


def swinging(name, seed, n=900, turn=300):
    """A stream that leaves its distribution and comes back; numeric: by three units as well."""
    kind, reference, calm = make(name, seed=seed, m=400, n=n, change=None)
    _, _, moved = make(name, seed=seed, m=400, n=n, change=0)
    if kind == "numeric":
        return kind, reference, np.where((np.arange(n) // turn) % 2 == 1, moved + 3.0, calm)
    return kind, reference, [(moved if (i // turn) % 2 else calm)[i] for i in range(n)]


def one_by_one(det, values):
    return [event for event in map(det.update, values) if event is not None]


def told(events):
    return [event.to_dict() for event in events]


names = st.sampled_from(list(SHAPES))
seeds = st.integers(0, 10**6)
which = st.sampled_from(list(SETTINGS))


@given(names, seeds, which, st.booleans(), st.lists(st.integers(0, 900), max_size=8))
@settings(max_examples=80)
def test_a_batch_causes_the_events_that_its_observations_cause_one_by_one(name, seed, setting, is_given, cuts):
    kind, reference, values = swinging(name, seed)
    single = Detector(reference if is_given else None, kind=kind, **SETTINGS[setting])
    batched = single.clone()
    expected = one_by_one(single, values)
    found = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(values)], strict=True):
        events = batched.update_many(values[start:end])
        assert [e.position for e in events] == [e.index - start for e in events]
        assert batched.drift_detected == any(e.kind == "drift.raised" for e in events)
        found += events
    assert [{**e.to_dict(), "position": None} for e in found] == [{**e.to_dict(), "position": None} for e in expected]
    assert batched.to_bytes() == single.to_bytes()
    assert batched.evidence == single.evidence


@given(names, seeds, which, st.booleans(), st.lists(st.integers(0, 900), min_size=1, max_size=4), st.one_of(st.none(), st.integers(0, 899)))
@settings(max_examples=80)
def test_a_restored_detector_goes_on_bit_for_bit(name, seed, setting, is_given, stops, by_hand):
    kind, reference, values = swinging(name, seed)
    calm = Detector(reference if is_given else None, kind=kind, **SETTINGS[setting])
    rough = calm.clone()
    calm_events, rough_events = [], []
    for t, x in enumerate(values):
        if t in stops:
            blob = rough.to_bytes()
            rough = Detector.from_bytes(blob)
            assert rough.to_bytes() == blob
            assert (rough.state, rough.n, rough.evidence, rough.budget) == (calm.state, calm.n, calm.evidence, calm.budget)
        for det, events in ((calm, calm_events), (rough, rough_events)):
            events.append(det.update(x))
            if t == by_hand:
                events.append(det.rebaseline("by hand"))
    assert told(e for e in rough_events if e) == told(e for e in calm_events if e)
    assert rough.to_bytes() == calm.to_bytes()


def test_a_restored_detector_goes_on_bit_for_bit_from_every_state():
    x = np.random.default_rng(1).standard_normal(1500)
    x[600:] += 3.0
    det = Detector(warmup=200, window=50, false_alarms=5000, on_drift="hold")
    seen = set()
    blobs = []
    for t, value in enumerate(x):
        det.update(value)
        if t == 650:
            assert det.state == "drifting"
            assert det.rebaseline("pending") is None
        pending = det.state == "drifting" and t >= 650
        if t in (0, 100, 199, 200, 201, 450, 640, 655, 700, 900, 1200):
            seen.add("pending" if pending else det.state)
            blobs.append((t, det.to_bytes()))
    assert seen == {"learning", "watching", "drifting", "pending"}
    for t, blob in blobs:
        restored = Detector.from_bytes(blob)
        for event_at, value in enumerate(x[t + 1 :], t + 1):
            restored.update(value)
            if event_at == 650:
                restored.rebaseline("pending")
        assert restored.to_bytes() == det.to_bytes()


@pytest.mark.parametrize("stride", [1, 3])
def test_a_detector_restored_at_any_observation_before_an_alarm_rolls_back_to_the_same_reference(stride):
    values = np.random.default_rng(4).standard_normal(700)
    values[400:] += 0.8                     # the wealth rises over many observations, the counts to roll back to stay behind
    det = Detector(np.random.default_rng(5).standard_normal(400), window=50, false_alarms=5000, stride=stride)
    blobs = [det.to_bytes()]
    events = []
    for value in values:
        events.append(det.update(value))
        blobs.append(det.to_bytes())
    raised = next(e.index for e in events if e and e.kind == "drift.raised")
    assert 405 < raised < 650
    for cut in range(350, raised + 1):
        restored = Detector.from_bytes(blobs[cut])
        restored.update_many(values[cut:raised + 20])
        assert restored.to_bytes() == blobs[raised + 20], f"cut at {cut}"


@given(names, seeds, which, st.booleans())
@settings(max_examples=30)
def test_a_clone_is_fresh_and_lives_the_same_life(name, seed, setting, is_given):
    kind, reference, values = swinging(name, seed)
    first = Detector(reference if is_given else None, kind=kind, **SETTINGS[setting])
    blob = first.to_bytes()
    events = first.update_many(values)
    clone = first.clone()
    assert clone.n == 0
    assert clone.to_bytes() == blob
    assert told(clone.update_many(values)) == told(events)


@given(names, seeds, st.integers(20, 300), st.integers(1, 500))
@settings(max_examples=60)
def test_the_histogram_counts_the_last_values_of_the_window_exactly(name, seed, window, seen):
    kind, reference, values = swinging(name, seed, n=500, turn=120)
    det = Detector(reference, kind=kind, window=window, false_alarms=1e9)
    det.update_many(values[:seen])
    bins = NumericBins(reference) if kind == "numeric" else CategoricalBins(reference)
    histogram = det.histogram()
    assert np.array_equal(histogram.window, np.bincount(bins.index(values[max(0, seen - window) : seen]), minlength=bins.k))
    assert np.array_equal(histogram.reference, np.bincount(bins.index(reference), minlength=bins.k))
    assert len(histogram.labels) == bins.k == len(set(histogram.labels))
    assert list(histogram.labels[-2:]) == ["novel" if kind == "numeric" else "other", "missing"]


def test_a_learnt_reference_prefills_the_window_and_a_given_one_does_not():
    x = np.random.default_rng(3).standard_normal(400)
    learnt = Detector(warmup=400, window=90)
    assert [e.kind for e in learnt.update_many(x)] == ["reference.learned"]
    assert np.array_equal(learnt.histogram().window, np.bincount(NumericBins(x).index(x[-90:]), minlength=len(learnt.histogram().window)))
    given_one = Detector(x, window=90)
    assert given_one.histogram().window.sum() == 0
    estimate = given_one.divergence("kl")
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.plug_in)
    assert (estimate.low, estimate.high) == (0, math.inf)
    assert given_one.contributions("kl") == []


@given(names, seeds, st.integers(1, 600))
@settings(max_examples=60)
def test_the_plug_in_divergence_is_that_of_the_histogram_and_contributions_add_up_to_it(name, seed, seen):
    kind, reference, values = swinging(name, seed)
    det = Detector(reference, kind=kind, window=100, false_alarms=1e9)
    det.update_many(values[:seen])
    h = det.histogram()
    estimate = det.divergence("kl")
    assert estimate.plug_in == pytest.approx(divergence.kl(h.window, h.reference, smoothing=0.5), abs=1e-12)
    assert estimate.unit == "nats"
    assert estimate.low <= estimate.value <= estimate.high
    assert det.divergence("kl", base=2).plug_in == pytest.approx(estimate.plug_in / math.log(2), rel=1e-12)
    for measure in ("kl", "js"):
        shares = det.contributions(measure)
        assert math.fsum(nats for _, nats in shares) == pytest.approx(det.divergence(measure).plug_in, abs=1e-12)
        assert [nats for _, nats in shares] == sorted((nats for _, nats in shares), reverse=True)
        assert {label for label, _ in shares} <= set(h.labels)


@given(st.sampled_from(["normal", "cauchy", "rounded normal", "poisson", "5 % missing", "novel values"]), seeds, which,
       st.integers(-8, 8), st.integers(-1000, 1000), st.booleans())
@settings(max_examples=40)
def test_a_strictly_increasing_map_of_reference_and_values_changes_no_event(name, seed, setting, power, shift, is_given):
    _, reference, values = swinging(name, seed)
    reference, values = (np.round(np.clip(v, -1e6, 1e6) * 1024) / 1024 for v in (reference, values))
    plain = Detector(reference if is_given else None, **SETTINGS[setting])
    mapped = Detector(reference * 2.0**power + shift if is_given else None, **SETTINGS[setting])
    events, mapped_events = plain.update_many(values), mapped.update_many(values * 2.0**power + shift)
    assert [(e.id, e.evidence, e.divergence) for e in events] == [(e.id, e.evidence, e.divergence) for e in mapped_events]
    assert plain.evidence == mapped.evidence
    assert np.array_equal(plain.histogram().window, mapped.histogram().window)


@given(names, seeds, which, st.booleans(), st.integers(100, 400))
@settings(max_examples=60)
def test_an_episode_raises_once_and_ends_at_most_once_before_the_next(name, seed, setting, is_given, turn):
    kind, reference, values = swinging(name, seed, n=2000, turn=turn)
    det = Detector(reference if is_given else None, kind=kind, name="s", **SETTINGS[setting])
    events = det.update_many(values)
    if not is_given and events:
        assert events[0].kind == "reference.learned"
    life = [e for e in events if e.kind != "reference.learned"]
    assert [e.reason[:7] for e in events if e.kind == "reference.learned"][1:] == ["matured"] * max(0, len(events) - len(life) - 1)
    assert not (is_given and len(events) > len(life) and "reference.rebaselined" not in {e.kind for e in life})
    assert [e.kind == "drift.raised" for e in life] == [i % 2 == 0 for i in range(len(life))]
    assert [e.episode for e in life] == [1 + i // 2 for i in range(len(life))]
    assert all(a.index < b.index for a, b in pairwise(events))
    assert len({e.id for e in events}) == len(events)
    assert (det.state == "drifting") == (len(life) % 2 == 1)
    for event in events:
        assert event.stream == "s"
        assert 0 <= event.index < det.n == len(values)
        if event.kind == "drift.raised" and "alarm" not in SETTINGS[setting]:
            assert event.evidence >= event.budget == det.budget
        if SETTINGS[setting].get("on_drift") == "hold":
            assert event.kind != "reference.rebaselined"


@given(names, seeds, which)
@settings(max_examples=40)
def test_every_event_is_json_and_says_the_same_as_its_fields(name, seed, setting):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    kind, _, values = swinging(name, seed)
    for event in Detector(kind=kind, **SETTINGS[setting]).update_many(values):
        fields = json.loads(event.to_json(), parse_constant=refuse)
        assert fields == json.loads(json.dumps(event.to_dict()), parse_constant=refuse)
        for key in ("id", "kind", "stream", "index", "episode", "evidence", "budget", "guarantee", "window_n", "reference_n"):
            assert fields[key] == getattr(event, key)
        assert int(event.id, 16) >= 0
        assert len(event.id) == 32
        with pytest.raises((AttributeError, TypeError)):
            event.index = 0


def test_an_id_depends_on_stream_kind_and_index_and_on_no_setting():
    x = np.random.default_rng(5).standard_normal(300)
    first = Detector(warmup=200, name="a").update_many(x)[0]
    assert Detector(warmup=200, name="a", window=30, false_alarms=77, stride=2, on_drift="hold").update_many(x)[0].id == first.id
    assert Detector(warmup=200, name="b").update_many(x)[0].id != first.id
    assert Detector(warmup=201, name="a").update_many(x)[0].id != first.id


def test_drift_detected_speaks_of_the_last_call_only():
    x = np.random.default_rng(6).standard_normal(1200)
    x[500:] += 3
    det = Detector(warmup=300, window=50, false_alarms=500, on_drift="hold")
    for value in x:
        event = det.update(value)
        assert det.drift_detected == (event is not None and event.kind == "drift.raised")
    det = det.clone()
    assert not det.drift_detected
    det.update_many(x[:400])
    assert not det.drift_detected          # it learnt a reference: that is no drift
    det.update_many(x[400:700])
    assert det.drift_detected
    det.update_many(x[700:])
    assert not det.drift_detected
    det.update_many([])
    assert not det.drift_detected


@given(seeds)
@settings(max_examples=10)
def test_streams_fed_side_by_side_do_not_touch_each_other(seed):
    _, _, a = swinging("normal", seed)
    kind, _, b = swinging("few categories", seed)
    left, right = Detector(**SETTINGS["learns"]), Detector(kind=kind, **SETTINGS["learns"])
    mixed = [(left.update(x), right.update(y)) for x, y in zip(a, b, strict=True)]
    alone = Detector(**SETTINGS["learns"]), Detector(kind=kind, **SETTINGS["learns"])
    assert told(e for e, _ in mixed if e) == told(one_by_one(alone[0], a))
    assert told(e for _, e in mixed if e) == told(one_by_one(alone[1], b))


@given(names, seeds)
@settings(max_examples=30)
def test_a_fitted_reference_and_its_values_make_the_same_detector(name, seed):
    kind, reference, values = swinging(name, seed)
    setting = {"kind": kind, "window": 60, "false_alarms": 300}
    from_values = Detector(reference, **setting)
    from_fit = Detector(Reference.fit(reference, kind=kind), **setting)
    from_blob = Detector(Reference.from_bytes(Reference.fit(reference, kind=kind).to_bytes()), **setting)
    expected = told(from_values.update_many(values))
    assert told(from_fit.update_many(values)) == expected
    assert told(from_blob.update_many(values)) == expected
    assert from_fit.to_bytes() == from_values.to_bytes() == from_blob.to_bytes()


def test_counts_given_over_edges_are_the_reference():
    det = Detector(Reference.from_counts([0.0, 1.0, 2.0], [300, 400, 200, 100]), window=50)
    det.update_many([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, None])
    h = det.histogram()
    assert h.reference[:4].tolist() == [300, 400, 200, 100]
    assert h.window.tolist() == [1, 2, 2, 1, 0, 1]
    cats = Detector(Reference.from_counts(["a", "b", True], [300, 700, 20], missing=5), kind="categorical", window=50)
    cats.update_many(["a", "b", "b", "c", None, True])
    assert sorted(zip(cats.histogram().labels, cats.histogram().reference, cats.histogram().window, strict=True)) == [
        ("a", 300, 1), ("b", 700, 2), ("missing", 5, 1), ("other", 0, 1), ("true", 20, 1)]


@given(names, seeds, st.integers(0, 899))
@settings(max_examples=40)
def test_reading_changes_nothing(name, seed, at):
    kind, _, values = swinging(name, seed)
    det = Detector(kind=kind, **SETTINGS["learns"])
    det.update_many(values[:at])
    before = det.to_bytes()
    det.histogram()
    det.divergence("kl")
    det.divergence("js")
    det.contributions("kl")
    det.clone().update_many(values)
    assert (det.evidence, det.state, det.n, det.drift_detected) == (det.evidence, det.state, det.n, det.drift_detected)
    assert det.to_bytes() == before


@given(names, seeds, which, st.booleans())
@settings(max_examples=40)
def test_a_raised_event_shows_what_the_detector_shows_at_that_observation(name, seed, setting, is_given):
    kind, reference, values = swinging(name, seed)
    det = Detector(reference if is_given else None, kind=kind, **SETTINGS[setting])
    for value in values:
        event = det.update(value)
        if event is None or event.kind != "drift.raised":
            continue
        h = det.histogram()
        assert (event.window_n, event.reference_n) == (h.window.sum(), h.reference.sum())
        assert {"kl", "js"} <= set(event.divergence)
        for measure, estimate in event.divergence.items():
            assert estimate == det.divergence(measure)
        window, learnt = (dict(zip(h.labels, c / c.sum(), strict=True)) for c in (h.window, h.reference))
        nats = dict(det.contributions("js" if setting == "threshold js" else "kl"))
        for b in event.bins:
            assert (b.window_share, b.reference_share) == (pytest.approx(window[b.label]), pytest.approx(learnt[b.label]))
            assert b.nats in (pytest.approx(nats[b.label]), pytest.approx(dict(det.contributions("kl"))[b.label]))
        if setting.startswith("threshold"):
            assert (event.evidence, event.guarantee) == (0.0, "void")


@given(names, seeds, st.sampled_from(["learns", "rebaselines late"]))
@settings(max_examples=30)
def test_what_an_event_says_is_a_function_of_the_observations_up_to_it(name, seed, setting):
    kind, _, values = swinging(name, seed)
    events = Detector(kind=kind, **SETTINGS[setting]).update_many(values)
    for event in events:
        shorter = Detector(kind=kind, **SETTINGS[setting]).update_many(values[: event.index + 1])
        assert shorter[-1].to_dict() == event.to_dict()
        assert len(shorter) == events.index(event) + 1
