#!/usr/bin/env python3
"""Drift detection on Kafka, in one command: a broker, a producer, the service, and a reader of its drift events. Ends by itself.

    run.py [DIRECTORY]        # where logs go; left out: a new temporary one

Needs Java 17 or later, and Maven the first time, which fetches Apache Kafka. Everything listens on this machine alone, and ends with it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

HERE = Path(__file__).resolve().parent
LOCAL_KAFKA = HERE.parent.parent / "deploy" / "local-kafka" / "local_kafka.py"
STREAMKL = Path(sys.executable).with_name("streamkl")
TOPICS = ("servers.metrics:2", "servers.drift:2", "servers.divergence:2", "servers.dead-letters:2", "servers.state:2:compact")
SECONDS_MAX = 90.0


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupted)
    until = time.monotonic() + SECONDS_MAX
    with ExitStack() as running:
        bootstrap = broker(running)
        metrics = f"http://127.0.0.1:{free_port()}/metrics"
        os.environ["STREAMKL__SOURCE__BOOTSTRAP_SERVERS"] = bootstrap
        os.environ["STREAMKL__MONITORING__PORT"] = metrics.split(":")[2].split("/")[0]
        say("replaying four servers, 2,000 records a second", f"producer.py {bootstrap} servers.metrics")
        producer = start(running, [sys.executable, HERE / "producer.py", bootstrap, "servers.metrics"], stdout=subprocess.PIPE)
        say("does the configuration fit the broker and the records?", "streamkl check config.yaml --connect")
        subprocess.run([STREAMKL, "check", HERE / "config.yaml", "--connect"], check=True)
        say(f"the service; its log is {folder}/service.jsonl, its metrics {metrics}", "streamkl run config.yaml")
        log = running.enter_context((folder / "service.jsonl").open("w"))
        service = start(running, [STREAMKL, "run", HERE / "config.yaml"], stderr=log)
        url = f"kafka://{bootstrap}/servers.drift"
        say("drift events as they come", f"streamkl events {url} --follow")
        told = follow(running, url)

        sent = json.loads(ended(producer, until))
        wait("the service has not taken all records", until, lambda: value(scraped(metrics), "streamkl_records_total") >= sent["sent"])
        time.sleep(3.0)         # a round of readings, and the commit that publishes it, each take a second
        gauges = re.findall(r'^streamkl_divergence_nats\{measure="kl",stream="(.*?)"\} (.*)$', scraped(metrics), re.M)
        service.send_signal(signal.SIGTERM)
        ended(service, until)
        stored = subprocess.run([STREAMKL, "events", url], check=True, capture_output=True, text=True).stdout.splitlines()
        wait("the reader has not told all events", until, lambda: sorted(told) == sorted(stored))
        summarize(folder, sent, stored, gauges)


def broker(running: ExitStack) -> str:
    """Start a Kafka of our own with its topics; return its address."""
    topics = [argument for topic in TOPICS for argument in ("--topic", topic)]
    say("a Kafka broker on this machine", f"deploy/local-kafka/local_kafka.py {' '.join(topics)}")
    kafka = start(running, [sys.executable, LOCAL_KAFKA, *topics], stdout=subprocess.PIPE)
    assert kafka.stdout is not None
    return kafka.stdout.readline().strip() or sys.exit("the broker did not start; see above")


def follow(running: ExitStack, url: str) -> list[str]:
    """Start a reader of drift events; return the list that its lines are added to."""
    reader = start(running, [STREAMKL, "events", url, "--follow"], stdout=subprocess.PIPE)
    told: list[str] = []

    def tell() -> None:
        assert reader.stdout is not None
        for line in reader.stdout:
            told.append(line.rstrip("\n"))
            print(f"  {told[-1]}", flush=True)

    threading.Thread(target=tell, daemon=True).start()
    return told


def summarize(folder: Path, sent: dict[str, int], stored: list[str], gauges: list[tuple[str, str]]) -> None:
    log = [json.loads(line) for line in (folder / "service.jsonl").read_text().splitlines()]
    letters = sum(line["dead_letters"] for line in log if line["event"] == "work.committed")
    say("the end")
    print(f"  {sent['sent']:,} records in, {sent['broken']} of them broken; {letters} dead letters in servers.dead-letters with the reason")
    print(f"  drift was raised {sum('  DRIFT ' in line for line in stored)} times; the service said: {log[-1]['event']}, {log[-1]['reason']}")
    print("  divergence at the end, as in servers.divergence and in the metrics:")
    for stream, nats in sorted(gauges):
        print(f"    {stream:<45} KL {float(nats):.3f} nats")
    if len(gauges) != 4:
        sys.exit(f"the divergence of {len(gauges)} streams is published; it should be 4")
    if letters != sent["broken"]:
        sys.exit(f"{letters} dead letters for {sent['broken']} broken records")


def start(running: ExitStack, command: list[object], **pipes: object) -> subprocess.Popen[str]:
    """Start a process that is ended with us."""
    process = subprocess.Popen(list(map(str, command)), text=True, **pipes)      # type: ignore[call-overload]
    running.callback(stop, process)
    return process


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ended(process: subprocess.Popen[str], until: float) -> str:
    """Wait for the end of a process, which must be a good one; return what it wrote."""
    try:
        out, _ = process.communicate(timeout=max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        sys.exit(f"{process.args} did not end in time")
    return out if process.returncode == 0 else sys.exit(f"{process.args} ended with {process.returncode}; see its log")


def wait(otherwise: str, until: float, is_done: Callable[[], bool]) -> None:
    while not is_done():
        if time.monotonic() > until:
            sys.exit(f"{otherwise} within {SECONDS_MAX:g} s")
        time.sleep(0.2)


def scraped(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def value(metrics: str, name: str) -> float:
    return sum(float(number) for number in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", metrics, re.M))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(what: str, command: str = "") -> None:
    print(f"\n{what}{':  $ ' + command if command else ':'}", flush=True)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: run.py [DIRECTORY]")
    main(Path(sys.argv[1] if len(sys.argv) == 2 else tempfile.mkdtemp(prefix="streamkl-")))
