"""How much longer does the same job take by hand, with pandas and scipy? Below 5 times: revisit the reading of files.

The job: a CSV of 1,000,000 rows with a time and a value; after every 100 rows, tell how far the last 1,000 values are from the first 10,000
and whether that is drift. By hand: read_csv, np.histogram over 40 quantile bins, scipy's KL and JS, and its two-sample KS test to tell
whether that is chance; or KL and JS alone, which tell only how far. `watch` does all of it after every row. Whole processes, in turns,
start-up included; the medians of the runs are compared.
    python tests/benchmarks/bench_watch.py [--rows 1000000] [--runs 3]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BY_HAND = """
import sys
import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, ks_2samp

values = pd.read_csv(sys.argv[1], parse_dates=["time"])["value"].to_numpy()
reference = values[:10_000]
edges = np.quantile(reference, np.linspace(0, 1, 41))
edges[0], edges[-1] = -np.inf, np.inf
q = np.histogram(reference, edges)[0] + 0.5
alarms = 0
for row in range(11_000, len(values) + 1, 100):
    window = values[row - 1_000:row]
    p = np.histogram(window, edges)[0] + 0.5
    kl, js = entropy(p, q), jensenshannon(p, q) ** 2
    alarms += js > 0.1 if sys.argv[2] == "divergence" else ks_2samp(window, reference, method="asymp").pvalue < 1e-6
print(kl, js, alarms)
"""
TEST_TOO = "by hand every 100 rows, KL, JS and KS"
WATCH = "import sys; from streamkl.app.cli import main; sys.exit(main())"


def write_rows(path, rows):
    values = np.random.default_rng(1).standard_normal(rows)
    values[rows // 2:] += 1.0
    times = np.datetime_as_string(np.datetime64("2026-01-01T00:00:00") + np.arange(rows).astype("timedelta64[s]"))
    with path.open("w") as file:
        file.write("time,value\n")
        file.writelines(f"{time},{value:.6f}\n" for time, value in zip(times, values, strict=True))


def seconds(command):
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_rows(path, options.rows)
        watch = [sys.executable, "-P", "-c", WATCH, "watch", str(path), "--value", "value"]
        jobs = {
            "streamkl watch": watch,
            "streamkl watch, with --time": [*watch, "--time", "time"],
            "by hand every 100 rows, KL and JS alone": [sys.executable, "-P", "-c", BY_HAND, str(path), "divergence"],
            TEST_TOO: [sys.executable, "-P", "-c", BY_HAND, str(path), "test too"],
        }
        taken = {name: [] for name in jobs}
        for _ in range(options.runs):
            for name, command in jobs.items():
                taken[name].append(seconds(command))
    by_hand = statistics.median(taken[TEST_TOO])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:44}{median:8.2f} s  ({min(times):.2f} to {max(times):.2f}){by_hand / median:8.1f} times")


if __name__ == "__main__":
    main()
