"""A river detector as the alarm: asked behind stride, criterion and episodes, stored as plain values, honest about its budget."""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from flow import SHORT, feeds, filled_log, run
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, drift
from river.drift import ADWIN, KSWIN, DummyDriftDetector, NoDrift, PageHinkley
from test_pool import lives, one_by_one
from test_state import HEADER, opened, sealed, wrong_contents
from test_worker_laws import ids_by_partition

from streamkl import ConfigError, Detector, DetectorPool, StateError
from streamkl.adapters.river_drift import RiverAlarm, StreamKL, detectors
from streamkl.service.pace import Pace

MAKES = {
    "ADWIN": lambda: ADWIN(),
    "ADWIN, eager": lambda: ADWIN(delta=0.2, clock=1, max_buckets=2, min_window_length=3, grace_period=5),
    "KSWIN": lambda: KSWIN(alpha=0.01, window_size=40, stat_size=15, seed=5),
    "PageHinkley": lambda: PageHinkley(threshold=8.0),
    "PageHinkley, up": lambda: PageHinkley(threshold=5.0, mode="up", min_instances=10),
    "Dummy": lambda: DummyDriftDetector(t_0=90, w=40, seed=3),
    "Dummy, random": lambda: DummyDriftDetector("random", t_0=120, w=100, seed=4),
    "NoDrift": lambda: NoDrift(),
}
SETTINGS = {
    "criterion": {"warmup": 120, "window": 40},
    "no criterion": {"warmup": 100, "window": 30, "min_effect": None, "stride": 2, "on_drift": "hold"},
    "rebaselines": {"warmup": 150, "window": 60, "min_effect": 0.01, "hold_for": 60},
}


def swinging(seed: int, length: int = 1200, turn: int = 300) -> np.ndarray:
    """A stream that leaves its level and comes back, with gaps, an infinity and a number whose square is none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=length) + 2.5 * ((np.arange(length) // turn) % 2)
    values[rng.random(length) < 0.03] = np.nan
    values[length // 2] = np.inf
    values[length // 3] = -1e300
    return values


def told(events):
    return [event.to_dict() for event in events if event is not None]


def raised(events):
    return [event.index for event in events if event.kind == "drift.raised"]


# ---------------------------------------------------------------- how it is asked


def flags(detector: base.DriftDetector, values, stride: int) -> list[bool]:
    """What river's own object says of a stream when it is fed every stride-th value that is a number."""
    found = []
    for i, x in enumerate(values):
        is_flag = False
        if i % stride == 0 and math.isfinite(x):
            detector.update(max(-1e100, min(x, 1e100)))
            is_flag = detector.drift_detected
        found.append(is_flag)
    return found


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("make", ["ADWIN", "ADWIN, eager", "KSWIN", "PageHinkley", "Dummy"])
def test_without_a_criterion_drift_is_raised_where_rivers_own_object_first_says_so(make, stride):
    reference, values = np.random.default_rng(1).normal(size=400), swinging(2)
    det = Detector(reference, alarm=RiverAlarm(MAKES[make]()), min_effect=None, stride=stride, on_drift="hold")
    first = raised(det.update_many(values))[0]
    assert first == flags(MAKES[make](), values.tolist(), stride).index(True)


@pytest.mark.parametrize("make", ["ADWIN", "ADWIN, eager", "PageHinkley", "Dummy"])
@pytest.mark.parametrize("seed", range(4))
def test_with_one_a_flag_stays_up_for_a_window_and_drift_is_raised_once_the_criterion_opens(make, seed):
    reference, values = np.random.default_rng(1).normal(size=400), swinging(seed)
    setting = {"min_effect": 0.05, "stride": 2, "on_drift": "hold"}
    quiet, window = Detector(reference, false_alarms=1e15, **setting), 100
    assert quiet.criterion()[0].window == window
    up, expected = flags(MAKES[make](), values.tolist(), 2), None
    for i, x in enumerate(values.tolist()):
        quiet.update(x)
        if any(reading.open for reading in quiet.criterion()) and any(up[max(0, i - window + 1):i + 1]):
            expected = i
            break
    det = Detector(reference, alarm=RiverAlarm(MAKES[make]()), **setting)
    assert (raised(det.update_many(values)) or [None])[0] == expected is not None


