"""The restatements that other tests lean on are themselves held to the specification."""

import numpy as np
import pytest
from specification.evidence import CategoricalBins, Evidence, NumericBins
from specification.fast_evidence import FastEvidence
from specification.shapes import SHAPES, make
from specification.twin import TwinDetector, corrected, direct_js, direct_kl


def bins_and_indices(name, seed, m, n, change):
    kind, reference, values = make(name, seed=seed, m=m, n=n, change=change)
    bins = NumericBins(reference) if kind == "numeric" else CategoricalBins(reference)
    return bins, bins.index(values).tolist()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("m", "stride", "cap"), [(500, 1, 1e6), (3000, 2, 1e6), (1000, 1, 2500)])
def test_fast_evidence_is_the_evidence_of_the_specification(name, m, stride, cap):
    bins, indices = bins_and_indices(name, seed=m, m=m, n=2500, change=1500)
    slow, fast = Evidence(bins, 2000, stride, cap=cap), FastEvidence(bins, 2000, stride, cap=cap)
    for t, b in enumerate(indices):
        criterion = t % 7 != 0
        assert fast.update(b, criterion) == slow.update(b, criterion)
        assert fast.evidence == pytest.approx(slow.evidence, rel=1e-12, abs=0)
    assert np.array_equal(fast.counts, slow.g)


@pytest.mark.parametrize("name", ["normal", "rounded normal", "zipf", "first missing values"])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_twin_without_criterion_raises_where_the_specification_does(name, stride):
    kind, reference, values = make(name, seed=5, m=1000, n=6000, change=2000)
    bins, indices = bins_and_indices(name, seed=5, m=1000, n=6000, change=2000)
    spec = Evidence(bins, 3e3, stride)
    twin = TwinDetector(list(reference), kind=kind, false_alarms=3e3, stride=stride, min_effect=None, on_drift="hold")
    for t, (x, b) in enumerate(zip(values, indices, strict=True)):
        hit = t % stride == 0 and spec.update(b)
        event = twin.update(x)
        if hit:
            assert event == ("drift.raised", t, 1, stride * spec.evidence)
            return
        assert event is None
        assert twin.evidence == stride * spec.evidence
    pytest.fail("the change was not seen: this test compared nothing at an alarm")


def test_the_direct_divergences_agree_with_numbers_worked_by_hand():
    # p = (3.5, 1.5) / 5 = (.7, .3), q = (1.5, 3.5) / 5 = (.3, .7)
    assert direct_kl([3, 1], [1, 3]) == pytest.approx(0.4 * np.log(7 / 3), rel=1e-14)
    assert direct_js([3, 1], [1, 3]) == pytest.approx(0.7 * np.log(1.4) + 0.3 * np.log(0.6), rel=1e-14)
    assert corrected("kl", [3, 1, 0], [1, 3, 0]) == pytest.approx(max(0, direct_kl([3, 1, 0], [1, 3, 0]) - 0.5 * (1 / 4 + 1 / 4)))
    assert corrected("js", [30, 10], [10, 30]) == pytest.approx(direct_js([30, 10], [10, 30]) - 1 / 8 * (1 / 40 + 1 / 40))
