"""Does the service take records from Kafka at half the rate of a bare poll loop, at least? Below 1/2: revisit the stages that are told here.

1,000 streams (100 keys of 10 numbers; --keys 1000: 10,000), records of 179 bytes in 4 partitions, a broker on this machine. Bare: kafka-python
with crc32c and the service's own settings of the consumer, each record's value looked at, no more. The service: `streamkl run`, a process of its own
with all defaults, metrics looked at twice a second. Young: while the references are learnt and grow; mature: behind 10,000 observations of each
stream. Bare loops run before, between and behind, so that what else the machine does shows; the ratio is against the median. --minutes 10 sends on
for so long, never far ahead of the service, and tells its memory: flat, once the references are mature, or something leaks.
    python tests/benchmarks/bench_service.py [--keys 100] [--records 400000] [--no-maturing] [--minutes 0]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import Broker, one_broker, unique
from service_process import OTHERS, Sample, ServiceProcess, configuration, folder, with_topics
from traffic import Traffic

PARTITIONS = 4
MATURE_AT = 13_000              # observations of a stream, by when all have learnt for the last time
LEARNT_AT = 1_500               # the same without maturing
AHEAD = 600_000                 # records that may wait for the service in a long run
BARE = """
import sys, time
from kafka import KafkaConsumer, TopicPartition
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_source import KafkaSource

source = KafkaSource(client_settings([sys.argv[1]]), [sys.argv[2]], "bare")
settings = {**source._settings, "group_id": None, "auto_offset_reset": "earliest"}
consumer = KafkaConsumer(**settings)
places = [TopicPartition(sys.argv[2], int(number)) for number in range(int(sys.argv[3]))]
consumer.assign(places)
consumer.seek_to_beginning(*places)
wanted, taken, size = int(sys.argv[4]), 0, 0
while taken < 1000:
    taken += sum(map(len, consumer.poll(timeout_ms=200).values()))
first, began, cpu = taken, time.perf_counter(), time.process_time()
while taken < wanted:
    for records in consumer.poll(timeout_ms=200).values():
        taken += len(records)
        for record in records:
            size += len(record.value)
print((taken - first) / (time.perf_counter() - began), (time.process_time() - cpu) / (taken - first))
"""


def bare(broker: Broker, topic: str, records: int) -> tuple[float, float]:
    """Return records a second of wall, and processor seconds a record, of the bare loop in a process of its own."""
    command = [sys.executable, "-P", "-c", BARE, broker.bootstrap, topic, str(PARTITIONS), str(records)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rate, cpu = map(float, done.stdout.split())
    print(f"  bare poll loop{rate:29,.0f} records/s {1e6 * cpu:8.2f} us CPU a record     load {os.getloadavg()[0]:.1f}", flush=True)
    return rate, cpu


def told(name: str, samples: list[Sample], first: float, last: float) -> tuple[float, float]:
    """Print what came between two numbers of records; return the rate, and processor seconds a record."""
    part = [one for one in samples if first <= one.records <= last]
    begin, end = part[0], part[-1]
    records = end.records - begin.records
    rate, cpu = records / (end.at - begin.at), (end.cpu - begin.cpu) / records
    print(f"  service, {name:24}{rate:10,.0f} records/s {1e6 * cpu:8.2f} us CPU a record     load {os.getloadavg()[0]:.1f}, "
          f"{end.memory_mb:.0f} MB, state/input {(end.state_bytes - begin.state_bytes) / max(1, end.input_bytes - begin.input_bytes):.2f}")
    print_stages(part, records, cpu)
    return rate, cpu


def print_stages(part: list[Sample], records: float, cpu: float) -> None:
    """Print each stage's processor and wall time; what is told every 5 seconds is put in proportion."""
    steps = [one for one, before in zip(part[1:], part, strict=False) if one.stages != before.stages]
    if len(steps) < 2:
        return
    begin, end = steps[0], steps[-1]
    taken, own = end.records - begin.records, 0.0
    for stage in end.stages:
        busy = (end.stages_cpu[stage] - begin.stages_cpu.get(stage, 0)) / taken
        wall = (end.stages[stage] - begin.stages.get(stage, 0)) / taken
        own += busy
        print(f"      {stage:24}{1e6 * busy:8.2f} us CPU, {1e6 * wall:6.2f} us wall a record")
    print(f"      {OTHERS:24}{1e6 * (cpu - own):8.2f} us CPU (the client's own thread, above all)", flush=True)


def short(broker: Broker, options: argparse.Namespace, place: Path) -> None:
    topic = broker.topic("bench-service", PARTITIONS)
    application = with_topics(broker, unique("bench"), PARTITIONS)
    mature = (LEARNT_AT if options.no_maturing else MATURE_AT) * options.keys
    traffic = Traffic(options.keys, options.distinct)
    total = traffic.send(broker.bootstrap, topic, mature + options.records)
    print(f"{total:,} records, {options.distinct:,} distinct, {10 * options.keys:,} streams")
    bares = [bare(broker, topic, options.records)]
    parts = {"detector": {"mature_until": 0}} if options.no_maturing else {}
    service = ServiceProcess(configuration(broker.bootstrap, topic, application, **parts), place)
    try:
        samples = service.watched(lambda one: one.records >= total, 900)
        service.stop()
    finally:
        service.kill()
    bares += [bare(broker, topic, options.records) for _ in range(2)]
    young = told("young", samples, 1, mature)
    grown = told("mature", samples, mature, total)
    middle, busy = (statistics.median(one[i] for one in bares) for i in (0, 1))
    for name, (rate, cpu) in (("young", young), ("mature", grown)):
        print(f"{name:8}{rate / middle:6.2f} of the bare rate (wanted: 0.5), {busy / cpu:.2f} of it by processor time")


def long(broker: Broker, options: argparse.Namespace, place: Path) -> None:
    """Send on for minutes, and tell the memory."""
    topic = broker.topic("bench-long", PARTITIONS, retention_bytes=300_000_000, segment_bytes=50_000_000)
    application = with_topics(broker, unique("bench"), PARTITIONS)
    traffic = Traffic(options.keys, options.distinct)
    service = ServiceProcess(configuration(broker.bootstrap, topic, application), place)
    sent, until, tell_at, before = 0, time.monotonic() + 60 * options.minutes, 0.0, None
    try:
        while time.monotonic() < until:
            one = service.sample()
            while sent - (one.records if one else 0) < AHEAD:
                sent += traffic.send(broker.bootstrap, topic, 50_000)
            time.sleep(0.5)
            if one and one.at >= tell_at:
                rate = (one.records - before.records) / (one.at - before.at) if before else 0.0
                print(f"{one.at - until + 60 * options.minutes:6.0f} s {one.records:12,.0f} records {rate:9,.0f} a second {one.memory_mb:8.1f} MB "
                      f"{one.postponed:.0f} postponed, load {os.getloadavg()[0]:.1f}", flush=True)
                before, tell_at = one, one.at + 20
        service.stop()
    finally:
        service.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--records", type=int, default=400_000, help="of the mature part, and of each bare loop")
    parser.add_argument("--distinct", type=int, default=200_000)
    parser.add_argument("--no-maturing", action="store_true", help="references stay as they were first learnt: the mature part comes soon")
    parser.add_argument("--minutes", type=float, default=0.0)
    options = parser.parse_args()
    broker = one_broker()
    try:
        with folder() as place:
            (long if options.minutes else short)(broker, options, Path(place))
    finally:
        broker.close()


if __name__ == "__main__":
    main()