def test_it_begins_with_every_stride_th_value_of_the_reference_that_was_learnt():
    values = np.random.default_rng(5).normal(size=2000)
    values[700:] += 1.0
    det = Detector(warmup=600, extend=1, stride=3, min_effect=None, alarm=RiverAlarm(ADWIN()))
    own = ADWIN()
    for x in values[:600:3].tolist():
        own.update(x)
    assert raised(det.update_many(values))[0] == 600 + flags(own, values[600:].tolist(), 3).index(True)


def test_after_an_episode_that_resolved_it_begins_anew_and_knows_nothing():
    reference, values = np.random.default_rng(1).normal(size=400), np.random.default_rng(8).normal(size=3000)
    values[500:700] += 3.0
    values[2000:] += 3.0
    det = Detector(reference, alarm=RiverAlarm(PageHinkley(threshold=30)), min_effect=None, stride=1, on_drift="hold")
    first, resolved, second = [(event.kind, event.index) for event in det.update_many(values)][:3]
    assert (first[0], resolved[0], second[0]) == ("drift.raised", "drift.resolved", "drift.raised")
    begin = resolved[1] + 1
    assert second[1] == begin + flags(PageHinkley(threshold=30), values[begin:].tolist(), 1).index(True)


class Listening(base.DriftDetector):
    """Somebody's own detector: it keeps what it is given, and says drift at 7."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[float] = []

    def update(self, x: float) -> None:
        self.heard.append(x)
        self._drift_detected = x == 7.0


def test_a_missing_or_infinite_value_is_not_given_to_it_and_takes_its_turn():
    det = Detector(list(range(200)), alarm=RiverAlarm(Listening()), stride=2, min_effect=None)
    det.update_many([1.0, 2.0, math.nan, 3.0, None, 4.0, math.inf, 5.0, -1e300, 6.0, 8.0])
    assert det.life.watching.tracker._alarm._detector.heard == [1.0, -1e100, 8.0]
    assert det.histogram().window.sum() == 11
    assert det.histogram().window[-1] == 2          # both missing ones are in the window
    assert raised(det.update_many([7.0, 7.0])) == [12]


def test_how_far_the_stream_has_moved_is_what_every_detector_says():
    reference, values = np.random.default_rng(1).normal(size=400), swinging(3)[:700]
    one = Detector(reference, alarm=RiverAlarm(NoDrift()))
    other = Detector(reference, false_alarms=1e15, min_effect=1e9)
    for det in (one, other):
        det.update_many(values)
    for measure in ("kl", "js", "psi", "hellinger"):
        assert one.divergence(measure) == other.divergence(measure)
    assert one.criterion()[0].kl == other.criterion()[0].kl
    assert one.contributions("kl") == other.contributions("kl")


# ---------------------------------------------------------------- what is said of it


def test_it_keeps_no_budget_and_says_so():
    det = Detector(alarm=RiverAlarm(ADWIN(delta=0.01)), warmup=300, extend=1)
    values = np.random.default_rng(2).normal(size=900)
    values[600:] += 3.0
    events = det.update_many(values)
    assert [event.kind for event in events] == ["reference.learned", "drift.raised"]
    assert {event.guarantee for event in events} == {"void"} == {det.guarantee}
    assert events[1].evidence == det.evidence == 0.0
    assert any("ADWIN" in sentence and "no budget" in sentence for sentence in det.diagnosis())
    assert not any("the budget is approximate" in sentence or "matures" in sentence for sentence in det.diagnosis())
    assert "delta=0.01" in det.settings.alarm


@pytest.mark.parametrize(("alarm", "reason"), [
    (drift.binary.DDM(), "truth values"), (ADWIN, "no drift detector"), (3, "no drift detector"), (KSWIN(), "seed"),
    (KSWIN(seed=1, window=[1.0, 2.0]), "window"), (ADWIN(max_buckets=1), "max_buckets"), (ADWIN(clock=0), "clock"),
    (KSWIN(seed=1, window_size=40, stat_size=30), "twice"), (DummyDriftDetector(dynamic_cloning=True, seed=1), "equal one"),
    (DummyDriftDetector("random", t_0=300, w=1, seed=1), "fails"), (StreamKL(), "no plain form"), (PageHinkley(threshold=math.inf), "between"),
], ids=str)
def test_a_detector_that_cannot_be_an_alarm_is_refused_with_the_reason(alarm, reason):
    with pytest.raises(ConfigError, match=reason):
        RiverAlarm(alarm)


def test_what_is_no_alarm_at_all_is_refused():
    for wrong in ("river", "ADWIN()", ADWIN(), None, 3):
        with pytest.raises(ConfigError, match="RiverAlarm"):
            Detector(alarm=wrong)
    with pytest.raises(ConfigError, match="kind='categorical'"):
        Detector(kind="categorical", alarm=RiverAlarm(ADWIN()))


def test_every_drift_detector_of_river_is_tried_here():
    assert {type(make()).__name__ for make in MAKES.values()} == set(detectors())


# ---------------------------------------------------------------- state


@pytest.mark.parametrize("make", MAKES)
@given(
    seed=st.integers(0, 10**6), setting=st.sampled_from(list(SETTINGS)), stops=st.lists(st.integers(0, 1199), min_size=1, max_size=4),
    by_hand=st.one_of(st.none(), st.integers(0, 1199)),
)
@settings(max_examples=12)
def test_cut_anywhere_a_restored_detector_raises_the_same_alarms(make, seed, setting, stops, by_hand):
    alarm, values = RiverAlarm(MAKES[make]()), swinging(seed)
    calm = Detector(alarm=alarm, **SETTINGS[setting])
    rough = calm.clone()
    calm_events, rough_events = [], []
    for t, x in enumerate(values.tolist()):
        if t in stops:
            blob = rough.to_bytes()
            rough = Detector.from_bytes(blob, RiverAlarm(MAKES[make]()))
            assert rough.to_bytes() == blob
        for det, events in ((calm, calm_events), (rough, rough_events)):
            events.append(det.update(x))
            if t == by_hand:
                events.append(det.rebaseline("by hand"))
    assert told(rough_events) == told(calm_events)
    assert rough.to_bytes() == calm.to_bytes()


@pytest.mark.parametrize("make", MAKES)
@given(seed=st.integers(0, 10**6), setting=st.sampled_from(list(SETTINGS)), cuts=st.lists(st.integers(0, 1200), max_size=6))
@settings(max_examples=6)
def test_a_batch_causes_what_its_observations_cause_one_by_one(make, seed, setting, cuts):
    alarm, values = RiverAlarm(MAKES[make]()), swinging(seed)
    single = Detector(alarm=alarm, **SETTINGS[setting])
    batched = single.clone()
    expected = [single.update(x) for x in values.tolist()]
    found = [event for start, end in pairwise([0, *sorted(cuts), 1200]) for event in batched.update_many(values[start:end])]
    assert [{**one, "position": None} for one in told(found)] == [{**one, "position": None} for one in told(expected)]
    assert batched.to_bytes() == single.to_bytes()


def test_a_pickled_detector_brings_its_alarm_along():
    det = Detector(alarm=RiverAlarm(KSWIN(seed=1)), **SETTINGS["no criterion"])
    det.update_many(swinging(4)[:500])
    twin = pickle.loads(pickle.dumps(det))
    assert told(twin.update_many(swinging(4)[500:])) == told(det.update_many(swinging(4)[500:]))
    assert twin.to_bytes() == det.to_bytes()


def test_a_stored_detector_needs_an_alarm_like_its_own():
    det = Detector(alarm=RiverAlarm(ADWIN(delta=0.01)), warmup=100)
    det.update_many(swinging(4)[:500])
    for wrong in ("evidence", RiverAlarm(ADWIN(delta=0.02)), RiverAlarm(PageHinkley())):
        with pytest.raises(StateError, match=r"river ADWIN\(.*delta=0.01.*from_bytes\(stored, alarm="):
            Detector.from_bytes(det.to_bytes(), wrong)
    assert Detector.from_bytes(det.to_bytes(), RiverAlarm(ADWIN(delta=0.01))).to_bytes() == det.to_bytes()


@pytest.mark.parametrize("make", ["ADWIN", "KSWIN", "PageHinkley"])
@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(1, 2999), max_size=5))
@settings(max_examples=5)
def test_a_pool_does_what_its_streams_detectors_do_one_by_one(make, seed, cuts):
    setting = {**SETTINGS["criterion"], "alarm": RiverAlarm(MAKES[make]())}
    streams, values, times = lives(seed, "numeric", 3000)
    alone, expected = one_by_one(streams, values, times, **setting)
    pool, found = DetectorPool(**setting), []
    for start, end in pairwise([0, *sorted(set(cuts)), 3000]):
        events = pool.update_many(streams[start:end], values[start:end], at=times[start:end])
        found += [{**event.to_dict(), "position": start + event.position} for event in events]
    assert found == told(expected)
    assert {name: pool.to_bytes(name) for name in pool} == {name: detector.to_bytes() for name, detector in alone.items()}
    other = DetectorPool(**setting)
    assert other.restore(pool.to_bytes(streams[0])) == streams[0]


# ---------------------------------------------------------------- the service


def test_a_crash_before_and_after_every_step_changes_nothing():
    some = feeds(4)
    of_river = [
        feed._replace(fields=tuple(
            field._replace(fresh=Detector(**{**SHORT, "alarm": RiverAlarm(MAKES[make]())})) if field.is_numeric else field
            for field, make in zip(feed.fields, ("ADWIN, eager", "PageHinkley", ""), strict=False)
        ))
        for feed in some
    ]
    log = filled_log(seed=7, length=900, keys=2, partitions=1)
    pace = Pace(commit_every_seconds=1e9, commit_every_records=200, learning_seconds=0.03, state_share=0.2, readings_every_seconds=0)
    calm, _ = run(log, of_river, pace)
    plain, _ = run(log, some, pace)
    assert ids_by_partition(calm) != ids_by_partition(plain)
    assert sum(event.kind == "drift.raised" and event.evidence == 0 for event in calm.events) >= 2
    died = 0
    for step in range(10**6):
        rough, steps = run(log, of_river, pace, crashes=[step])
        if not steps.died_at:
            break
        died += 1
        assert (ids_by_partition(rough), rough.entries) == (ids_by_partition(calm), calm.entries), steps.died_at
    assert died > 50


# ---------------------------------------------------------------- hostile state


PLACES = 150                    # of bytes that are changed; all of a small state


def sample(make: str) -> bytes:
    det = Detector(alarm=RiverAlarm(MAKES[make]()), name="s", **SETTINGS["no criterion"])
    det.update_many(swinging(6)[:290])
    assert det.state == "watching" or make not in ("NoDrift", "ADWIN")
    return det.to_bytes()


def values_of(blob: bytes):
    return opened(blob)["life"]["watching"]["alarm"]["values"]


def with_values(blob: bytes, values: bytes) -> bytes:
    state = opened(blob)
    state["life"]["watching"]["alarm"]["values"] = values
    return sealed(blob, msgspec.msgpack.encode(state))


def hostile(make: str) -> Iterator[tuple[str, bytes]]:
    blob = sample(make)
    values = values_of(blob)
    for name, other in wrong_contents(msgspec.msgpack.decode(values)):
        try:
            yield name, with_values(blob, msgspec.msgpack.encode(other))
        except (OverflowError, TypeError):
            continue
    for place in range(0, len(values), max(1, len(values) // PLACES)):
        for mask in (0x01, 0x80, 0xFF):
            yield f"byte {place} ^ {mask}", with_values(blob, values[:place] + bytes([values[place] ^ mask]) + values[place + 1:])
        yield f"cut at {place}", with_values(blob, values[:place])
    for alarm in ({"phase": -1}, {"phase": 2}, {"up": -1}, {"up": 10**6}, {"values": b""}):
        state = opened(blob)
        state["life"]["watching"]["alarm"].update(alarm)
        yield str(alarm), sealed(blob, msgspec.msgpack.encode(state))
    state = opened(blob)
    state["life"]["watching"]["alarm"] = None
    yield "no alarm", sealed(blob, msgspec.msgpack.encode(state))


def fault_of(make: str, blob: bytes) -> str | None:
    """None if `blob` is refused with StateError, or restores a detector that works on."""
    try:
        det = Detector.from_bytes(blob, RiverAlarm(MAKES[make]()))
    except StateError:
        return None
    except BaseException as error:          # a panic of native code is none of Exception's
        return f"from_bytes: {error!r:.150}"
    try:
        det.update_many(np.linspace(-3.0, 3.0, 150))
        det.update_many([0.5] * 50)
        Detector.from_bytes(det.to_bytes(), RiverAlarm(MAKES[make]()))
    except BaseException as error:
        return f"afterwards: {error!r:.150}"
    return None


@pytest.mark.parametrize("make", ["ADWIN", "ADWIN, eager", "KSWIN", "PageHinkley", "Dummy, random"])
def test_state_that_nobody_wrote_is_refused_or_works(make):
    done = subprocess.run([sys.executable, "-W", "ignore", __file__, make], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"the interpreter died ({done.returncode}) after {done.stderr[-300:]}"
    tried, faults = json.loads(done.stdout)
    assert faults == []
    assert tried > 500


ROW, WIDTH, ROWS = struct.Struct("<QQQ3dQ3d"), 52, 84        # of ADWIN's native window with two buckets in a row; where its width and rows stand


def window_with(window: bytes, row: int, used: int, width: float) -> bytes:
    """The bytes of a window in which a row says to have so many buckets, and all of it to hold so many values."""
    changed = bytearray(window)
    struct.pack_into("<Q", changed, ROWS + 8 + row * ROW.size + 8, used)
    struct.pack_into("<d", changed, WIDTH, width)
    return bytes(changed)


def test_a_native_window_that_contradicts_itself_never_reaches_native_code():
    blob, make = sample("ADWIN, eager"), MAKES["ADWIN, eager"]
    node = msgspec.msgpack.decode(values_of(blob))
    window = node["_helper"]
    (rows,), (width,) = struct.unpack_from("<Q", window, ROWS), struct.unpack_from("<d", window, WIDTH)
    used = [ROW.unpack_from(window, ROWS + 8 + row * ROW.size)[1] for row in range(rows)]
    assert sum(count << row for row, count in enumerate(used)) == width
    assert window_with(window, 0, used[0], width) == window
    wrong = {
        "another width": window_with(window, 0, used[0], width + 1),
        "an empty last row": window_with(window, rows - 1, 0, width - (used[-1] << rows - 1)),
        "an empty first row": window_with(window, 0, 0, width - used[0]),
        "a row too full": window_with(window, 0, 3, width - used[0] + 3),
    }
    for bad in wrong.values():
        with pytest.raises(StateError, match="damaged"):
            Detector.from_bytes(with_values(blob, msgspec.msgpack.encode({**node, "_helper": bad})), RiverAlarm(make()))


def test_stored_bytes_name_no_code_and_none_that_they_name_is_run():
    blob = sample("KSWIN")
    assert not any(word in values_of(blob) for word in (b"river", b"random", b"KSWIN", b"builtins", b"deque", b"collections"))
    node = msgspec.msgpack.decode(values_of(blob))
    for more in ({"__class__": "os.system"}, {"__reduce__": ["os.system", ["true"]]}, {"update": "print"}, {"window_size": 10}, {"seed": 3}):
        with pytest.raises(StateError, match="attributes"):
            Detector.from_bytes(with_values(blob, msgspec.msgpack.encode({**node, **more})), RiverAlarm(MAKES["KSWIN"]()))
    assert HEADER.size < len(blob)


def test_the_example_in_the_readme_runs_and_raises(capsys):
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    (code,) = [block for block in re.findall(r"^```python\n(.*?)^```", readme, re.S | re.M) if "RiverAlarm" in block]
    exec(compile(code, "README.md", "exec"), {})
    assert "drift.raised" in capsys.readouterr().out


if __name__ == "__main__":
    found, count = [], 0
    for place, wrong in hostile(sys.argv[1]):
        count += 1
        print(place.encode("ascii", "replace").decode(), file=sys.stderr, flush=True)      # the last line, should the interpreter die
        if fault := fault_of(sys.argv[1], wrong):
            found.append(f"{place}: {fault}")
    print(json.dumps([count, found[:20]]))
