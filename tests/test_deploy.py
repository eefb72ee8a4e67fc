"""What deploy/ promises, as far as it can be shown without Docker: files that parse, fit each other and the program, and a script that works."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from broker import Broker, unique
from kafka import TopicPartition
from kafka.errors import AuthorizationError, KafkaError
from kafka_cluster import Cluster
from kafka_jars import jars, java, version
from secure_broker import SecureBroker

from streamkl.app.config import load
from streamkl.app.config_service import Limits, Monitoring
from streamkl.app.correct import STOP_SECONDS
from streamkl.app.exit_code import EXIT_STATE, EXIT_USAGE

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
START = "run /etc/streamkl/config.yaml"


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def unit(name: str = "streamkl.service") -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str                              # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return parser


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, lines joined, comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


# ---------------------------------------------------------------- files that fit each other


def test_the_example_configuration_is_valid():
    config = load(str(DEPLOY / "config.yaml"), {}, with_correctors=True)
    assert config.monitoring.host == "0.0.0.0"            # else nobody outside the container reads metrics
    assert [entry.kind for entry in config.correctors] == ["log"]
    assert config.topics == ("payments.events",)


def test_compose_runs_the_kafka_version_that_is_tested():
    images = {service["image"] for service in compose()["services"].values() if service["image"].startswith("apache/kafka")}
    assert images == {f"apache/kafka:{version()}"}


def test_compose_names_only_services_and_files_that_are_there():
    services = compose()["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose()["volumes"], volume
    build = services["streamkl"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_compose_makes_the_topics_of_the_example():
    config = load(str(DEPLOY / "config.yaml"), {})
    (script,) = compose()["services"]["topics"]["command"]
    assert f"--topic {config.topics[0]} " in script
    assert re.search(rf"topics\.sh {config.application} {re.escape(config.topics[0])} \d+", script)


def test_compose_gives_the_broker_settings_that_kafka_accepts():
    """A node with these settings, but its own addresses and folder, serves."""
    own = ("NODE_ID", "LISTENER", "QUORUM", "LOG_DIRS", "PROCESS_ROLES")
    given = compose()["services"]["kafka"]["environment"]
    settings = {key.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for key, value in given.items() if not any(o in key for o in own)}
    assert "transaction.state.log.min.isr" in settings
    cluster = Cluster(settings=settings)
    try:
        cluster.start()
    finally:
        cluster.close()


def test_every_way_to_stop_leaves_more_time_than_the_service_takes():
    limit = Limits().shutdown_seconds
    assert int(unit()["Service"]["TimeoutStopSec"]) > limit
    assert int(compose()["services"]["streamkl"]["stop_grace_period"].removesuffix("s")) > limit


def test_the_image_has_no_compiler_and_no_root():
    instructions = dockerfile()
    stages = [place for place, (name, _) in enumerate(instructions) if name == "FROM"]
    final = instructions[stages[-1] :]
    assert len(stages) == 2
    assert not [rest for _, rest in final if re.search(r"\b(gcc|build-essential|apt-get|pip install)\b", rest)]
    (user,) = [rest for name, rest in final if name == "USER"]
    assert int(user.split(":")[0]) > 0
    assert ("STOPSIGNAL", "SIGTERM") in final
    assert [rest for name, rest in final if name == "COPY" and rest.startswith("--from=build")]


def test_image_and_unit_start_the_same_command_and_look_at_the_same_port():
    final = dict(dockerfile())
    assert " ".join([*yaml.safe_load(final["ENTRYPOINT"]), *yaml.safe_load(final["CMD"])]) == f"streamkl {START}"
    assert unit()["Service"]["ExecStart"].endswith(f"/streamkl {START}")
    assert f"127.0.0.1:{Monitoring().port}/live" in final["HEALTHCHECK"]
    assert compose()["services"]["streamkl"]["ports"] == [f"127.0.0.1:{Monitoring().port}:{Monitoring().port}"]


def test_the_unit_does_not_start_again_what_somebody_has_to_mend():
    service = unit()["Service"]
    assert service["Restart"] == "on-failure"
    assert set(service["RestartPreventExitStatus"].split()) == {str(EXIT_USAGE), str(EXIT_STATE)}


def test_the_commented_correctors_of_the_example_are_valid(tmp_path: Path):
    text = re.sub(r"^(  )# ( *\S.*)$", r"\1\2", (DEPLOY / "config.yaml").read_text(), flags=re.MULTILINE)
    (tmp_path / "config.yaml").write_text(text)
    config = load(str(tmp_path / "config.yaml"), {"RETRAINER_SECRET": f"whsec_{'A' * 40}"}, with_correctors=True)
    assert [entry.kind for entry in config.correctors] == ["log", "alertmanager", "webhook"]


def test_correctors_run_beside_what_detects_and_keep_what_they_dealt_with():
    service = unit("streamkl-correctors.service")["Service"]
    assert service["ExecStart"].endswith("/streamkl correct /etc/streamkl/config.yaml")
    assert service["Environment"] == f"XDG_STATE_HOME=/var/lib/{service['StateDirectory']}"
    assert service["EnvironmentFile"] != unit()["Service"]["EnvironmentFile"]
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS + 10
    here = compose()["services"]["correctors"]
    assert here["command"] == ["correct", "/etc/streamkl/config.yaml"]
    assert f"correctors:{here['environment']['XDG_STATE_HOME']}" in here["volumes"]
    assert here["environment"]["STREAMKL__MONITORING__CORRECTORS_PORT"] == Monitoring().port
    assert int(here["stop_grace_period"].removesuffix("s")) > STOP_SECONDS + 10


def test_the_route_for_alertmanager_joins_streams_and_not_groups():
    (route,) = yaml.safe_load((DEPLOY / "alertmanager.yaml").read_text())["route"]["routes"]
    assert route["group_by"] == ["alertname", "application", "group"]
    assert route["matchers"] == ['alertname = "StreamDrift"']


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", ["streamkl.service", "streamkl-correctors.service"])
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path, name: str):
    text = (DEPLOY / name).read_text()
    here = tmp_path / name
    here.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- topics.sh


def kafka_tools(folder: Path) -> Path:
    """A folder with kafka-topics.sh and kafka-acls.sh, as a distribution of Kafka has them."""
    for tool, name in (("kafka-topics.sh", "TopicCommand"), ("kafka-acls.sh", "AclCommand")):
        script = folder / tool
        flags = "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.level=ERROR"
        script.write_text(f"#!/bin/sh\nexec {java()} {flags} -cp '{jars()}/*' org.apache.kafka.tools.{name} \"$@\"\n")
        script.chmod(0o755)
    return folder


def make_topics(tools: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{tools}:{os.environ['PATH']}"
    return subprocess.run([str(DEPLOY / "topics.sh"), *arguments], capture_output=True, text=True, env={**os.environ, "PATH": path, **environment})


def denied(client: Broker, topic: str) -> bool:
    """Whether a client may not write to a topic."""
    try:
        client.produce(topic, [b"x"], max_block_ms=3000, enable_idempotence=False)
    except AuthorizationError:
        return True
    return False


def test_topics_sh_makes_the_topics_and_gives_exactly_the_rights_that_are_needed(secure_broker: SecureBroker, tmp_path: Path):
    tools, application, input_topic = kafka_tools(tmp_path), unique("app"), secure_broker.topic("input", partitions=2)
    administrator = tmp_path / "administrator.properties"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    login = f'{module} required username="admin" password="{secure_broker.passwords["admin"]}";'
    administrator.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login}\n")
    given = {"BOOTSTRAP": secure_broker.bootstrap, "COMMAND_CONFIG": str(administrator), "DETECTOR": "limited", "CORRECTORS": "client"}
    secure_broker.topic(name=f"{application}.drift", partitions=2, retention_ms=12345)
    done = make_topics(tools, application, input_topic, "2", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert secure_broker.configs(f"{application}.drift")["retention.ms"] == "12345"       # what is there already is left as it is
    assert [secure_broker.partitions(f"{application}.{name}") for name in ("drift", "divergence", "dead-letters", "state")] == [2] * 4
    assert secure_broker.partitions(f"{application}.control") == 1
    assert secure_broker.configs(f"{application}.state")["cleanup.policy"] == "compact"
    secure_broker.produce(input_topic, [b"record"], partition=0)
    a_unit_of_work_is_possible(Broker(secure_broker.bootstrap, security=secure_broker.security_of("SASL")), application, input_topic)
    corrector = Broker(secure_broker.address("MTLS"), security=secure_broker.security_of("MTLS"))
    assert b"event" in [record.value for record in corrector.read(f"{application}.drift")]
    assert denied(corrector, f"{application}.drift")


def a_unit_of_work_is_possible(detector: Broker, application: str, input_topic: str) -> None:
    """All that the service does, as the user that the script gave rights to; and some that it must not."""
    consumer = detector.consumer(group_id=application)
    consumer.subscribe([input_topic])
    polls = (list(consumer.poll(500).values()) for _ in range(40))
    records = next((found[0] for found in polls if found), [])
    assert [record.value for record in records] == [b"record"]
    producer = detector.producer(transactional_id=f"{application}.one")
    producer.init_transactions()
    producer.begin_transaction()
    for name, value in (("drift", b"event"), ("divergence", b"reading"), ("dead-letters", b"record"), ("state", b"sketch")):
        producer.send(f"{application}.{name}", key=b"k", value=value)
    producer.send_offsets_to_transaction(next_offsets(records), consumer.group_metadata())
    producer.commit_transaction()
    producer.close()
    consumer.close()
    assert detector.committed(application, input_topic) == {0: 1}
    assert [record.value for record in detector.read(f"{application}.state")] == [b"sketch"]
    assert denied(detector, input_topic)
    assert detector.read(f"{application}.control") == []
    assert denied(detector, f"{application}.control")
    with pytest.raises(KafkaError):
        detector.topic(name=f"{application}.more")
    stranger = detector.producer(transactional_id=unique("other"))
    with pytest.raises(AuthorizationError):
        stranger.init_transactions()
    stranger.close()


def next_offsets(records: list[Any]) -> Mapping[TopicPartition, Any]:
    from kafka.structs import OffsetAndMetadata

    return {TopicPartition(record.topic, record.partition): OffsetAndMetadata(record.offset + 1, "", -1) for record in records}


def test_topics_sh_without_arguments_says_how_it_is_called(tmp_path: Path):
    done = make_topics(tmp_path)
    assert done.returncode == 2
    assert "APPLICATION INPUT_TOPIC PARTITIONS" in done.stderr
