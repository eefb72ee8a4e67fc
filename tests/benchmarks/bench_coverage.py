"""How often does the 95 % interval of a divergence hold the true one, where observations follow each other?

AR(1) streams of unit variance, with no change and with a shift; the true divergence is that of the two normal laws over the bins that the
reference gave. `naive`: the same interval, counting each observation as independent.
    python tests/benchmarks/bench_coverage.py [--repeats 400] [--m 10000] [--n 1000] [--shift 0.5]
"""

import argparse
from statistics import NormalDist

import numpy as np
from scipy.signal import lfilter

from streamkl import Detector, divergence

RHOS = (0.0, 0.5, 0.8, 0.9, 0.95)
MEASURES = ("kl", "js")
NORMAL = NormalDist()


def ar(rng, rho, count):
    """Return a stationary AR(1) stream of unit variance."""
    start = rng.standard_normal()
    shocks = rng.standard_normal(count) * np.sqrt(1 - rho * rho)
    return lfilter([1.0], [1.0, -rho], shocks, zi=[rho * start])[0]


def masses(edges, shift):
    """Return the probability of each bin under a normal law shifted by so many sigma; novel and missing have none."""
    upper = np.array([0.0, *(NORMAL.cdf(edge - shift) for edge in edges), 1.0])
    return np.r_[np.diff(upper), 0.0, 0.0]


def one(rng, rho, shift, m, n):
    """Return (measure, naive or not) -> whether the interval holds the truth, and how wide it is."""
    det = Detector(reference=ar(rng, rho, m), window=n, on_drift="hold")
    det.update_many(ar(rng, rho, n) + shift)
    seen = det.histogram()
    edges = det.reference.bins.edges
    found = {}
    for measure in MEASURES:
        true = getattr(divergence, measure)(masses(edges, shift), masses(edges, 0.0))
        for is_naive in (False, True):
            estimate = divergence.estimate(seen.window, seen.reference, measure) if is_naive else det.divergence(measure)
            found[measure, is_naive] = (estimate.low <= true <= estimate.high, estimate.high - estimate.low, estimate.value - true)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--m", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=1_000)
    parser.add_argument("--shift", type=float, default=0.5)
    options = parser.parse_args()
    print(f"m = {options.m:,}, n = {options.n:,}, {options.repeats} repeats; width and error are means, in nats")
    print(f"{'rho':>5} {'shift':>6} {'measure':>8} {'coverage':>9} {'naive':>7} {'width':>8} {'naive':>8} {'error':>8}")
    for rho in RHOS:
        for shift in (0.0, options.shift):
            rng = np.random.default_rng([round(100 * rho), round(100 * shift)])
            all_found = [one(rng, rho, shift, options.m, options.n) for _ in range(options.repeats)]
            for measure in MEASURES:
                ours, naive = (np.array([found[measure, is_naive] for found in all_found], float) for is_naive in (False, True))
                (held, width, error), (held_naive, width_naive, _) = ours.mean(axis=0), naive.mean(axis=0)
                print(f"{rho:5} {shift:6} {measure:>8} {held:9.3f} {held_naive:7.3f} {width:8.3f} {width_naive:8.3f} {error:+8.3f}", flush=True)


if __name__ == "__main__":
    main()
