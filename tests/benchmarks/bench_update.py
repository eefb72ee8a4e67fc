"""How many of our updates fit into one of river's ADWIN? Below 1 for `update`, or below 4 for `update_many`: revisit the kernel.

Everything runs in one process, in turns, on the same 200,000 distinct values; a row's figure is its best round, since noise only adds.
    python tests/benchmarks/bench_update.py [--rounds 15]
"""

import argparse
import time

import numpy as np
from river.drift import ADWIN, KSWIN, PageHinkley

from streamkl import Detector

VALUES = 200_000
SLOW_VALUES = 2_000                 # KSWIN takes 0.1 ms for one


def normal_values(count, seed):
    return np.random.default_rng(seed).standard_normal(count)


def one_by_one(update, values):
    def run():
        for value in values:
            update(value)
    return run, len(values)


def in_batches(update_many, values):
    return lambda: update_many(values), len(values)


def contestants(values, texts):
    """Name -> what is timed, and how many events that is. All are made afresh, outside the timed part; none of ours ever alarms."""
    reference, short = normal_values(10_000, seed=2), normal_values(600, seed=2)
    as_list = values.tolist()
    of_texts = {"reference": texts[:1000], "kind": "categorical", "false_alarms": 1e15}
    return {
        "Detector.update_many": in_batches(Detector(reference, false_alarms=1e15).update_many, values),
        "Detector.update_many, reference of 600": in_batches(Detector(short, false_alarms=1e15).update_many, values),
        "Detector.update_many, budget alone": in_batches(Detector(reference, false_alarms=1e15, min_effect=None).update_many, values),
        "Detector.update_many, categorical": in_batches(Detector(**of_texts).update_many, texts),
        "Detector.update": one_by_one(Detector(reference, false_alarms=1e15).update, as_list),
        "Detector.update, categorical": one_by_one(Detector(**of_texts).update, texts),
        "Detector.update, threshold on JS": one_by_one(Detector(reference, alarm="threshold", raise_at=9.0).update, as_list),
        "river ADWIN.update": one_by_one(ADWIN().update, as_list),
        "river PageHinkley.update": one_by_one(PageHinkley().update, as_list),
        "river KSWIN.update": one_by_one(KSWIN(seed=1).update, as_list[:SLOW_VALUES]),
    }


def measure(rounds):
    values = normal_values(VALUES, seed=1)
    texts = np.random.default_rng(3).choice(["GET", "PUT", "POST", "HEAD", "DELETE"], VALUES).tolist()
    best = {}
    for _ in range(rounds):
        for name, (run, count) in contestants(values, texts).items():
            begin = time.perf_counter()
            run()
            best[name] = min(best.get(name, float("inf")), (time.perf_counter() - begin) / count)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    best = measure(parser.parse_args().rounds)
    adwin = best["river ADWIN.update"]
    print(f"{'':40}{'ns an event':>14}{'ADWIN / it':>14}")
    for name, seconds in best.items():
        print(f"{name:40}{seconds * 1e9:14.1f}{adwin / seconds:14.2f}")


if __name__ == "__main__":
    main()
