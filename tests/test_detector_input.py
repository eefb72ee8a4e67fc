"""What a caller may hand to a detector, and what is refused at once instead of at the next restart."""

import copy
import enum
import json
import pickle
import threading

import numpy as np
import pytest

from streamkl import ConfigError, Detector, Reference, StateError
from streamkl.detect.kernel import Entry

NORMAL = np.random.default_rng(0).standard_normal(500)


class Color(str, enum.Enum):  # noqa: UP042 - the older kind is the one that people have
    RED = "red"
    BLUE = "blue"


def raised(events):
    return [event for event in events if event.kind == "drift.raised"]


# ---------------------------------------------------------------- values


def test_masked_values_are_missing():
    values = np.ma.masked_array(NORMAL.copy(), mask=np.arange(500) % 2 == 0)
    values.data[::2] = -999.0
    det = Detector(NORMAL, window=100)
    det.update_many(values)
    assert det.histogram().window[-1] == 50
    texts = np.ma.masked_array(["a", "b"] * 100, mask=[False, True] * 100)
    assert Reference.fit(texts, "categorical").bins.counts[-1] == 100


def test_a_text_of_an_enum_is_that_text():
    det = Detector(["red", "blue"] * 100, kind="categorical", window=20)
    det.update(Color.RED)
    det.update_many([Color.RED, Color.BLUE])
    assert dict(zip(det.histogram().labels, det.histogram().window, strict=True)) == {"blue": 1, "red": 2, "other": 0, "missing": 0}


def test_values_at_any_address_and_of_any_layout_are_the_same_values():
    plain = Detector(NORMAL, window=50)
    expected = plain.update_many(NORMAL)
    odd = np.frombuffer(b"\0" + NORMAL.tobytes(), np.uint8)[1:].view(np.float64)
    for values in (odd, np.repeat(NORMAL, 2)[::2], NORMAL.astype(">f8"), NORMAL.tolist(), iter(NORMAL), [np.float64(x) for x in NORMAL]):
        det = Detector(NORMAL, window=50)
        assert [e.id for e in det.update_many(values)] == [e.id for e in expected]
        assert det.to_bytes() == plain.to_bytes()


def test_a_duration_is_no_category():
    with pytest.raises(TypeError, match="timedelta64"):
        Reference.fit(np.array([1, 2] * 100, "m8[ns]"), "categorical")


def test_neighbouring_ids_beyond_63_bits_are_different_categories():
    ids = [2**64 - 1, 2**64 - 2] * 100
    assert Reference.fit(ids, "categorical").bins.labels() == ["18446744073709551614", "18446744073709551615", "other", "missing"]


@pytest.mark.parametrize("at", [np.int64(1_700_000_000_000), 1_700_000_000_000])
def test_a_time_of_numpy_is_a_time(at):
    det = Detector(NORMAL, window=50, false_alarms=1000)
    event = next(event for event in (det.update(9.0, at=at) for _ in range(60)) if event)
    assert json.loads(event.to_json())["at"] == 1_700_000_000_000


@pytest.mark.parametrize("at", ["yesterday", 1.5])
def test_what_is_no_time_is_refused_before_the_value_is_taken(at):
    det = Detector(NORMAL)
    with pytest.raises(TypeError):
        det.update(1.0, at=at)
    assert det.n == 0


@pytest.mark.parametrize("at", [True, 2**63, -(2**63), 2**70, np.bool_(True)])
def test_a_time_beyond_64_bits_is_refused_one_by_one_and_in_a_batch(at):
    det = Detector(NORMAL)
    with pytest.raises(ValueError, match="at"):
        det.update(1.0, at=at)
    with pytest.raises(ValueError, match="at"):
        det.update_many([1.0], at=np.array([2**63 + 5], np.uint64))
    assert det.n == 0


# ---------------------------------------------------------------- texts that are stored


@pytest.mark.parametrize("text", ["\udc80", None, 3, b"x"])
def test_a_name_or_reason_that_could_not_be_stored_is_refused(text):
    with pytest.raises(ConfigError, match="name"):
        Detector(name=text)
    det = Detector(NORMAL)
    with pytest.raises(ConfigError, match="reason"):
        det.rebaseline(text)
    assert det.state == "watching"


def test_a_name_of_an_enum_can_be_stored():
    assert Detector.from_bytes(Detector(name=Color.RED).to_bytes()).name == "red"


@pytest.mark.parametrize("text", ["1,5 per 1000 events", "1 per 10,00 events", "1 per ,000 events", "per 5 events", "1 per 1.2.3 events"])
def test_a_rate_that_could_be_read_in_two_ways_is_refused(text):
    with pytest.raises(ConfigError, match="false_alarms"):
        Detector(false_alarms=text)


def test_a_window_of_ten_can_alarm():
    det = Detector(NORMAL, window=10, false_alarms=1000)
    assert raised(det.update_many(NORMAL + 6))


# ---------------------------------------------------------------- copies, threads, sharing


def test_a_copy_and_a_pickle_go_on_like_the_original():
    det = Detector(window=50, warmup=200, false_alarms=1000)
    det.update_many(NORMAL[:300])
    twins = [copy.deepcopy(det), pickle.loads(pickle.dumps(det))]
    events = [event.id for event in det.update_many(NORMAL + 2)]
    assert events
    for twin in twins:
        assert [event.id for event in twin.update_many(NORMAL + 2)] == events
        assert twin.to_bytes() == det.to_bytes()


