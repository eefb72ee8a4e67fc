"""StreamKL is a river drift detector, and a Detector underneath."""

import random

import numpy as np
import pytest
from river.base import DriftDetector
from river.drift import ADWIN

from streamkl import Detector
from streamkl.adapters.river_drift import StreamKL


def rivers_own_stream():
    """The stream of river's docstrings, changed at 1000."""
    rng = random.Random(12345)
    return rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)


def drifts_of(detector, values):
    found = []
    for i, x in enumerate(values):
        detector.update(x)
        if detector.drift_detected:
            found.append(i)
    return found


def test_the_change_in_rivers_own_stream_is_detected_soon_after_it():
    found = drifts_of(StreamKL(), rivers_own_stream())
    assert len(found) == 1
    assert 1000 <= found[0] <= 1023        # not later than river's ADWIN
    assert drifts_of(ADWIN(), rivers_own_stream()) == [1023]


@pytest.mark.parametrize(
    "setting", [{}, {"warmup": 200, "window": 50, "false_alarms": 1000}, {"warmup": 150, "on_drift": "hold", "min_effect": None}]
)
def test_it_detects_where_the_detector_raises(setting):
    values = np.random.default_rng(3).standard_normal(3000)
    values[1200:1800] += 1.5
    det = Detector(**setting)
    raised = [e.index for e in map(det.update, values) if e is not None and e.kind == "drift.raised"]
    assert raised
    assert drifts_of(StreamKL(**setting), values.tolist()) == raised


def test_it_has_the_interface_that_river_expects():
    det = StreamKL(warmup=200)
    assert isinstance(det, DriftDetector)
    assert det.drift_detected is False
    assert isinstance(StreamKL._unit_test_params, type(DriftDetector._unit_test_params))
    assert list(StreamKL._unit_test_params())
    assert repr(det)


def test_a_clone_is_fresh_with_the_same_settings():
    values = rivers_own_stream()
    det = StreamKL(warmup=200, window=50, false_alarms=1000)
    expected = drifts_of(det, values)
    clone = det.clone()
    assert type(clone) is StreamKL
    assert clone.drift_detected is False
    assert drifts_of(clone, values) == expected


def test_missing_values_are_taken():
    det = StreamKL(warmup=100)
    for x in [float("nan"), None, 1.0, 2.0] * 100:
        det.update(x)
    assert det.drift_detected is False
