#!/usr/bin/env python3
"""Replay real CPU figures of four servers into a Kafka topic, in their order, a few of them broken on the way.

    producer.py HOST:PORT TOPIC [RECORDS_PER_SECOND]

A record is {"server": ..., "at": ..., "cpu": ...}, keyed by server. It is stamped with the time of now: Kafka deletes by this
stamp, and the figures are of 2014.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from pathlib import Path

from kafka import KafkaProducer

ROWS = Path(__file__).resolve().parent.parent / "data" / "cloudwatch_cpu.csv.gz"
BROKEN_EVERY = 5000


def main(bootstrap: str, topic: str, per_second: float) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    began, sent, broken = time.monotonic(), 0, 0
    with gzip.open(ROWS, "rt") as file:
        for row in csv.DictReader(file):
            record = json.dumps({"server": row["server"], "at": row["timestamp"], "cpu": float(row["cpu"])}).encode()
            producer.send(topic, key=row["server"].encode(), value=record)
            sent += 1
            if sent % BROKEN_EVERY == 0:
                producer.send(topic, key=row["server"].encode(), value=record[:20])
                broken += 1
            time.sleep(max(0.0, began + sent / per_second - time.monotonic()))
    producer.close()
    print(json.dumps({"sent": sent + broken, "broken": broken}))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: producer.py HOST:PORT TOPIC [RECORDS_PER_SECOND]")
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) == 4 else 2000.0)
