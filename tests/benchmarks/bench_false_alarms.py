"""How many false alarms does a stationary stream raise, as a share of its budget? Above 1, beyond chance, the promise is broken.

First the budget alone (`min_effect=None`, each observation bet on) on independent observations; then the default settings on observations
that follow each other. Each run has a fresh reference, given or learnt; observations inside an episode are not counted.
    python tests/benchmarks/bench_false_alarms.py [--quick]
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
    "student t, 2": lambda rng, count: rng.standard_t(2, count),
    "uniform": lambda rng, count: rng.random(count),
}
CORRELATED = {"independent": ar(0.0), **{f"AR {rho}": ar(rho) for rho in (0.3, 0.5, 0.8, 0.9, 0.95)}, "GARCH": None}


def garch(rng, count):
    """GARCH(1,1) with Gaussian shocks: w = .05, a = .1, b = .85; calm and wild times alternate, the mean does not move."""
    shocks, values, variance = rng.standard_normal(count), np.empty(count), 1.0
    for i, shock in enumerate(shocks.tolist()):
        values[i] = shock * variance**0.5
        variance = 0.05 + (0.1 * shock * shock + 0.85) * variance
    return values


CORRELATED["GARCH"] = garch


def false_alarms(det, values):
    """Return alarms, and observations that were watched; None where the stream was still learning at the end."""
    alarms, watched, since = 0, 0, None if det.state == "learning" else -1
    for event in det.update_many(values):
        if event.kind == "drift.raised":
            alarms, watched = alarms + 1, watched + event.index - since
        since = event.index
    return alarms, watched + (len(values) - since if det.state == "watching" else 0)


def rate(detector, values_of, seed, runs, events, budget):
    """Return false alarms over the budget, with its Monte Carlo error."""
    alarms = watched = 0
    for run in range(runs):
        rng = np.random.default_rng([*seed, run])
        found = false_alarms(detector(rng), values_of(rng, events))
        alarms, watched = alarms + found[0], watched + found[1]
    share = alarms * budget / max(watched, 1)
    return f"{share:.2f} +- {max(share, budget / max(watched, 1)) / max(alarms, 1) ** 0.5:.2f}"


def print_row(name, cells):
    print(f"{name:16}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def independent(budgets, runs, least_events):
    print(f"The budget alone, independent observations: false alarms / budget; {runs} references of 1,000")
    print_row("", [f"budget {budget:,.0f}" for budget in budgets])
    for number, (name, values_of) in enumerate(SHAPES.items()):
        kind = "categorical" if "texts" in name else "numeric"
        cells = []
        for budget in budgets:
            def detector(rng, budget=budget):
                return Detector(values_of(rng, 1000), kind=kind, false_alarms=budget, min_effect=None, stride=1, on_drift="hold")  # noqa: B023

            cells.append(rate(detector, values_of, (number, 1), runs, max(least_events, int(budget)), budget))
        print_row(name, cells)


def correlated(budgets, runs, events):
    print(f"\nDefault settings, observations that follow each other: false alarms / budget; {runs} streams of {events:,}")
    print_row("", [f"budget {budget:,.0f}" for budget in budgets] + ["no criterion, 20,000"])
    for number, (name, values_of) in enumerate(CORRELATED.items()):
        cells = [rate(lambda rng, a=a: Detector(false_alarms=a), values_of, (number, 2), runs, events, a) for a in budgets]
        cells.append(rate(lambda rng: Detector(false_alarms=20_000, min_effect=None), values_of, (number, 2), runs, events, 20_000))
        print_row(name, cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--only", choices=["independent", "correlated"])
    options = parser.parse_args()
    part = 10 if options.quick else 1
    if options.only != "correlated":
        independent((1e4, 1e5, 1e6), 250 // part, 300_000)
    if options.only != "independent":
        correlated((1e4, 1e5), 200 // part, 200_000)


if __name__ == "__main__":
    main()
