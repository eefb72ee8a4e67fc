"""How long does the loop stand still to commit while 100,000 streams change, and how much is written? Above 200 ms (99th percentile), or above
half of the input: revisit `service/thrift.py` and the checkpoint.

10,000 keys of 10 numbers in records of 179 bytes, all with references of 10,000 observations, which are written into the state first; then
`streamkl run` with all defaults over so many records, on Kafka (4 partitions) or from a file with its state in SQLite. Told: commits once every key
has come back, bytes of state beside those of the input (learning excluded: nothing learns), how much of each log a restart reads again, and memory.
    python tests/benchmarks/bench_commit.py [--state kafka sqlite] [--keys 10000] [--records 1000000]
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import one_broker, unique
from learnt_state import write
from service_process import ServiceProcess, configuration, folder, with_topics
from traffic import Traffic, value_of

PARTITIONS = 4
WANTED_SECONDS, WANTED_SHARE = 0.2, 0.5
WARM = 15                       # records of a key, on average, behind which all keys are back
RECORD_BYTES = 179


def told(name: str, service: ServiceProcess, keys: int, memory_mb: float, rate: float, cpu: float) -> None:
    """Print what the log says of the commits."""
    commits = [line for line in service.told("work.committed") if line["records"]]
    taken = np.cumsum([line["records"] for line in commits])
    steady = [line for line, sofar in zip(commits, taken, strict=True) if sofar > WARM * keys][:-1]
    seconds = np.array([line["seconds"] for line in steady])
    share = sum(line["state_bytes"] for line in steady) / (RECORD_BYTES * sum(line["records"] for line in steady))
    largest = max(line["state_bytes"] for line in steady)
    records = np.median([line["records"] for line in steady])
    middle, late, most = (1e3 * np.quantile(seconds, share_of) for share_of in (0.5, 0.99, 1.0))
    print(f"{name}: {len(steady)} commits of {records:,.0f} records: median {middle:.0f} ms, 99 % {late:.0f} ms, most {most:.0f} ms "
          f"(wanted: {1e3 * WANTED_SECONDS:.0f}); {1e3 * cpu / len(commits):.0f} ms of the loop's own processor time each")
    print(f"  state/input {share:.2f} (wanted: below {WANTED_SHARE}), largest unit {largest / 1e6:.1f} MB, {memory_mb:.0f} MB of memory, "
          f"{rate:,.0f} records/s, load {os.getloadavg()[0]:.1f}", flush=True)


def measured(config: dict, place: Path, options: argparse.Namespace, name: str) -> None:
    """Run to the last record, end at once, and restart to see how far back it goes."""
    service = ServiceProcess(config, place)
    try:
        samples = service.watched(lambda one: one.records >= options.records, 900)
    finally:
        service.kill()
    steady = [one for one in samples if one.records > WARM * options.keys]
    rate = (steady[-1].records - steady[0].records) / max(1e-9, steady[-1].at - steady[0].at)
    told(name, service, options.keys, samples[-1].memory_mb, rate, samples[-1].stages_cpu["commit"])
    again = ServiceProcess(config, place)
    try:
        again.watched(lambda one: one.records > 0, 300)
        restored = again.told("state.restored")
    finally:
        again.kill()
    behind = [line["processed"] - line["replay_from"] for line in restored]
    print(f"  a restart reads again {', '.join(format(one, ',') for one in behind)} records of each partition", flush=True)


def on_kafka(options: argparse.Namespace, place: Path) -> None:
    broker = one_broker()
    try:
        topic = broker.topic("bench-commit", PARTITIONS)
        application = with_topics(broker, unique("bench"), PARTITIONS)
        config = configuration(broker.bootstrap, topic, application)
        began = time.monotonic()
        size = write(ServiceProcess.write(config, place, None), options.keys, PARTITIONS)
        print(f"{10 * options.keys:,} streams, {size / 1e6:.0f} MB of state, written in {time.monotonic() - began:.0f} s", flush=True)
        Traffic(options.keys, options.distinct).send(broker.bootstrap, topic, options.records)
        measured(config, place, options, "Kafka")
    finally:
        broker.close()


def on_sqlite(options: argparse.Namespace, place: Path) -> None:
    rng = np.random.default_rng(1)
    lines = place / "lines.jsonl"
    with lines.open("wb") as file:
        for start in range(0, options.records, options.distinct):
            count = min(options.distinct, options.records - start)
            keys = rng.integers(0, options.keys, count).tolist()
            for key, row in zip(keys, rng.standard_normal((count, 10)).tolist(), strict=True):
                file.write(value_of(key, row) + b"\n")
    config = configuration("", "lines", unique("bench"), source={"kind": "file", "path": str(lines)}, state={"path": str(place / "state.db")})
    size = write(ServiceProcess.write(config, place, None), options.keys, 1)
    print(f"{10 * options.keys:,} streams, {size / 1e6:.0f} MB of state", flush=True)
    measured(config, place, options, "SQLite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--state", nargs="+", choices=("kafka", "sqlite"), default=["kafka", "sqlite"])
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--distinct", type=int, default=1_000_000)
    options = parser.parse_args()
    for state in options.state:
        with folder() as place:
            (on_kafka if state == "kafka" else on_sqlite)(options, Path(place))


if __name__ == "__main__":
    main()
