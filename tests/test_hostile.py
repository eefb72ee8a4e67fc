"""Hostile input: each has a defined meaning or a plain refusal; none crashes the process or poisons a sum."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamkl import Detector, Reference
from streamkl.errors import ConfigError

NORMAL = np.random.default_rng(1).standard_normal(500)


def sound(det) -> None:
    """Nothing inside has become NaN, infinite or negative."""
    assert math.isfinite(det.evidence)
    assert det.evidence >= 0
    if det.state == "learning":
        return
    h = det.histogram()
    assert np.all(h.window >= 0)
    assert float(h.reference.sum()).is_integer()
    for measure in ("kl", "js", "kl_reverse", "psi", "hellinger", "total_variation", "chi_square"):
        estimate = det.divergence(measure)
        if h.window.sum():
            assert math.isfinite(estimate.plug_in)
            assert 0 <= estimate.low <= estimate.value <= estimate.high
    assert Detector.from_bytes(det.to_bytes()).to_bytes() == det.to_bytes()


# ---------------------------------------------------------------- values


NUMBERS = [
    math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, 10**400, -(10**400), 10**5000, True, False, None, math.nan,
    np.float32(1.5), np.float64("nan"), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.float16(6e4), np.longdouble("1e4000"),
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS, ids=lambda v: f"{type(v).__name__} {str(v)[:12] if not isinstance(v, int) or abs(v) < 10**9 else 'huge'}")
def test_any_number_is_taken_alone_in_lists_and_while_learning(value):
    det = Detector(NORMAL, window=50)
    det.update(value)
    det.update_many([value] * 30)
    det.update_many([0.0, value, 1.0])
    assert det.n == 34
    assert det.histogram().window.sum() == 34
    sound(det)
    learning = Detector(warmup=100, window=30)
    learning.update_many([value, *NORMAL.tolist(), value])
    assert learning.state == "watching"
    sound(learning)


@pytest.mark.parametrize(
    ("value", "label"),
    [(math.inf, -3), (10**400, -3), (-math.inf, 0), (-(10**400), 0), (1e308, -3), (None, -1), (math.nan, -1), (np.float32("nan"), -1)],
)
def test_out_of_range_is_an_outer_bin_and_none_is_missing(value, label):
    det = Detector(NORMAL, window=50)
    det.update(value)
    assert det.histogram().window[label] == 1
    det = Detector(NORMAL, window=50)
    det.update_many([value])
    assert det.histogram().window[label] == 1


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int32", "int64", "uint64", "bool", ">f8", "<f4"])
def test_an_array_of_any_number_type_means_what_its_values_mean(dtype):
    values = (np.random.default_rng(2).integers(0, 2, 300) * 1.0).astype(dtype)
    reference = np.random.default_rng(3).integers(0, 3, 500)
    whole, single = Detector(reference, window=80), Detector(reference, window=80)
    whole.update_many(values)
    for x in values:
        single.update(x)
    strided = Detector(reference, window=80)
    strided.update_many(np.repeat(values, 3)[::3])
    assert whole.to_bytes() == single.to_bytes() == strided.to_bytes()


def test_other_sequences_mean_what_their_items_mean():
    values = NORMAL[:100].tolist()
    expected = Detector(NORMAL)
    expected.update_many(values)
    for form in (tuple(values), np.array(values), np.array(values, object), memoryview(np.array(values)), np.array(values)[::-1][::-1]):
        det = Detector(NORMAL)
        det.update_many(form)
        assert det.to_bytes() == expected.to_bytes()
    masked = Detector(NORMAL)
    masked.update_many(np.array([1.0, None, 2.0], object))
    assert masked.histogram().window[-1] == 1


@pytest.mark.parametrize("value", ["1.5", b"1", [1.0], {}, object(), 1j, (1, 2), {1}])
def test_what_is_not_a_number_is_refused_and_nothing_is_taken(value):
    for det in (Detector(NORMAL, window=50), Detector(warmup=100)):
        before = det.to_bytes()
        with pytest.raises(TypeError):
            det.update(value)
        with pytest.raises((TypeError, ValueError)):
            det.update_many([0.0, 1.0, value, 2.0])
        assert det.to_bytes() == before


@pytest.mark.parametrize("batch", ["12345", b"12345", 5, 1.5, np.zeros((3, 2)), np.array(["1", "2"]), np.array([1j]), {"a": 1}.items])
def test_what_is_not_a_sequence_of_numbers_is_refused_and_nothing_is_taken(batch):
    det = Detector(NORMAL)
    before = det.to_bytes()
    with pytest.raises((TypeError, ValueError)):
        det.update_many(batch)
    assert det.to_bytes() == before


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_an_empty_batch_is_no_observation(kind):
    det = Detector(NORMAL if kind == "numeric" else ["a", "b"] * 100, kind=kind)
    before = det.to_bytes()
    for empty in ([], (), np.array([])):
        assert det.update_many(empty) == []
    assert det.update_many([], at=[]) == []
    assert det.to_bytes() == before
    assert det.n == 0


@pytest.mark.parametrize("at", [[1, 2], [1, 2, 3, 4], [], np.zeros((3, 1), int)])
def test_times_of_another_length_are_refused_and_nothing_is_taken(at):
    det = Detector(NORMAL)
    before = det.to_bytes()
    with pytest.raises(ValueError, match="at"):
        det.update_many([1.0, 2.0, 3.0], at=at)
    assert det.to_bytes() == before


def test_the_time_of_an_observation_is_the_time_of_its_event():
    x = np.r_[NORMAL, NORMAL + 4]
    times = 1_700_000_000_000 + np.arange(1000) * 1000
    for events in (
        Detector(warmup=300, window=50, false_alarms=500).update_many(x, at=times),
        Detector(warmup=300, window=50, false_alarms=500).update_many(x.tolist(), at=times.tolist()),
        [e for e in map(Detector(warmup=300, window=50, false_alarms=500).update, x, times.tolist()) if e],
    ):
        assert len(events) >= 2
        assert [e.at for e in events] == [1_700_000_000_000 + e.index * 1000 for e in events]


def test_a_stream_of_missing_values_only_learns_nothing_and_does_not_grow():
    det = Detector(warmup=100)
    det.update_many([None] * 5000)
    size = len(det.to_bytes())
    det.update_many([None, math.nan] * 2500)
    assert det.state == "learning"
    assert len(det.to_bytes()) <= size + 16
    sound(det)


def test_a_run_of_missing_values_drifts_and_ends():
    x = [*NORMAL.tolist(), *[None] * 100, *np.random.default_rng(8).standard_normal(600).tolist()]
    events = Detector(warmup=400, window=100, false_alarms=1000, on_drift="hold", mature_until=0).update_many(x)
    assert [e.kind for e in events] == ["reference.learned", "drift.raised", "drift.resolved"]
    assert 500 <= events[1].index < 540


@pytest.mark.parametrize("constant", [0.0, -0.0, 1e300, 5e-324, math.inf, -math.inf])
def test_one_distinct_value_is_a_reference_and_another_value_is_drift(constant):
    det = Detector([constant] * 200, window=40, false_alarms=1000)
    assert det.update_many([constant] * 1000) == []
    events = det.update_many([1.0] * 60)
    assert [e.kind for e in events] == ["drift.raised"]
    sound(det)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 1e300, 1.7e308])
def test_subnormal_and_enormous_scales_are_watched(scale):
    rng = np.random.default_rng(4)
    numbers = rng.integers(-50, 50, 800) if scale < 1e-305 else rng.uniform(-1, 1, 800)
    det = Detector(numbers * scale, window=50, false_alarms=1000)
    assert det.update_many(rng.permutation(numbers)[:300] * scale) == []
    assert [e.kind for e in det.update_many(np.full(50, numbers.max() * scale))] == ["drift.raised"]
    sound(det)


def test_a_reference_may_hold_infinities_missing_values_and_huge_integers():
    det = Detector([*NORMAL.tolist(), math.inf, -math.inf, None, math.nan, 10**400, True], window=50)
    h = det.histogram()
    assert h.reference.sum() == 506
    assert h.reference[-1] == 2
    det.update_many([math.inf, None, 0.0])
    sound(det)


# ---------------------------------------------------------------- categories


def test_categories_are_distinct_by_json_type():
    det = Detector([1, 1.0, True, "1", "a", 0, False, "0"] * 20, kind="categorical", window=50)
    det.update_many([1, 1.0, np.int64(1), np.float64(1.0), True, np.bool_(True), "1", np.str_("1"), "a", None, math.nan, "unseen", 2, -0.0])
    h = det.histogram()
    counts = dict(zip(h.labels, h.window, strict=True))
    assert counts["1"] == 4
    assert counts["true"] == 2
    assert counts['"1"'] == 2
    assert counts["a"] == 1
    assert counts["missing"] == 2
    assert counts["other"] == 2
    assert counts["0"] == 1
    assert dict(zip(h.labels, h.reference, strict=True))["1"] == 40


def test_a_category_called_other_is_not_other():
    det = Detector(["other", "missing", "1", "true", "x"] * 30, kind="categorical", window=50)
    det.update_many(["other", "missing", "nowhere", None])
    h = det.histogram()
    counts = dict(zip(h.labels, h.window, strict=True))
    assert (counts['"other"'], counts['"missing"'], counts["other"], counts["missing"]) == (1, 1, 1, 1)
    assert len(set(h.labels)) == len(h.labels)


@pytest.mark.parametrize("value", [[], {}, set(), ("a",), object(), b"a", bytearray(b"a"), 1j, np.array([1, 2])])
def test_what_is_no_category_is_refused_and_nothing_is_taken(value):
    for det in (Detector(["a", "b"] * 100, kind="categorical"), Detector(kind="categorical", warmup=100)):
        before = det.to_bytes()
        with pytest.raises(TypeError):
            det.update(value)
        with pytest.raises(TypeError):
            det.update_many(["a", value, "b"])
        assert det.to_bytes() == before


def test_long_and_strange_texts_are_categories():
    strange = ["x" * 100_000, "", "\x00", "\ud800", "é", "e\u0301", "💥" * 1000, '"', "\\", "\n"]
    det = Detector(strange * 20, kind="categorical", window=50)
    det.update_many([*strange, "x" * 99_999])
    h = det.histogram()
    assert sorted(h.window) == [0, *[1] * 11]
    assert len(set(h.labels)) == len(h.labels) == 12
    assert Detector.from_bytes(det.to_bytes()).to_bytes() == det.to_bytes()
    for event in det.update_many(["x" * 100_000] * 100):
        assert event.to_json()


def test_numbers_of_any_size_are_categories():
    big = [2**63, 2**64, 2**53, 2**53 + 1, 1e308, math.inf, -math.inf, 5e-324, -(2**63)]
    det = Detector(big * 20, kind="categorical", window=50)
    det.update_many(big)
    assert sorted(det.histogram().window) == [0, 0, *[1] * 9]
    assert len(set(det.histogram().labels)) == 11
    assert Detector.from_bytes(det.to_bytes()).to_bytes() == det.to_bytes()


def test_integers_of_five_thousand_digits_are_categories():
    det = Detector([10**5000, -(10**5000), 1] * 50, kind="categorical", window=50)
    det.update_many([10**5000, -(10**5000), 1, 10**6000])
    assert det.histogram().window.sum() == 4
    assert Detector.from_bytes(det.to_bytes()).to_bytes() == det.to_bytes()
    assert all(event.to_json() for event in det.update_many([10**5000] * 100))


def test_a_stream_of_distinct_categories_can_never_alarm_and_does_not_grow():
    det = Detector(kind="categorical", warmup=200, window=50, false_alarms=200, mature_until=1000)
    det.update_many([f"id {i}" for i in range(1000)])
    size = len(det.to_bytes())
    assert [e.kind for e in det.update_many([f"id {i}" for i in range(1000, 4000)])] == []
    assert list(det.histogram().labels) == ["other", "missing"]
    assert len(det.to_bytes()) <= size + 4096
    sound(det)


# ---------------------------------------------------------------- references and settings


@pytest.mark.parametrize("reference", [[], [1.0] * 99, [None] * 500, [math.nan] * 500, [1.0] * 99 + [None] * 900, np.array([])])
def test_a_reference_of_less_than_a_hundred_values_is_refused(reference):
    with pytest.raises(ValueError, match="100"):
        Detector(reference)
    with pytest.raises(ValueError, match="100"):
        Reference.fit(reference)


@pytest.mark.parametrize("reference", ["a text of 1000 letters" * 50, b"x" * 500, 5, 1.5, np.zeros((200, 2)), ["1"] * 200, [[1.0]] * 200])
def test_what_is_no_sequence_of_numbers_is_no_reference(reference):
    with pytest.raises((TypeError, ValueError)):
        Detector(reference)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_text_is_never_a_reference(kind):
    with pytest.raises((TypeError, ValueError)):
        Detector("abcab" * 100, kind=kind)


def test_a_reference_of_the_other_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind|categorical|numeric"):
        Detector(Reference.fit(["a", "b"] * 100, kind="categorical"))
    with pytest.raises(ValueError, match=r"kind|categorical|numeric"):
        Detector(Reference.fit(NORMAL), kind="categorical")


WRONG = [
    ("kind", "text"), ("kind", None), ("kind", 1),
    ("false_alarms", 0), ("false_alarms", -1), ("false_alarms", math.nan), ("false_alarms", math.inf), ("false_alarms", "often"),
    ("false_alarms", "1 per"), ("false_alarms", "1 per 0 events"), ("false_alarms", "-1 per 100 events"), ("false_alarms", None),
    ("false_alarms", []), ("false_alarms", True), ("false_alarms", "1 per nan events"), ("false_alarms", "0 per 100 events"),
    ("warmup", 99), ("warmup", 0), ("warmup", -5), ("warmup", 600.5), ("warmup", "600"), ("warmup", None), ("warmup", math.nan), ("warmup", True),
    ("window", 0), ("window", -1), ("window", 10.5), ("window", math.nan), ("window", True), ("window", []),
    ("stride", 0), ("stride", -1), ("stride", 1.5), ("stride", None), ("stride", "often"), ("stride", True),
    ("extend", 0), ("extend", -1), ("extend", 1.5), ("extend", "x"), ("extend", None),
    ("min_effect", -0.1), ("min_effect", math.nan), ("min_effect", math.inf), ("min_effect", "small"), ("min_effect", True),
    ("on_drift", "relearn"), ("on_drift", None), ("on_drift", 1),
    ("hold_for", -1), ("hold_for", 1.5), ("hold_for", "1 hour"), ("hold_for", math.nan), ("hold_for", True),
    ("alarm", "both"), ("alarm", None),
    ("name", 5), ("name", None), ("name", b"x"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value"), WRONG)
def test_a_wrong_setting_is_refused_by_its_name(setting, value):
    with pytest.raises(ConfigError, match=setting) as caught:
        Detector(**{setting: value})
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ConfigError, match=setting):
        Detector(NORMAL, **{setting: value})


WRONG_THRESHOLDS = [
    ("measure", "mean"), ("measure", None), ("raise_at", 0), ("raise_at", -1), ("raise_at", math.nan), ("raise_at", math.inf), ("raise_at", "x"),
    ("raise_at", 0.05), ("raise_at", 0.01), ("resolve_at", 0.1), ("resolve_at", 0.2), ("resolve_at", 0), ("resolve_at", -1), ("resolve_at", math.nan),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value"), WRONG_THRESHOLDS)
def test_a_wrong_threshold_is_refused_by_its_name(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Detector(**{"alarm": "threshold", "measure": "js", "raise_at": 0.1, "resolve_at": 0.05, setting: value})


LATER = [
    ("season", "hour_of_day"), ("season", "day_of_week"), ("window", "1 hour"),
    ("window", "decay 1000"), ("false_alarms", "1 per 30 days"), ("false_alarms", "1 per 2 hours"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value"), LATER)
def test_a_setting_of_a_later_issue_is_refused_by_its_name(setting, value):
    with pytest.raises(ConfigError, match=setting):
        Detector(**{setting: value})


def test_what_a_later_issue_reads_is_refused_by_its_name():
    with pytest.raises(ConfigError, match="raise_at"):
        Detector(alarm="threshold", measure="js", raise_at=None)


@pytest.mark.parametrize("against", ["future", "", None, 1])
def test_a_side_that_does_not_exist_is_refused_by_its_name(against):
    det = Detector(NORMAL)
    for read in (det.histogram, lambda against: det.divergence("kl", against=against)):
        with pytest.raises(ConfigError, match="against"):
            read(against=against)


def test_settings_that_are_right_are_taken():
    for setting in (
        {"false_alarms": "1 per 1000000 events"}, {"false_alarms": "1 per 20000 events"}, {"false_alarms": 1e5}, {"false_alarms": np.int64(500)},
        {"window": 1}, {"window": 5000}, {"warmup": 100}, {"warmup": np.int32(200)}, {"hold_for": 0}, {"min_effect": 0}, {"min_effect": None},
        {"stride": 50}, {"stride": "auto"}, {"extend": 1}, {"extend": 9}, {"name": ""}, {"name": "Zürich/∑ \n"}, {"season": None},
    ):  # fmt: skip
        det = Detector(NORMAL, **setting)
        det.update_many(NORMAL)
        sound(det)
    assert Detector(false_alarms="1 per 1000000 events").budget == 1e6
    assert Detector(false_alarms=12345).budget == 12345


def test_a_setting_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError):
        Detector(windw=5)
    with pytest.raises(TypeError):
        Detector(None, "numeric")


def test_a_name_of_seventy_thousand_letters_is_kept():
    name = "naïve/" * 12_000
    det = Detector(warmup=100, name=name)
    (event,) = det.update_many(NORMAL[:100])
    assert event.stream == name
    restored = Detector.from_bytes(det.to_bytes())
    assert restored.to_bytes() == det.to_bytes()


@pytest.mark.parametrize("measure", ["nothing", None, 5, ""])
def test_a_measure_that_does_not_exist_is_refused(measure):
    det = Detector(NORMAL)
    det.update(1.0)
    with pytest.raises((ValueError, TypeError)):
        det.divergence(measure)
    with pytest.raises((ValueError, TypeError)):
        det.contributions(measure)


ENORMOUS = [
    *((setting, value) for setting in ("stride", "warmup", "window", "hold_for") for value in (2**31 - 1, 2**31, 2**63, 2**64, 10**400)),
    *(("false_alarms", value) for value in (1e300, 1e308, 10**300, 10**400, "1 per 1e400 events", 1)),
    ("min_effect", 1e308),
]


@pytest.mark.parametrize(("setting", "value"), ENORMOUS, ids=lambda v: v if isinstance(v, str) else f"{float(min(v, 10**300)):.3g}")
def test_an_enormous_setting_is_refused_by_its_name_or_works(setting, value):
    for reference in (NORMAL, None):
        try:
            det = Detector(reference, **{setting: value})
        except ConfigError as error:
            assert setting in str(error)  # noqa: PT017 - either outcome is right
            continue
        assert math.isfinite(det.budget)
        for event in [*det.update_many(NORMAL), *det.update_many(NORMAL * 2 + 5), *det.update_many(NORMAL + 50)]:
            assert math.isfinite(event.evidence)
            assert "Infinity" not in event.to_json()
        sound(det)


@pytest.mark.parametrize(("offset", "scale"), [(1e9, 1e-3), (1e15, 1.0), (-1e300, 1e285), (0.0, 1e-320), (1.0, 1e-15), (12345.678, 1e-7)])
def test_labels_tell_bins_apart_however_close_the_values_lie(offset, scale):
    reference = offset + scale * np.random.default_rng(5).standard_normal(1000)
    labels = Detector(reference).histogram().labels
    assert len(set(labels)) == len(labels)
