"""How many false alarms does a stationary stream raise, as a share of its budget? Above 1 on independent observations: the promise is broken.

The budget alone (`min_effect=None`), a fresh reference for each of the runs; observations inside an episode are not counted. The AR rows
show what correlated neighbours do at stride 1: there the guarantee is void, and events say so.
    python tests/benchmarks/bench_false_alarms.py [--events 300000] [--references 64] [--budget 20000]
"""

import argparse

import numpy as np

from streamkl import Detector


def ar(rho):
    def values(rng, count):
        from scipy.signal import lfilter

        return lfilter([1.0], [1.0, -rho], rng.standard_normal(count))
    return values


SHAPES = {
    "normal": lambda rng, count: rng.standard_normal(count),
    "cauchy": lambda rng, count: rng.standard_cauchy(count),
    "lognormal": lambda rng, count: rng.lognormal(size=count),
    "rounded normal": lambda rng, count: np.round(rng.standard_normal(count), 1),
    "poisson 3": lambda rng, count: rng.poisson(3, count),
    "40 % zeros": lambda rng, count: np.where(rng.random(count) < 0.4, 0.0, rng.standard_normal(count)),
    "5 % missing": lambda rng, count: np.where(rng.random(count) < 0.05, np.nan, rng.standard_normal(count)),
    "bernoulli .1": lambda rng, count: rng.random(count) < 0.1,
    "prices": lambda rng, count: np.floor(rng.lognormal(3, 1, count)) + 0.99,
    "zipf, texts": lambda rng, count: [f"c{min(x, 60)}" for x in rng.zipf(1.5, count).tolist()],
    "AR .3": ar(0.3), "AR .5": ar(0.5), "AR .8": ar(0.8),
}


def false_alarms(det, values):
    """Return alarms, and observations that were watched."""
    alarms, watched, since = 0, 0, 0
    for event in det.update_many(values):
        if event.kind == "drift.raised":
            alarms, watched = alarms + 1, watched + event.index - since
        since = event.index
    return alarms, watched + (len(values) - since if det.state == "watching" else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--references", type=int, default=64)
    parser.add_argument("--budget", type=float, default=20_000)
    options = parser.parse_args()
    print(f"{'':16}" + "".join(f"{f'm = {m:,}':>24}" for m in (1_000, 5_000)))
    for number, (name, values) in enumerate(SHAPES.items()):
        row = f"{name:16}"
        for m in (1_000, 5_000):
            alarms = watched = 0
            for reference in range(options.references):
                rng = np.random.default_rng([number, m, reference])
                kind = "categorical" if "texts" in name else "numeric"
                det = Detector(values(rng, m), kind=kind, false_alarms=options.budget, min_effect=None, on_drift="hold")
                found = false_alarms(det, values(rng, options.events))
                alarms, watched = alarms + found[0], watched + found[1]
            rate = alarms * options.budget / watched
            row += f"{f'{rate:.2f} +- {rate / max(alarms, 1) ** 0.5:.2f}':>24}"
        print(row)


if __name__ == "__main__":
    main()
