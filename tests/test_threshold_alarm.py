"""The threshold alarm against a window that is counted, and summed, anew at each observation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamkl import Detector

WINDOWS = [1, 2, 16, 40, 63, 64, 65, 300, 511, 512, 513]    # around where blocks begin to be worth while, and end
NEW = "smooth, and missing is new"
SHAPES = ["smooth", NEW, "rounded", "one decimal, some missing", "atoms"]


def js(p, q):
    m = (p + q) / 2
    return float((p * np.log(p / m) + q * np.log(q / m)).sum() / 2)


def kl(p, q):
    return float((p * np.log(p / q)).sum())


def numbers(rng, shape, count, shift):
    x = rng.standard_normal(count) + shift
    if shape == "rounded":
        return np.round(x)
    if shape == "one decimal, some missing":
        return np.where(rng.random(count) < 0.1, np.nan, np.round(x, 1))
    return np.where(rng.random(count) < 0.5, np.round(2 * x), x) if shape == "atoms" else x


def swinging(rng, shape, count):
    """Values that leave the reference's distribution for a while, by a little or far, and come back."""
    parts = [numbers(rng, shape, int(rng.choice([3, 40, 300])), rng.choice([0, 0, 0.2, 0.5, 5])) for _ in range(count // 20)]
    values = np.concatenate(parts)[:count]
    return np.where(rng.random(count) < 0.02, np.nan, values) if shape == NEW else values


def counted_anew(detector, values, measure, high, low):
    """(index, kind) of each event. The bias of both limits counts the bins that window or reference occupy."""
    watching, found, is_drifting = detector.life.watching, [], False
    bins, window = watching.reference.bins, watching.window
    expected, each = bins.counts, watching.study.autocorrelation.mean_tau * (1 / window + 1 / watching.reference.m) / {"js": 8, "kl": 2}[measure]
    q = (expected + 0.5) / (expected + 0.5).sum()
    where, counts = bins.index(values), np.zeros(bins.k)
    for i, b in enumerate(where):
        counts[b] += 1
        if i >= window:
            counts[where[i - window]] -= 1
        if i + 1 < window:
            continue
        p = (counts + 0.5) / (counts + 0.5).sum()
        value = (js if measure == "js" else kl)(p, q) - each * (((counts > 0) | (expected > 0)).sum() - 1)
        if not is_drifting and value > high:
            found.append((i, "drift.raised"))
        elif is_drifting and value <= low:
            found.append((i, "drift.resolved"))
        else:
            continue
        is_drifting = not is_drifting
    return found


@pytest.mark.parametrize("measure", ["js", "kl"])
@given(
    seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES), m=st.sampled_from([200, 300, 3000]),
    window=st.sampled_from(WINDOWS), high=st.sampled_from([0.002, 0.005, 0.02, 0.05, 0.1, 0.3]), ratio=st.sampled_from([1.05, 1.5, 3.0]),
)
@example(seed=7, shape="rounded", m=3000, window=300, high=0.02, ratio=1.5)
@example(seed=2, shape=NEW, m=200, window=512, high=0.3, ratio=1.05)
@example(seed=3, shape=NEW, m=200, window=300, high=0.3, ratio=1.05)
@settings(max_examples=60)
def test_it_is_raised_and_resolved_where_a_window_counted_anew_crosses_the_limit(measure, seed, shape, m, window, high, ratio):
    rng = np.random.default_rng(seed)
    reference, values = numbers(rng, shape, m, 0), swinging(rng, shape, 2500)
    setting = {"alarm": "threshold", "measure": measure, "raise_at": high, "resolve_at": high / ratio, "window": window, "on_drift": "hold"}
    detector, alone = Detector(reference, **setting), Detector(reference, **setting)
    expected = counted_anew(detector, values, measure, high, high / ratio)
    assert [(event.position, event.kind) for event in detector.update_many(values)] == expected
    assert [(i, event.kind) for i, x in enumerate(values.tolist()) if (event := alone.update(x))] == expected


def test_a_bin_that_nobody_had_raises_the_limit_in_the_midst_of_a_batch():
    """The limit is chosen so that it is crossed when that bin is not counted, and not otherwise: for each of some hundred points of a slow climb."""
    rng = np.random.default_rng(5)
    reference = rng.standard_normal(3000)
    values = np.concatenate([rng.standard_normal(700), rng.standard_normal(900) + np.linspace(0, 5, 900)])
    values[560] = np.nan                                        # the only missing one; it comes while JS rests, in a full window
    setting = {"alarm": "threshold", "measure": "js", "window": 1500, "on_drift": "hold"}
    plain = Detector(reference, **setting).life.watching
    each = plain.study.autocorrelation.mean_tau * (1 / 1500 + 1 / plain.reference.m) / 8
    values = np.concatenate([rng.standard_normal(1500), values])
    top = max_of(plain, values, each)
    differing = 0
    for high in np.arange(top - 60.3 * each, top, each / 2):
        detector = Detector(reference, raise_at=high, resolve_at=high / 100, **setting)
        expected = counted_anew(detector, values, "js", high, high / 100)
        assert [(event.position, event.kind) for event in detector.update_many(values)] == expected
        differing += expected != counted_anew(detector, values, "js", high - each, high / 100)
    assert differing > 20


def max_of(watching, values, each):
    """The largest JS, less its bias, of any window of these values."""
    bins, window = watching.reference.bins, watching.window
    q, where = (bins.counts + 0.5) / (bins.counts + 0.5).sum(), bins.index(values)
    tops = []
    for end in range(window, len(values), 10):
        counts = np.bincount(where[end - window:end], minlength=bins.k)
        p = (counts + 0.5) / (counts + 0.5).sum()
        tops.append(js(p, q) - each * (((counts > 0) | (bins.counts > 0)).sum() - 1))
    return max(tops)
