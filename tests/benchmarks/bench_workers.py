"""Do two processes of one group take nearly twice as many records as one? If not, on two free cores: something is shared that should not be.

Records of 179 bytes with ten watched numbers wait in 4 partitions of a broker on this machine; references are learnt first (they do not mature). Then
the rate of one process is measured, and that of two that share the partitions; a bare poll loop, alone and two at a time, shows what the machine and
its broker leave to anybody.
    python tests/benchmarks/bench_workers.py [--records 800000]
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_service import LEARNT_AT, PARTITIONS, bare
from broker import one_broker, unique
from machine import machine, told
from service_process import ServiceProcess, configuration, folder, with_topics
from traffic import Traffic

KEYS = 100


def taken(services):
    samples = [service.sample() for service in services]
    return None if None in samples else sum(sample.records for sample in samples)


def rate(broker, topic, total, count, place):
    """Return records a second of so many processes, behind the records from which references are learnt."""
    application = with_topics(broker, unique("bench"), PARTITIONS)
    services = []
    try:
        for number in range(count):
            config = configuration(broker.bootstrap, topic, application, detector={"mature_until": 0})
            config["source"]["instance"] = f"worker-{number}"
            own = place / f"{count}-{number}"
            own.mkdir()
            services.append(ServiceProcess(config, own))
        until, begun = time.monotonic() + 300, None
        while time.monotonic() < until:
            time.sleep(0.2)
            now, records = time.monotonic(), taken(services)
            if records is not None and begun is None and records >= LEARNT_AT * KEYS:
                begun = now, records
            if begun and records is not None and records >= 0.97 * total:       # before one of them has nothing left
                return (records - begun[1]) / (now - begun[0])
        raise TimeoutError(f"{taken(services)} of {total} records after 300 s")
    finally:
        for service in services:
            service.stop()
            service.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--records", type=int, default=800_000)
    options = parser.parse_args()
    print(told(machine()))
    broker = one_broker()
    try:
        with folder() as name:
            topic = broker.topic("bench-workers", PARTITIONS)
            total = Traffic(KEYS, 200_000).send(broker.bootstrap, topic, LEARNT_AT * KEYS + options.records)
            alone = bare(broker, topic, options.records)[0]
            with ThreadPoolExecutor(2) as pool:
                both = sum(one[0] for one in pool.map(lambda _: bare(broker, topic, options.records), range(2)))
            one, two = (rate(broker, topic, total, count, Path(name)) for count in (1, 2))
    finally:
        broker.close()
    print(f"bare poll loops: one {alone:,.0f} records/s, two at a time {both:,.0f}: {both / alone:.2f} times")
    print(f"services:        one {one:,.0f} records/s, two in one group {two:,.0f}: {two / one:.2f} times")


if __name__ == "__main__":
    main()
