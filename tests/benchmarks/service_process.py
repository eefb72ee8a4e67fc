"""Service process: `streamkl run` in a process of its own, looked at from outside: its metrics, its processor time, its memory, its log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from bench_decode import FIELDS
from broker import Broker
from kafka_cluster import free_ports  # whose folder is on the path since broker is imported

RUN = "import sys; from streamkl.app.cli import main; sys.exit(main())"
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = re.compile(r"^(streamkl_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
OTHERS = "all that is no stage"


class Sample(NamedTuple):
    """One look: at (s), records taken, processor seconds of the whole process and by stage, wall seconds by stage, MB of memory, streams."""

    at: float
    records: float
    cpu: float
    stages_cpu: Mapping[str, float]
    stages: Mapping[str, float]
    memory_mb: float
    postponed: float
    state_bytes: float
    input_bytes: float


class ServiceProcess:
    """Started when it is made; its log goes to a file."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.port = free_ports(1)[0]
        path = self.write(config, folder, self.port)
        self.log = folder / f"log-{self.port}.jsonl"
        self.began_at = time.time()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-P", "-c", RUN, "run", path], stdout=log, stderr=log)

    @staticmethod
    def write(config: Mapping[str, Any], folder: Path, port: int | None) -> str:
        """Write a configuration, and return its path."""
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump({**config, "monitoring": {"port": port, "log_level": "info"}}))
        return str(path)

    def sample(self) -> Sample | None:
        """Look; None while nothing answers yet."""
        assert self._process.poll() is None, f"the service ended with {self._process.returncode}: {self.log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        found: dict[str, dict[str, float]] = {}
        for name, labels, value in SAMPLE.findall(text):
            found.setdefault(name, {})[labels] = float(value)

        def total(name: str) -> float:
            return sum(found.get(name, {}).values())

        stages = [{labels.split('"')[1]: x for labels, x in found.get(name, {}).items()}
                  for name in ("streamkl_stage_cpu_seconds_total", "streamkl_stage_seconds_total")]
        return Sample(
            time.monotonic(), total("streamkl_records_total"), self._cpu(), stages[0], stages[1], self._memory(), total("streamkl_postponed_streams"),
            total("streamkl_state_bytes_total"), total("streamkl_input_bytes_total"),
        )

    def watched(self, is_done: Callable[[Sample], bool], seconds: float, every_seconds: float = 0.5) -> list[Sample]:
        """Look again and again until it is done; fails where that takes longer than `seconds`."""
        until, samples = time.monotonic() + seconds, []
        while not (samples and is_done(samples[-1])):
            assert time.monotonic() < until, f"not done after {seconds} s, last seen: {samples[-1:]}; {self.log.read_text()[-1000:]}"
            time.sleep(every_seconds)
            if found := self.sample():
                samples.append(found)
        return samples

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the log about one event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def stop(self) -> None:
        """Stop it as an operator does, and wait for its end."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=120)
        assert code == 0, f"the service ended with {code}: {self.log.read_text()[-2000:]}"

    def kill(self) -> None:
        """End it at once, if it runs."""
        self._process.kill()
        self._process.wait()

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _memory(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def configuration(bootstrap: str, topic: str, application: str, **parts: object) -> dict[str, Any]:
    """Return a configuration over the records of `traffic`; parts: whole sections, in place of what stands here."""
    return {
        "application": application,
        "source": {"kind": "kafka", "bootstrap_servers": [bootstrap]},
        "streams": [{"topic": topic, "name": "t", "key": {"field": "key"}, "fields": dict.fromkeys(FIELDS, "numeric")}],
        **parts,
    }


def with_topics(broker: Broker, application: str, partitions: int) -> str:
    """Make the topics that an application writes to, and return its name."""
    for name in ("drift", "dead-letters", "divergence"):
        broker.topic(name=f"{application}.{name}", partitions=partitions)
    broker.topic(name=f"{application}.state", partitions=partitions, is_compacted=True)
    return application


def folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for configurations and logs, which is deleted at the end."""
    return tempfile.TemporaryDirectory(prefix="streamkl-bench-")
