#!/usr/bin/env python3
"""A Kafka broker on this machine in one command, without Docker: fetch it, start it, make topics, stop it on Ctrl-C.

    deploy/local-kafka/local_kafka.py --topic events:3 --topic app.state:3:compact

Rule 1: standard library only; Python 3.11, Java 17, and mvn until the jars are in the cache.
Rule 2: the bootstrap address is the first line of standard output, printed when all nodes serve and all topics are there.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from kafka_cluster import Cluster, LocalKafkaError
from kafka_jars import cache, is_cached, jars, java, version


class Topic(NamedTuple):
    """NAME:PARTITIONS, or NAME:PARTITIONS:compact."""

    name: str
    partitions: int
    is_compacted: bool

    @classmethod
    def parse(cls, text: str) -> Topic:
        """
        >>> Topic.parse("app.state:3:compact")
        Topic(name='app.state', partitions=3, is_compacted=True)
        """
        found = re.fullmatch(r"([A-Za-z0-9._-]{1,249}):([1-9][0-9]{0,4})(:compact)?", text)
        if found is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS or NAME:PARTITIONS:compact, for instance events:3")
        return cls(found[1], int(found[2]), found[3] is not None)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _serve(options)
    except LocalKafkaError as error:
        sys.exit(f"local-kafka: {error}")
    except KeyboardInterrupt:
        _say("stopped")


def make_topics(bootstrap: str, topics: list[Topic]) -> None:
    """Create topics, side by side; one that is there already is left as it is."""
    running = [(topic, _ask_for(bootstrap, topic)) for topic in topics]
    for topic, process in running:
        told, _ = process.communicate()
        if process.returncode != 0:
            raise LocalKafkaError(f"topic {topic.name} could not be made: {told.strip()[-500:]}")


def _ask_for(bootstrap: str, topic: Topic) -> subprocess.Popen[str]:
    command = [java(), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.level=ERROR", "-cp", f"{jars()}/*"]
    command += ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", bootstrap, "--create", "--if-not-exists"]
    command += ["--topic", topic.name, "--partitions", str(topic.partitions)]
    command += ["--config", "cleanup.policy=compact"] if topic.is_compacted else []
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _options() -> argparse.Namespace:
    about = "Run Apache Kafka on loopback until Ctrl-C. Data are temporary unless --data is given."
    parser = argparse.ArgumentParser(prog="local_kafka.py", description=about)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="nodes of the cluster (default: 1)")
    parser.add_argument("--port", type=int, help="port of the first node; the others follow it (default: 9092, or free ones where that is in use)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep data and logs here, and find them again the next time")
    form = "NAME:PARTITIONS[:compact]"
    parser.add_argument("--topic", type=Topic.parse, action="append", default=[], metavar=form, help="make a topic; may be repeated")
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> None:
    begin = time.monotonic()
    java()
    if not is_cached():
        _say(f"fetching Kafka {version()} into {cache()}, once")
    jars()
    cluster = _cluster(options)
    try:
        cluster.start()
        make_topics(cluster.bootstrap, options.topic)
        print(cluster.bootstrap, flush=True)
        _say(f"{options.nodes} node(s) of Kafka {version()} serve after {time.monotonic() - begin:.1f} s; {_kept(cluster)}; Ctrl-C stops")
        _watch(cluster)
    finally:
        cluster.close()


def _cluster(options: argparse.Namespace) -> Cluster:
    data = options.data.resolve() if options.data else None
    if options.port is not None:
        return Cluster(options.nodes, options.port, data)
    try:
        return Cluster(options.nodes, 9092, data)
    except LocalKafkaError:
        return Cluster(options.nodes, None, data)


def _watch(cluster: Cluster) -> NoReturn:
    while not (ended := cluster.ended()):
        time.sleep(0.5)
    raise LocalKafkaError(f"node {ended[0].number} has ended; its log was {ended[0].log}: keep it with --data DIR")


def _kept(cluster: Cluster) -> str:
    return f"data and logs {'stay' if cluster.is_kept else 'are temporary'} in {cluster.data}"


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"local-kafka: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
