"""The service on a real broker: its topics, its configuration, what is written for it to read, the process that runs it, and what it left.

Rule 1: what a run left is read from the broker by a plain consumer of committed transactions, never asked of the service.
Rule 2: records are read by the feeds of `flow`, so that `flow.expected` says what must be found.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flow
import msgspec
import numpy as np
from broker import Broker, unique
from configured import changed, write
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata
from kafka_cluster import free_ports
from program import COMMAND

from streamkl.adapters.memory import MemoryLog
from streamkl.service.feed import Feed
from streamkl.service.record import Partition

SECONDS = 60.0
DETECTOR = {"warmup": 100, "mature_until": 450, "false_alarms": 200, "extend": 2, "on_drift": "hold", "min_effect_nats": 0.02}
PROGRESS, ORDERS = b"\0progress", b"\0orders"
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]      # partition, key, value, headers


def until(is_done: Callable[[], bool], what: str, seconds: float = SECONDS, every: float = 0.05) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(every)


def messages(seed: int, first: int, count: int, partitions: int, keys: int = 5) -> list[Sent]:
    """Records as those of `flow.filled_log`: keys at uneven rates, some only for a while, with steps, and rubbish."""
    rng = np.random.default_rng([seed, first])
    made: list[Sent] = []
    for i in range(first, first + count):
        partition, headers = int(rng.integers(partitions)), [("trace", b"%d" % i)]
        if rng.random() < 0.01:
            rubbish = [None, b"", b"{", b'{"k": ""}', b"[1]"][int(rng.integers(5))]
            made.append((partition, b"\xff" if rng.random() < 0.5 else b"m0", rubbish, headers))
            continue
        key = int(rng.integers(keys)) if rng.random() < 0.9 else keys + i // 200
        shift = 3.0 if (i // 600) % 2 and key % 2 else 0.0
        word = "abcd"[int(rng.integers(3 + key % 2))]
        fields = {"k": f"k{key}", "x": shift + float(rng.normal()), "p": {"y": float(rng.exponential())}, "word": word}
        if rng.random() < 0.05:
            fields["x"] = [None, "12ms", True][int(rng.integers(3))]
        made.append((partition, f"m{key % 3}".encode(), json.dumps({**fields, "t": 1_700_000_000_000 + i}).encode(), headers))
    return made


class World:
    """Topics of one application, and what stands in them. streams_max: of a partition, for each entry."""

    def __init__(self, broker: Broker, folder: Path, partitions: int = 2, streams_max: int = 300) -> None:
        self.broker, self.folder, self.partitions, self.streams_max = broker, folder, partitions, streams_max
        self.input = broker.topic("input", partitions)
        self.started: list[Running] = []
        self.take_new_outputs()

    def take_new_outputs(self) -> None:
        """Let what runs from now on begin anew over the same input."""
        self.state = self.broker.topic("state", self.partitions, is_compacted=True)
        self.drift, self.letters, self.readings = (self.broker.topic(hint) for hint in ("drift", "dead-letters", "divergence"))
        self.control = self.broker.topic("control")
        self.group, self.instance = unique("group"), unique("one")

    # ------------------------------------------------------------ configuration and processes

    def config(self, changes: Mapping[str, Any] | None = None, name: str = "config.yaml") -> str:
        """Write a configuration and return its path; its ids are those of `flow.expected`."""
        tree = {
            "application": flow.APPLICATION,
            "source": {
                "kind": "kafka", "bootstrap_servers": self.broker.bootstrap.split(","), "group": self.group, "instance": self.instance,
                "session_timeout_seconds": 6, "request_timeout_seconds": 10,
            },
            "streams": [
                {
                    "topic": self.input, "name": "one", "key": {"field": "k"}, "time": {"field": "t"},
                    "fields": {"x": "numeric", "deep": {"path": "p.y"}, "word": "categorical"},
                },
                {"topic": self.input, "name": "two", "key": {"message_key": True}, "fields": {"x": "numeric"}},
            ],
            "detector": DETECTOR,
            "drift_events": {"topic": self.drift},
            "dead_letters": {"topic": self.letters},
            "divergence": {"topic": self.readings, "every_seconds": 1},
            "control": {"topic": self.control},
            "state": {"topic": self.state},
            "limits": {"streams_per_partition_max": self.streams_max},
            "commit": {"every_seconds": 0.2},
            "monitoring": {"port": None},
        }
        return write(self.folder, changed(tree, changes or {}), name)

    def run(self, *arguments: str, changes: Mapping[str, Any] | None = None) -> Running:
        """Start `streamkl run`."""
        name = f"run-{len(self.started)}"
        path = self.config(changes, f"{name}.yaml")
        self.started.append(Running([*COMMAND, "run", path, *arguments], self.folder / f"{name}.log"))
        return self.started[-1]

    def close(self) -> None:
        for running in self.started:
            running.kill()

    # ------------------------------------------------------------ records

    def feeds(self) -> list[Feed]:
        return [feed._replace(rows_max=max(1, self.streams_max // len(feed.fields))) for feed in flow.feeds()]

    def produce(self, sent: Sequence[Sent], is_aborted: bool = False) -> None:
        """Write records and wait until all are there. is_aborted: by a transaction that does not stand."""
        producer = self.broker.producer(**({"transactional_id": unique("aborting")} if is_aborted else {}))
        try:
            if is_aborted:
                producer.init_transactions()
                producer.begin_transaction()
            waiting = [producer.send(self.input, partition=number, key=key, value=value, headers=headers) for number, key, value, headers in sent]
            for future in waiting:
                future.get(timeout=SECONDS)
            if is_aborted:
                producer.abort_transaction()
        finally:
            producer.close()

    def log(self) -> MemoryLog:
        """Return all that was ever written, for `flow.expected`."""
        log = MemoryLog()
        for number in range(self.partitions):
            log.create(Partition(self.input, number))
        for record in self.broker.read(self.input):
            place = Partition(record.topic, record.partition)
            log.skip(place, record.offset - log.end(place))
            log.append(place, record.value, record.key, record.timestamp, record.headers)
        return log

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Take records as retention does."""
        self.broker.admin().delete_records({TopicPartition(self.input, number): offset for number, offset in offsets.items()})

    def expected(self) -> tuple[dict[int, list[str]], dict[int, list[int]]]:
        """What a reader without batches and restarts finds: by partition, ids of events and offsets of dead letters."""
        ids, dead = flow.expected(self.log(), self.feeds())
        return {place.number: found for place, found in ids.items()}, {place.number: found for place, found in dead.items()}

    # ------------------------------------------------------------ what a run left

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.broker.read(self.drift)]

    def ids(self) -> dict[int, list[str]]:
        """Ids of drift events by partition of their records, in order, repeated ones too."""
        found: dict[int, list[str]] = {number: [] for number in range(self.partitions)}
        for record in self.broker.read(self.drift):
            headers = dict(record.headers)
            event = json.loads(record.value)
            assert headers["ce_id"].decode() == event["id"]
            found[event["source"]["partition"]].append(event["id"])
        return found

    def dead(self) -> dict[int, list[int]]:
        """Offsets of dead letters by partition, in order, repeated ones too."""
        found: dict[int, list[int]] = {number: [] for number in range(self.partitions)}
        for record in self.broker.read(self.letters):
            partition, offset = place_of(record)
            found[partition].append(offset)
        return found

    def entries(self) -> dict[tuple[int, bytes], bytes]:
        """The state as it stands: (partition, key) -> value; but not which commands were read, and when the control topic was first seen."""
        found: dict[tuple[int, bytes], bytes] = {}
        for record in self.broker.read(self.state):
            if record.value is None:
                found.pop((record.partition, record.key), None)
            else:
                found[record.partition, record.key] = record.value
        found = {name: value for name, value in found.items() if not name[1].endswith(ORDERS)}
        return {name: _without_orders(value) if name[1].endswith(PROGRESS) else value for name, value in found.items()}

    def tombstones(self) -> int:
        return sum(record.value is None for record in self.broker.read(self.state))

    def processed(self) -> dict[int, int]:
        """Partition -> the offset before which all is committed; behind the entry stands its checksum."""
        return {number: msgspec.msgpack.decode(value[:-4])[2] for (number, key), value in self.entries().items() if key.endswith(PROGRESS)}

    def ends(self) -> dict[int, int]:
        """Partition -> the offset behind its last record; 0 is left out."""
        found: dict[int, int] = {}
        for record in self.broker.read(self.input):
            found[record.partition] = record.offset + 1
        return found

    def wait_until_all_is_processed(self, seconds: float = SECONDS) -> None:
        ends = self.ends()
        until(lambda: self.processed() == ends, f"all of {ends} processed", seconds, every=0.2)

    def offsets(self) -> dict[int, int]:
        """Partition -> the group's offset."""
        return self.broker.committed(self.group, self.input)

    def set_offset(self, offsets: Mapping[int, int]) -> None:
        """Set the group's offsets by hand, once its members are gone."""
        wanted = {TopicPartition(self.input, number): OffsetAndMetadata(offset, "", -1) for number, offset in offsets.items()}
        self.broker.admin().alter_group_offsets(self.group, wanted)
        assert self.offsets() == dict(offsets)


