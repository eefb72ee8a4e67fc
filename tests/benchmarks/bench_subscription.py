"""How long from an event's being written to a topic until the corrector is called? A median above 50 ms: look at the polls of `KafkaFeed`.

And how many events a second does a subscription deliver to a corrector that does nothing? Below 500: look at the store.

A broker of its own is started on this machine (deploy/local-kafka), or STREAMKL_TEST_BROKER names one.
`python tests/benchmarks/bench_subscription.py`
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from kafka import KafkaAdminClient, KafkaProducer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "deploy" / "local-kafka"))

from kafka_cluster import Cluster
from subscribing import event

from streamkl import subscription
from streamkl.service.alerts import Alerts

SINGLE, BURST = 300, 20_000
EVERY_SECONDS = 0.03


class Topic:
    """A topic of one partition, and a transactional producer, as the service has: readers see what is committed."""

    def __init__(self, bootstrap: str) -> None:
        self.name = f"drift-{uuid.uuid4().hex[:8]}"
        self.url = f"kafka://{bootstrap}/{self.name}"
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics({self.name: {"num_partitions": 1}}, wait_for_metadata=True)
        admin.close()
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=self.name, linger_ms=0)
        self._producer.init_transactions()

    def write(self, messages) -> float:
        """Commit messages; return when the commit was asked for."""
        self._producer.begin_transaction()
        for key, value, headers in messages:
            self._producer.send(self.name, key=key, value=value, headers=headers)
        self._producer.flush()
        asked_at = time.monotonic()
        self._producer.commit_transaction()
        return asked_at

    def close(self) -> None:
        self._producer.close()


def latencies(topic: Topic, folder: str) -> list[float]:
    """Milliseconds from the commit of an event to the call of the corrector, of events that come one by one."""
    messages = [Alerts("bench").drift_event(event(f"s{number % 10}", number)) for number in range(SINGLE + 1)]
    called: dict[int, float] = {}
    ready = threading.Event()

    def correct(one) -> None:
        called[one.index] = time.monotonic()
        ready.set()

    reader = subscription(topic.url, f"latency-{uuid.uuid4().hex[:8]}", correct, store=f"{folder}/latency")
    thread = threading.Thread(target=reader.run)
    thread.start()
    asked = {SINGLE: topic.write(messages[-1:])}
    ready.wait(60)
    for number in range(SINGLE):
        time.sleep(EVERY_SECONDS)
        asked[number] = topic.write([messages[number]])
    while len(called) <= SINGLE:
        time.sleep(0.01)
    reader.stop()
    thread.join()
    reader.close()
    return sorted(1000 * (called[number] - asked[number]) for number in range(SINGLE))


def rate(topic: Topic, folder: str) -> float:
    """Events a second that a subscription delivers from a topic that has many."""
    messages = [Alerts("bench").drift_event(event(f"s{number % 100}", number)) for number in range(BURST + 1)]
    reader = subscription(topic.url, f"rate-{uuid.uuid4().hex[:8]}", lambda one: None, store=f"{folder}/rate")
    topic.write(messages[BURST:])
    number = 0
    while number < 1:                                 # it has joined its group
        number = reader.run_once(1.0)
    for begin in range(0, BURST, 1000):
        topic.write(messages[begin : begin + 1000])
    began_at = time.monotonic()
    while number <= BURST:
        number += reader.run_once(1.0)
    seconds = time.monotonic() - began_at
    reader.close()
    return BURST / seconds


def main() -> None:
    given = os.environ.get("STREAMKL_TEST_BROKER")
    cluster = None if given else Cluster(nodes=1)
    if cluster is not None:
        cluster.start()
    bootstrap = given or cluster.bootstrap
    try:
        with tempfile.TemporaryDirectory() as folder:
            topic = Topic(bootstrap)
            found = latencies(topic, folder)
            print(f"commit -> corrector, ms: median {statistics.median(found):.1f}, 95 % {found[int(0.95 * len(found))]:.1f}, most {found[-1]:.1f}")
            topic.close()
            topic = Topic(bootstrap)
            print(f"delivered: {rate(topic, folder):,.0f} events a second")
            topic.close()
    finally:
        if cluster is not None:
            cluster.close()


if __name__ == "__main__":
    main()
