"""Former references: kept at each rebaseline, taken back by hand, and stored once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkl import Detector, DetectorPool
from streamkl.detect.former import MOST
from streamkl.detect.pieces import cut, join
from streamkl.errors import StateError

SHORT = {"warmup": 100, "mature_until": 0, "extend": 1, "false_alarms": 5000, "on_drift": "hold", "min_effect": 0.05}


def normal(seed: int, count: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def rebaselined(times: int, **changes) -> tuple[Detector, list]:
    """A stream that was rebaselined so often, and the references that it had, the present one last."""
    det = Detector(**{**SHORT, **changes})
    det.update_many(normal(0, 100))
    references = [det.reference]
    for i in range(1, times + 1):
        det.rebaseline(f"the {i}th")
        det.update_many(normal(i, 100, mean=float(i)))
        references.append(det.reference)
    return det, references


def test_the_reference_before_a_rebaseline_comes_back_with_who_asked_for_it_and_why():
    det, (first, second) = rebaselined(1)
    assert det.reference == second != first
    event = det.undo_rebaseline("a mistake", "ann")
    assert (event.kind, event.reason, event.by, event.reference_n, event.window_n) == ("reference.rebaselined", "a mistake", "ann", 100, 0)
    assert (det.reference, det.state, det.evidence) == (first, "watching", 0.0)
    assert det.undo_rebaseline() is None
    assert [e.kind for e in det.update_many(normal(9, 300, mean=3.0))] == ["drift.raised"]


def test_an_open_episode_is_over_once_the_reference_from_before_is_back():
    det, (first, _) = rebaselined(1)
    det.update_many(normal(7, 200))                   # as before the rebaseline: drift from the new reference
    assert det.state == "drifting"
    assert det.undo_rebaseline().episode == 1
    assert (det.state, det.reference) == ("watching", first)
    assert det.update_many(normal(8, 300)) == []


def test_a_rebaseline_that_learns_yet_can_be_taken_back():
    det, (first,) = rebaselined(0)
    det.rebaseline("new sensor", "ann")
    det.update_many(normal(3, 50))
    assert det.state == "learning"
    assert det.undo_rebaseline().kind == "reference.rebaselined"
    assert (det.state, det.reference, det.n) == ("watching", first, 150)


def test_a_rebaseline_by_policy_and_one_of_an_episode_keep_the_reference_from_before_too():
    by_policy = Detector(**{**SHORT, "on_drift": "rebaseline", "hold_for": 100})
    in_episode = Detector(**SHORT)
    for det in (by_policy, in_episode):
        det.update_many(normal(0, 200))
        first = det.reference
        events = det.update_many(normal(1, 80, mean=3.0))
        assert [e.kind for e in events] == ["drift.raised"]
        if det is in_episode:
            assert det.rebaseline("accepted", "ann") is None
        (event,) = det.update_many(normal(2, 150, mean=3.0))
        assert (event.kind, event.reason, event.by) == ("reference.rebaselined", *(("accepted", "ann") if det is in_episode else ("", "")))
        det.undo_rebaseline()
        assert det.reference == first


def test_what_was_never_rebaselined_has_nothing_to_take_back_however_far_it_matured():
    det = Detector(**{**SHORT, "mature_until": 800})
    events = det.update_many(normal(0, 1000))
    assert [e.kind for e in events].count("reference.learned") > 1
    assert det.undo_rebaseline() is None


def test_the_newest_ten_are_kept_and_each_undo_goes_one_back():
    det, references = rebaselined(13)
    for reference in reversed(references[-1 - MOST:-1]):
        assert det.undo_rebaseline() is not None
        assert det.reference == reference
    assert det.undo_rebaseline() is None


def test_a_given_reference_comes_back_as_the_one_that_was_given():
    det = Detector(normal(0, 400), false_alarms=200, on_drift="hold", warmup=100)
    given_one = det.reference
    det.rebaseline()
    det.update_many(normal(1, 100, mean=2.0))
    det = Detector.from_bytes(det.to_bytes())
    det.undo_rebaseline()
    det = Detector.from_bytes(det.to_bytes())
    assert det.reference == given_one
    assert det.guarantee == Detector(normal(0, 400), false_alarms=200, on_drift="hold", warmup=100).guarantee


@given(st.integers(0, 12), st.lists(st.sampled_from(["undo", "rebaseline", "values", "store"]), max_size=12))
@settings(max_examples=60)
def test_a_stored_stream_goes_back_as_one_that_was_never_stored(times, steps):
    calm, _ = rebaselined(times)
    rough = Detector.of_state(join(cut(calm)))
    for number, step in enumerate(steps):
        for det in (calm, rough):
            if step == "undo":
                det.undo_rebaseline("back", "ann")
            elif step == "rebaseline":
                det.rebaseline("on", "ann")
            elif step == "values":
                det.update_many(normal(100 + number, 130, mean=float(number % 3)))
        if step == "store":
            rough = Detector.of_state(join(cut(Detector.from_bytes(rough.to_bytes()))))
        assert rough.to_bytes() == calm.to_bytes()


def test_a_former_reference_that_is_stored_is_not_stored_again_and_goes_once_it_is_taken_back():
    det, _ = rebaselined(3)
    before = cut(det).chunks
    det.rebaseline()
    det.update_many(normal(4, 100))
    after = cut(det).chunks
    assert set(before) < set(after)
    assert [chunk.ordinal for chunk in after] == [0, 1, 2, 3]
    det.undo_rebaseline()
    assert set(cut(det).chunks) == set(before)
    assert len(cut(det).core) < 1.2 * len(cut(rebaselined(0)[0]).core) + 1500      # beside the origin's window


def test_a_former_reference_keeps_its_place_when_the_oldest_one_goes():
    det, _ = rebaselined(13)
    before = Detector.of_state(join(cut(det)))
    assert [chunk.ordinal for chunk in cut(before).chunks] == list(range(3, 13))
    det.rebaseline()
    det.update_many(normal(14, 100))
    assert len(set(cut(det).chunks) - set(cut(before).chunks)) == 1


def test_a_state_of_before_there_were_former_references_is_read():
    import msgspec

    from streamkl.detect.state import VERSION
    from streamkl.sketch import blob

    det = Detector(**SHORT)
    det.update_many(normal(0, 150))
    det.rebaseline("why")
    plain = msgspec.to_builtins(det.to_state(), builtin_types=(bytes,))
    for name in ("formers", "formers_end"):
        del plain["life"][name]
    del plain["life"]["learning"]["by"]
    old = Detector.from_bytes(blob.seal("detector", VERSION, plain))
    (event,) = old.update_many(normal(1, 100))
    assert (event.kind, event.reason, event.by) == ("reference.rebaselined", "why", "")


def test_a_former_reference_that_does_not_fit_is_refused_when_it_is_read():
    det, _ = rebaselined(1)
    other = Detector(kind="categorical", **SHORT)
    other.update_many(["a", "b"] * 50)
    other.rebaseline()
    det.life._formers.blobs = list(other.life._formers.blobs)
    with pytest.raises(StateError, match="former"):
        Detector.from_bytes(det.to_bytes())


def test_a_remark_tells_how_a_stream_stands_and_changes_nothing():
    det = Detector(**SHORT)
    learning = det.life.remark("stream.silenced", "a move", "ann")
    assert (learning.kind, learning.reason, learning.by, learning.index, learning.window_n) == ("stream.silenced", "a move", "ann", 0, 0)
    det.update_many(normal(0, 150))
    before = det.to_bytes()
    assert det.life.remark("stream.silenced", "", "").evidence == 0.0
    assert det.to_bytes() == before
    det.update_many(normal(1, 100, mean=3.0))
    told = det.life.remark("stream.unsilenced", "", "")
    assert (told.episode, told.evidence, told.divergence["kl"].value > 0.5) == (1, det.budget, True)


def test_a_pool_takes_back_as_a_detector_does():
    pool, alone = DetectorPool(**SHORT), Detector(**SHORT, name="s")
    for i, count in enumerate((150, 120, 130)):
        values = normal(i, count)
        pool.update_many(["s"] * count, values)
        alone.update_many(values)
        act = ("rebaseline", "undo_rebaseline", "undo_rebaseline")[i]
        assert getattr(pool, act)("s", "why") == getattr(alone, act)("why")
    assert pool.to_bytes("s") == alone.to_bytes()