class Running:
    """A process of the service and its log."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        self.began = time.monotonic()
        with log.open("wb") as file:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKL__")}
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def said(self, event: str) -> list[dict[str, Any]]:
        """All log events of a name."""
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line.get("event") == event]

    def wait_for(self, event: str, count: int = 1, seconds: float = SECONDS) -> list[dict[str, Any]]:
        def is_there() -> bool:
            if len(self.said(event)) >= count:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {event}:\n{self.text[-3000:]}"
            return False

        until(is_there, f"{count} x {event}", seconds)
        return self.said(event)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = SECONDS) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.code(seconds)

    def code(self, seconds: float = SECONDS) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


class Monitor:
    """The HTTP side of a run."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body; 0 where nobody listens yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples; 0 where there is none."""
        lines = self.ask("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def _without_orders(progress: bytes) -> bytes:
    """A progress that does not tell whether commands were read; in the place of its checksum nothing."""
    return msgspec.msgpack.encode(msgspec.msgpack.decode(progress[:-4])[:5]) + bytes(4)


def place_of(letter: ConsumerRecord) -> tuple[int, int]:
    """Return from which partition and offset a dead letter says that it came."""
    told = dict(letter.headers)
    return int(told["streamkl_partition"]), int(told["streamkl_offset"])
