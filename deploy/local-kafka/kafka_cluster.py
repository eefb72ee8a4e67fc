"""Cluster: one or three Kafka nodes (KRaft: broker and controller in one) on loopback, each a process of its own.

Rule 1: standard library only.
Rule 2: a node is ready when its log says so; whoever waits for a node that died is told the log's own words.
Rule 3: what one process started it ends; on Linux a node also dies with the thread that started it.
"""

from __future__ import annotations

import base64
import ctypes
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka_jars import HERE, LocalKafkaError, jars, java

LIBC = ctypes.CDLL(None)
HOST = "127.0.0.1"
READY = b"Kafka Server started"
START_SECONDS = 90.0
STOP_SECONDS = 20.0
# Start quickly and stay small: one compiler, one collector, no shared performance files.
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
HEAP = {1: ("-Xms128m", "-Xmx512m"), 3: ("-Xms96m", "-Xmx320m")}
# What suits a small broker that many short-lived clients come to. Topics are made on purpose, never by a typing error.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "4000",
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
    "log.cleaner.backoff.ms": "1000",
    "log.initial.task.delay.ms": "1000",
    "log.retention.check.interval.ms": "5000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def free_ports(count: int) -> list[int]:
    """Return so many ports of loopback on which nobody listens, below those that the system gives to outgoing connections."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(15000, 32000)
        if port not in found and is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


class Node:
    """One broker with its folder: settings, log (`server.log`) and data. `ports`: listener -> port."""

    def __init__(self, number: int, folder: Path, ports: Mapping[str, int]) -> None:
        self.number = number
        self.folder = folder
        self.ports = dict(ports)
        self.log = folder / "server.log"
        self.settings = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The node's process, or None while it is down."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def format(self, cluster_id: str, arguments: Sequence[str]) -> subprocess.Popen[str] | None:
        """Begin to prepare an empty data folder; one that was prepared before is kept as it is."""
        if (self.folder / "data" / "meta.properties").is_file():
            return None
        command = [*_java(("-Xmx256m",)), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.settings), *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def launch(self, heap: Sequence[str]) -> None:
        """Start the process and do not wait; `wait` does."""
        if self.pid is not None:
            raise LocalKafkaError(f"node {self.number} is running already, as process {self.pid}")
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            command = [*_java(heap), "kafka.Kafka", str(self.settings)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_die_with_parent
            )

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Return once the node serves. Raises LocalKafkaError where it ended, or is not ready in time."""
        deadline = time.monotonic() + seconds
        while READY not in (said := self._said()):
            if self.pid is None:
                raise LocalKafkaError(f"node {self.number} ended while it was starting; {self.log} says:\n{_faults(said)}")
            if time.monotonic() > deadline:
                raise LocalKafkaError(f"node {self.number} was not ready after {seconds:.0f} s; {self.log} says:\n{_faults(said)}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: the node has no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: the node hands its leaderships over and closes its logs; killed where that takes too long."""
        self.ask_to_stop()
        self._end(None)

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def _end(self, number: int | None) -> None:
        if self._process is None:
            return
        if number is not None:
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()


class Cluster:
    """Nodes that know each other. `start()` returns when all serve; then `bootstrap` is where a client begins.

    data: folder to keep, or None: a temporary one, deleted by `close`. listeners: name -> security protocol; clients of `bootstrap`
    use the first one, and so do the nodes among themselves. settings: more lines of server.properties. Raises LocalKafkaError.
    """

    def __init__(
        self,
        nodes: int = 1,
        port: int | None = None,
        data: Path | None = None,
        listeners: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
    ) -> None:
        if nodes not in HEAP:
            raise LocalKafkaError(f"a local cluster has one node or three, not {nodes}")
        self.listeners = dict(listeners or {"PLAINTEXT": "PLAINTEXT"})
        ports = _ports(nodes, self.listeners, port)
        self.is_kept = data is not None
        self.data = data or Path(tempfile.mkdtemp(prefix="local-kafka-"))
        self._extra = dict(settings or {})
        self._format_arguments = tuple(format_arguments)
        self.nodes = {number: Node(number, self.data / f"node-{number}", ports[number]) for number in ports}
        held = len(list(self.data.glob("node-*"))) if self.data.is_dir() else 0
        if held not in (0, nodes):
            raise LocalKafkaError(f"{self.data} holds a cluster of {held} node(s), not of {nodes}; take --nodes {held}, or another folder")

    @property
    def bootstrap(self) -> str:
        """host:port of every node, comma-separated, of the first listener."""
        return self.address(next(iter(self.listeners)))

    def address(self, listener: str) -> str:
        return ",".join(f"{HOST}:{node.ports[listener]}" for node in self.nodes.values())

    def start(self) -> None:
        """Prepare what is not prepared, start all nodes, wait for all."""
        jars()
        for node in self.nodes.values():
            node.folder.mkdir(parents=True, exist_ok=True)
            node.settings.write_text("".join(f"{key}={value}\n" for key, value in self._properties(node).items()), encoding="utf-8")
        self._format()
        for node in self.nodes.values():
            node.launch(HEAP[len(self.nodes)])
        for node in self.nodes.values():
            node.wait()

    def _format(self) -> None:
        fresh = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")       # begins with a letter: it is an argument
        cluster_id = next((found for node in self.nodes.values() if (found := _cluster_id(node))), fresh)
        running = {number: process for number, node in self.nodes.items() if (process := node.format(cluster_id, self._format_arguments))}
        told = {number: process.communicate()[0] for number, process in running.items()}
        for number, process in running.items():
            if process.returncode != 0:
                raise LocalKafkaError(f"the data folder of node {number} could not be formatted: {told[number].strip()[-2000:]}")

    def start_node(self, number: int) -> None:
        """Start one node again, on its own data, and wait until it serves."""
        self.nodes[number].launch(HEAP[len(self.nodes)])
        self.nodes[number].wait()

    def ended(self) -> list[Node]:
        """Return the nodes that are down."""
        return [node for node in self.nodes.values() if node.pid is None]

    def close(self) -> None:
        """End all nodes: with care where the data are kept, at once and with the data where not."""
        for node in self.nodes.values():
            if self.is_kept:
                node.ask_to_stop()
            else:
                node.kill()
        for node in self.nodes.values():
            node.stop()
        if not self.is_kept:
            shutil.rmtree(self.data, ignore_errors=True)

    def _properties(self, node: Node) -> dict[str, str]:
        copies = str(len(self.nodes))
        enough = str(max(1, len(self.nodes) - 1))
        first = next(iter(self.listeners))
        protocols = {"CONTROLLER": "PLAINTEXT", **self.listeners}
        return {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(f"{n.number}@{HOST}:{n.ports['CONTROLLER']}" for n in self.nodes.values()),
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in node.ports.items()),
            "advertised.listeners": ",".join(f"{name}://{HOST}:{node.ports[name]}" for name in self.listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "inter.broker.listener.name": first,
            "log.dirs": str(node.folder / "data"),
            "default.replication.factor": copies,
            "min.insync.replicas": enough,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": enough,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": enough,
            **SETTINGS,
            **self._extra,
        }


def _ports(nodes: int, listeners: Mapping[str, str], port: int | None) -> dict[int, dict[str, int]]:
    """Node -> listener -> port; `port` is the first listener's of node 1, those of the others follow it."""
    wanted = [] if port is None else [port + number for number in range(nodes)]
    taken = [str(number) for number in wanted if not is_free(number)]
    if taken:
        raise LocalKafkaError(f"port {', '.join(taken)} of {HOST} is in use; choose another with --port, or leave it out for a free one")
    names = [*listeners, "CONTROLLER"]
    free = iter(free_ports(nodes * len(names)))
    ports = {number: {name: next(free) for name in names} for number in range(1, nodes + 1)}
    for number, first in enumerate(wanted, 1):
        ports[number][names[0]] = first
    return ports


def _cluster_id(node: Node) -> str | None:
    kept = node.folder / "data" / "meta.properties"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)


def _java(flags: Sequence[str]) -> list[str]:
    return [java(), *JVM, *flags, f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", f"{jars()}/*"]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        LIBC.prctl(1, signal.SIGKILL)                       # PR_SET_PDEATHSIG


def _faults(said: bytes) -> str:
    lines = said.decode(errors="replace").splitlines()
    bad = [line for line in lines if " ERROR " in line or " FATAL " in line or "Exception" in line]
    return "\n".join((bad or lines)[-8:]) or "nothing"
