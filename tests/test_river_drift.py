"""StreamKL is a river drift detector, and a Detector underneath: river's own checks, its wrappers and its ensembles take it."""

import contextlib
import copy
import pickle
import random
from itertools import islice

import numpy as np
import pytest
from river import checks, drift, ensemble, forest, metrics, naive_bayes, tree
from river.base import DriftAndWarningDetector, DriftDetector
from river.datasets import synth
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


# ---------------------------------------------------------------- river's own checks


def passed(model):
    """Names of river's general checks that a model passes; those that need a data set are of estimators, and so is the one for tags."""
    found = []
    for check in general_checks(model):
        try:
            check(model.clone())
        except (AssertionError, AttributeError):
            continue
        found.append(check.__name__)
    return found


def general_checks(model):
    with contextlib.suppress(ModuleNotFoundError):          # scikit-learn, where the data sets for estimators come from: those checks are behind
        yield from checks.yield_checks(model)


@pytest.mark.parametrize("settings", [
    {}, {"warmup": 200, "window": 50}, {"reference": list(range(500))}, {"kind": "categorical", "warmup": 150}, {"alarm": "threshold"},
], ids=str)
def test_it_passes_every_check_that_rivers_own_detectors_pass(settings):
    theirs = set(passed(ADWIN()))
    assert len(theirs) >= 12
    assert set(passed(StreamKL(**settings))) >= theirs


def test_a_clone_takes_other_settings_as_rivers_do():
    clone = StreamKL(warmup=200, window=50).clone({"warmup": 300})
    assert clone.settings == {"warmup": 300, "window": 50}
    assert clone.detector.settings.warmup == 300


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda detector: pickle.loads(pickle.dumps(detector))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("seen", [0, 150, 900, 1010, 1100])
def test_a_copy_goes_on_as_the_original_and_apart_from_it(copied, seen):
    values = rivers_own_stream()
    det = StreamKL(warmup=200, window=50, false_alarms=1000)
    drifts_of(det, values[:seen])
    twin = copied(det)
    before = twin.detector.to_bytes()
    expected = drifts_of(det, values[seen:])
    assert twin.detector.to_bytes() == before
    assert drifts_of(twin, values[seen:]) == expected
    assert twin.detector.to_bytes() == det.detector.to_bytes()


def test_its_memory_is_bounded():
    det = StreamKL(warmup=200, mature_until=400)
    rng = random.Random(1)
    used = []
    for _ in range(4):
        for _ in range(2000):
            det.update(rng.gauss(0, 1))
        used.append(det._raw_memory_usage)
    assert max(used[1:]) <= 1.05 * used[0]


# ---------------------------------------------------------------- warnings


def test_a_warning_comes_between_quiet_and_alarm_and_never_with_it():
    det = StreamKL(warmup=200, false_alarms=100_000)
    rng = random.Random(3)
    told = []
    for i in range(2000):
        det.update(rng.gauss(0.0 if i < 1000 else 1.5, 1))
        told.append((det.warning_detected, det.drift_detected))
        assert not det.warning_detected or det.detector.evidence >= 100_000**0.5
    raised = [i for i, (_, is_drift) in enumerate(told) if is_drift]
    assert len(raised) == 1
    assert not any(is_warning and is_drift for is_warning, is_drift in told)
    assert sum(is_warning for is_warning, _ in told[:1000]) < 50         # of its own budget, the root of the alarm's
    assert all(is_warning for is_warning, _ in told[raised[0] - 2:raised[0]])
    assert not any(is_warning for is_warning, _ in told[raised[0]:raised[0] + 100])
    assert isinstance(det, DriftAndWarningDetector)


# ---------------------------------------------------------------- in river's wrappers and ensembles


def turning(seed, length=6000, turn=2000):
    """SEA, whose labels are turned over at each turn: what was learnt before is worse than nothing."""
    for i, (x, y) in enumerate(islice(synth.SEA(variant=0, seed=seed, noise=0.05), length)):
        yield x, y if (i // turn) % 2 == 0 else not y


def accuracy(model, seed=7):
    metric = metrics.Accuracy()
    for x, y in turning(seed):
        if (predicted := model.predict_one(x)) is not None:
            metric.update(y, predicted)
        model.learn_one(x, y)
    return metric.get()


def quick(false_alarms=5000):
    return StreamKL(warmup=200, false_alarms=false_alarms)


def test_retraining_on_its_alarm_keeps_a_classifier_right():
    plain = accuracy(naive_bayes.GaussianNB())
    watched = quick()
    retrained = accuracy(drift.DriftRetrainingClassifier(naive_bayes.GaussianNB(), watched, train_in_background=False))
    in_background = accuracy(drift.DriftRetrainingClassifier(naive_bayes.GaussianNB(), quick()))
    by_adwin = accuracy(drift.DriftRetrainingClassifier(naive_bayes.GaussianNB(), ADWIN(), train_in_background=False))
    assert plain < 0.7
    assert retrained > 0.88
    assert in_background > 0.84
    assert retrained > by_adwin - 0.02
    assert watched.detector.life.episode_number == 2         # the two turns, and nothing else


@pytest.mark.parametrize(("without", "within"), [
    (
        lambda: forest.ARFClassifier(n_models=3, seed=1, drift_detector=drift.NoDrift(), warning_detector=drift.NoDrift()),
        lambda: forest.ARFClassifier(n_models=3, seed=1, drift_detector=quick(), warning_detector=quick(500)),
    ),
    (
        lambda: ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=2, seed=1, disable_detector="drift"),
        lambda: ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=2, seed=1, drift_detector=quick(), warning_detector=quick(500)),
    ),
    (
        lambda: tree.HoeffdingTreeClassifier(),
        lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, drift_detector=quick()),
    ),
    (
        lambda: ensemble.BaggingClassifier(naive_bayes.GaussianNB(), n_models=2, seed=1),
        lambda: ensemble.BaggingClassifier(
            drift.DriftRetrainingClassifier(naive_bayes.GaussianNB(), quick(), train_in_background=False), n_models=2, seed=1),
    ),
], ids=["ARF", "SRP", "HAT", "bagging"])
def test_an_ensemble_that_asks_it_for_drift_is_better_than_without(without, within):
    assert accuracy(within()) > accuracy(without()) + 0.1
