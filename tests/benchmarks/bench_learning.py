"""How long does a stream take to learn its reference: sorting, bins, autocorrelation, natural variability, and the tracker?

    python tests/benchmarks/bench_learning.py [--repeats 30]
"""

import argparse
import time

import numpy as np
from scipy.signal import lfilter

from streamkl import Detector, Reference
from streamkl.detect.study import correlation_of, study


def ar(rho):
    return lambda rng, m: lfilter([1.0], [1.0, -rho], rng.standard_normal(m))


STREAMS = {
    "normal": ar(0.0), "AR .9": ar(0.9), "AR .99": ar(0.99),
    "40 % zeros": lambda rng, m: np.where(rng.random(m) < 0.4, 0.0, rng.standard_normal(m)),
    "texts": lambda rng, m: [f"c{min(x, 60)}" for x in rng.zipf(1.5, m).tolist()],
}


def fastest(repeats, work):
    """Return the median of so many times, in ms."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    print(f"{'':12} {'m':>6} {'bins':>8} {'correlation':>12} {'study':>8} {'all':>8}   median ms")
    for name, values_of in STREAMS.items():
        for m in (600, 4_000, 10_000):
            values = values_of(np.random.default_rng(1), m)
            kind = "categorical" if name == "texts" else "numeric"
            reference = Reference.fit(values, kind)
            parts = (
                lambda: Reference.fit(values, kind), lambda: correlation_of(reference), lambda: study(reference, 1000),  # noqa: B023
                lambda: Detector(values, kind=kind),  # noqa: B023
            )
            times = [fastest(options.repeats, part) for part in parts]
            print(f"{name:12} {m:6,} {times[0]:8.2f} {times[1]:12.2f} {times[2]:8.2f} {times[3]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
