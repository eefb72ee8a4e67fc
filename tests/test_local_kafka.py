"""The local Kafka of deploy/local-kafka, as a person runs it: one command, topics, kept data, a clean end - and what it says where it cannot."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from broker import Broker, Cluster, refuse
from kafka_jars import LocalKafkaError, jars, java

COMMAND = Path(__file__).resolve().parent.parent / "deploy" / "local-kafka" / "local_kafka.py"
HERE = Path(__file__).resolve().parent
CACHE = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]} if "XDG_CACHE_HOME" in os.environ else {}


@pytest.fixture(scope="module", autouse=True)
def kafka() -> None:
    try:
        java()
        jars()
    except LocalKafkaError as error:
        refuse(str(error))


@contextlib.contextmanager
def running(*arguments: object, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, once it has printed its address; its temporary files lie in `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, str(COMMAND), *map(str, arguments)]
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
        try:
            address = first_line(process.stdout)
            assert address, (folder / "said").read_text()
            yield process, address
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


def first_line(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.readline().strip()


def is_answering(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def refused(*arguments: object, **environment: str) -> str:
    done = subprocess.run([sys.executable, str(COMMAND), *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode != 0
    assert done.stdout == ""
    return done.stderr


def test_kept_data_and_topics_are_found_again_by_the_next_run(tmp_path: Path):
    data = tmp_path / "data"
    with running("--data", data, "--topic", "events:3", "--topic", "app.state:2:compact", folder=tmp_path) as (process, address):
        client = Broker(address)
        assert client.partitions("events") == 3
        assert client.configs("app.state")["cleanup.policy"] == "compact"
        client.produce("events", [b"kept"], partition=2)
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not is_answering(address)
    with running("--data", data, "--topic", "events:3", folder=tmp_path) as (_, address):
        client = Broker(address)
        assert [(record.partition, record.value) for record in client.read("events")] == [(2, b"kept")]
        client.close()


def test_temporary_data_go_and_a_killed_command_takes_its_broker_with_it(tmp_path: Path):
    with running(folder=tmp_path) as (process, address):
        assert list(tmp_path.glob("local-kafka-*"))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert not list(tmp_path.glob("local-kafka-*"))
    if sys.platform == "linux":
        with running(folder=tmp_path) as (process, address):
            assert is_answering(address)
            process.kill()
            process.wait(30)
            assert falls_silent(address)


def falls_silent(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port)), timeout=30) as probe:
        return probe.recv(1) == b""                         # the connection ends when the broker does
    return True


def test_a_port_in_use_is_named(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is in use" in refused("--port", port)


def test_a_folder_with_another_number_of_nodes_is_refused(tmp_path: Path):
    (tmp_path / "node-1").mkdir()
    assert "holds a cluster of 1 node(s), not of 3; take --nodes 1" in refused("--nodes", 3, "--data", tmp_path)


@pytest.mark.parametrize("topic", ["events", "events:0", "a b:3", "events:3:compacted"])
def test_a_topic_that_is_none_is_refused_with_an_example(topic: str):
    assert "for instance events:3" in refused("--topic", topic)


def test_a_missing_java_or_mvn_is_named_with_the_remedy(tmp_path: Path):
    assert "no java was found" in refused(PATH=str(tmp_path), JAVA_HOME="")
    (tmp_path / "java").symlink_to(shutil.which("java") or "java")
    told = refused(PATH=str(tmp_path), JAVA_HOME="", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "no mvn is on PATH to fetch them: apt-get install maven" in told


def test_an_old_java_is_refused(tmp_path: Path):
    old = tmp_path / "java"
    old.write_text('#!/bin/sh\necho \'openjdk version "11.0.2" 2019-01-15\' >&2\n')
    old.chmod(0o755)
    assert "needs Java 17 or newer" in refused(PATH=f"{tmp_path}:/bin:/usr/bin", JAVA_HOME="")


def test_a_node_that_cannot_start_is_told_in_its_own_words():
    cluster = Cluster(settings={"log.retention.ms": "soon"})
    try:
        with pytest.raises(LocalKafkaError, match=r"Invalid value soon for configuration log\.retention\.ms"):
            cluster.start()
    finally:
        cluster.close()


# ---------------------------------------------------------------- the fixture without a broker of its own


ROUND_TRIP = "tests/test_broker.py::test_what_is_produced_is_read_back_in_order_with_its_key"
KILL = "tests/test_broker.py::test_data_survive_a_kill_and_a_restart"


def pytest_run(*tests: str, **environment: str) -> tuple[int, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("STREAMKL_")}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *tests]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, env={**inherited, "JAVA_HOME": "", **environment})
    return done.returncode, done.stdout


def test_without_java_a_test_is_skipped_with_the_reason(tmp_path: Path):
    code, said = pytest_run(ROUND_TRIP, PATH=str(tmp_path))
    assert code == 0
    assert "1 skipped" in said
    assert "no java was found" in said


def test_where_a_broker_is_required_a_missing_one_is_a_failure(tmp_path: Path):
    code, said = pytest_run(ROUND_TRIP, PATH=str(tmp_path), STREAMKL_REQUIRE_BROKER="1")
    assert code == 1
    assert "skipped" not in said
    assert "STREAMKL_REQUIRE_BROKER=1, but no Kafka broker can be had: no java was found" in said


def test_a_given_broker_is_used_and_never_killed(broker: Broker, tmp_path: Path):
    code, said = pytest_run(ROUND_TRIP, KILL, PATH=str(tmp_path), STREAMKL_TEST_BROKER=broker.bootstrap)
    assert code == 0, said
    assert "1 passed, 1 skipped" in said
    assert "is not ours to kill" in said