def test_a_detector_that_another_thread_updates_is_refused_and_unharmed():
    det = Detector(NORMAL, window=300, false_alarms=1e15)
    values = np.random.default_rng(1).standard_normal(2_000_000)
    taken, refused = [], []

    def feed():
        for start in range(0, len(values), 500_000):
            part = values[start:start + 500_000]
            try:
                det.update_many(part)
                taken.append(len(part))
            except RuntimeError:
                refused.append(len(part))

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert det.n == sum(taken)
    counts = det.histogram().window
    assert counts.min() >= 0
    assert counts.sum() == 300
    gauges = det.life.watching.tracker.gauges()
    assert all(sum(gauge["counts"]) == gauge["window"] and gauge["value"] >= 0 for gauge in gauges)


def test_a_detector_that_was_never_made_refuses_to_be_updated():
    for unmade in (Detector.__new__(Detector), Entry()):
        with pytest.raises(RuntimeError, match="call its class"):
            unmade.update(1.0)


def test_a_reference_cannot_be_changed_under_the_detectors_that_share_it():
    for reference in (Reference.fit(NORMAL), Reference.fit(["a", "b"] * 100, "categorical")):
        for array in (reference.bins.counts, reference.bins.prior, reference.bins.rows):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 255
    edges = [0.0, 1.0]
    counts = np.array([50.0, 50.0, 50.0])
    reference = Reference.from_counts(edges, counts)
    counts[0] = 7.0
    assert reference.m == 150


def test_references_of_the_same_bins_merge_in_any_order():
    edges = [-1.0, 0.0, 1.0]
    a, b, c = (Reference.from_counts(edges, counts, missing) for counts, missing in (([50, 60, 0, 7], 1), ([0, 70, 80, 9], 0), ([30, 30, 30, 30], 5)))
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == c.merge(a).merge(b)
    assert a.merge(b).bins.counts.tolist() == [50.0, 130.0, 80.0, 16.0, 0.0, 1.0]
    assert Reference.from_bytes(a.to_bytes()) == a
    assert a != b
    with pytest.raises(ValueError, match="same bins"):
        a.merge(Reference.from_counts([-1.0, 0.0], [50, 50, 50]))


# ---------------------------------------------------------------- events and readings


def test_events_can_be_kept_in_a_set():
    det = Detector(NORMAL, window=50, false_alarms=1000)
    (event,) = raised(det.update_many(NORMAL + 3))
    assert len({event, copy.copy(event)}) == 1


def test_a_raised_event_tells_what_changed_in_the_window_that_raised_it():
    det = Detector(NORMAL, window=100, false_alarms=1000)
    (event,) = raised(det.update_many(NORMAL + 3))
    opened = max((w for w in event.criterion if w.open), key=lambda w: w.kl / w.limit)
    reading = next(g for g in gauges_at(NORMAL, event.index) if g["window"] == opened.window)
    shares = np.array(reading["counts"]) / opened.window
    assert {change.window_share for change in event.changed} <= set(shares.tolist())
    assert event.changed[0].window_share > event.changed[0].reference_share
    assert sum(change.nats for change in event.changed) <= opened.kl + 1e-9


def gauges_at(reference, index):
    det = Detector(reference, window=100, false_alarms=1e15)
    det.update_many((NORMAL + 3)[:index + 1])
    return det.life.watching.tracker.gauges()


@pytest.mark.parametrize("measure", ["kl", "kl_reverse", "psi", "js", "js_distance", "hellinger", "total_variation", "chi_square"])
def test_contributions_sum_to_the_plug_in_of_every_measure(measure):
    det = Detector(NORMAL, window=100)
    assert det.contributions(measure) == []
    det.update_many(NORMAL[:150] + 0.5)
    assert sum(part for _, part in det.contributions(measure)) == pytest.approx(det.divergence(measure).plug_in, rel=1e-9)


@pytest.mark.parametrize("reference", [None, NORMAL])
def test_an_unknown_measure_is_refused_at_any_time(reference):
    with pytest.raises(ValueError, match="nope"):
        Detector(reference).contributions("nope")


def test_a_detector_that_learns_says_what_it_waits_for():
    det = Detector(warmup=200)
    det.update_many([None] * 1000)
    assert "0 of 100 values that are not missing" in repr(det)


def test_a_reference_whose_values_follow_each_other_promises_no_exact_budget():
    rng = np.random.default_rng(2)
    walk = np.zeros(1000)
    for i, shock in enumerate(rng.standard_normal(1000)):
        walk[i] = 0.5 * walk[i - 1] + shock
    assert Reference.fit(rng.standard_normal(1000)).is_exact
    assert not Reference.fit(walk).is_exact


def test_an_episode_without_drift_and_drift_without_an_episode_are_refused():
    from streamkl.detect.state import VERSION, DetectorState
    from streamkl.sketch import blob

    det = Detector(NORMAL, window=50, false_alarms=1000)
    det.update_many(NORMAL + 3)
    assert det.state == "drifting"
    state = blob.unseal("detector", VERSION, det.to_bytes(), DetectorState)
    object.__setattr__(state.life.watching.tracker, "is_drifting", False)
    with pytest.raises(StateError):
        Detector.from_bytes(blob.seal("detector", VERSION, state))
    object.__setattr__(state.life, "episode", None)
    object.__setattr__(state.life.watching.tracker, "is_drifting", True)
    with pytest.raises(StateError):
        Detector.from_bytes(blob.seal("detector", VERSION, state))
