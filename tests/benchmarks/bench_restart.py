"""How long from the start of the process to the first record, with the state of 10,000 streams to restore from Kafka? Above 3 s: revisit restoring.

1,000 keys of 10 numbers, all with references of 10,000 observations; records wait in 4 partitions. Told by the service's own log and
metrics: the process starts, configuration and broker are there, each partition is restored, the first records are taken (looked at every 20 ms).
    python tests/benchmarks/bench_restart.py [--keys 1000] [--runs 3]
"""

import argparse
import os
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import one_broker, unique
from learnt_state import write
from service_process import ServiceProcess, configuration, folder, with_topics
from traffic import Traffic

PARTITIONS = 4
WANTED_SECONDS = 3.0


def when(line: dict) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def first_record(service: ServiceProcess) -> float:
    """Return the seconds from the start of the process to the first records."""
    service.watched(lambda one: one.records > 0, 120, every_seconds=0.02)
    return time.time() - service.began_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    broker = one_broker()
    taken = []
    try:
        with folder() as place:
            for _ in range(options.runs):
                topic = broker.topic("bench-restart", PARTITIONS)
                application = with_topics(broker, unique("bench"), PARTITIONS)
                Traffic(options.keys, 20_000).send(broker.bootstrap, topic, 100_000)
                config = configuration(broker.bootstrap, topic, application)
                size = write(ServiceProcess.write(config, Path(place), None), options.keys, PARTITIONS)
                service = ServiceProcess(config, Path(place))
                try:
                    taken.append(first_record(service))
                    (started,), restored = service.told("service.started"), service.told("state.restored")
                    gained = service.told("partitions.gained")
                finally:
                    service.kill()
                begun, held, back = (when(line) - service.began_at for line in (started, gained[0], restored[-1]))
                each = ", ".join(format(line["seconds"], ".2f") for line in restored)
                print(f"{10 * options.keys:,} streams, {size / 1e6:.1f} MB: first record after {taken[-1]:.2f} s; started after {begun:.2f}, "
                      f"partitions {held:.2f}, all restored {back:.2f} ({each}); load {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        broker.close()
    print(f"median {statistics.median(taken):.2f} s (wanted: {WANTED_SECONDS:g})")


if __name__ == "__main__":
    main()
