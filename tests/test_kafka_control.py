"""Commands over a control topic of a real broker: sent by the command line, carried out by a service that is killed, told as events."""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import pytest
from broker import unique
from kafka import KafkaConsumer, TopicPartition
from program import streamkl
from serving import World, until

from streamkl import ConfigError, Control, Unavailable
from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_command_sender import KafkaSender, commands_until
from streamkl.adapters.kafka_control import KafkaCommands, reading
from streamkl.service.command import Command


@pytest.fixture
def make(broker, tmp_path):
    made: list[World] = []

    def world(**settings) -> World:
        made.append(World(broker, tmp_path, **settings))
        return made[-1]

    yield world
    for one in made:
        one.close()


def fill(world: World, count: int, mean: float = 0.0, seed: int = 1) -> None:
    """Records of three keys, one after the other on two partitions; streams one/k?/{x,deep,word}, two/m/x."""
    rng = np.random.default_rng(seed)
    sent = []
    for i in range(count):
        value = {"k": f"k{i % 3}", "x": float(rng.normal(mean)), "p": {"y": float(rng.normal())}, "word": "ab"[int(rng.integers(2))]}
        sent.append((i % 2, b"m", json.dumps({**value, "t": int(time.time() * 1000)}).encode(), []))
    world.produce(sent)


def told(world: World, kind: str) -> list[dict]:
    found = streamkl("events", f"kafka://{world.broker.bootstrap}/{world.drift}", "--json")
    assert found.code == 0, found.err
    return [event for event in found.events if event["kind"] == kind]


def command(world: World, *arguments: str) -> None:
    name, *rest = arguments
    done = streamkl(name, world.config(), *rest)
    assert (done.code, done.err) == (0, ""), done.err
    assert f"sent to {world.control}: {name}" in done.out.replace(": undo ", ": rebaseline ")


def test_each_command_is_carried_out_once_on_each_stream_and_told(make):
    world = make()
    fill(world, 1200)
    running = world.run(changes={"detector.false_alarms": 100_000})
    world.wait_until_all_is_processed()
    command(world, "silence", "one/k1/*", "--for", "2h", "--reason", "a move")
    command(world, "unsilence", "one/k1/x", "--reason", "done")
    command(world, "rebaseline", "one/k2/x", "--reason", "new sensor")
    command(world, "rebaseline", "one/k2/x", "--undo", "--reason", "the old one")
    command(world, "forget", "two/*", "--reason", "not needed")
    running.wait_for("command.executed", 10)            # five on two partitions
    until(lambda: len(told(world, "stream.forgotten")) == 2, "the last command is committed")
    assert sorted(Counter(event["stream"] for event in told(world, "stream.silenced")).items()) == [
        ("one/k1/deep", 2), ("one/k1/word", 2), ("one/k1/x", 2)]        # a stream on each partition
    assert [event["stream"] for event in told(world, "stream.unsilenced")] == ["one/k1/x"] * 2
    back = told(world, "reference.rebaselined")
    assert [(event["stream"], event["reason"]) for event in back] == [("one/k2/x", "undo: the old one")] * 2
    assert all("@" in event["by"] for kind in ("stream.silenced", "reference.rebaselined", "stream.forgotten") for event in told(world, kind))
    assert all(line["touched"] for line in running.said("command.executed"))
    assert running.end() == 0
    again = world.run()
    again.wait_for("state.restored", 2)
    fill(world, 300, seed=2)
    world.wait_until_all_is_processed()
    assert again.end() == 0
    assert again.said("command.executed") == []         # they were, before the restart
    raised = [event for event in told(world, "drift.raised") if event["position"] >= 600]
    assert all(event["silenced"] == (event["stream"] in ("one/k1/deep", "one/k1/word")) for event in raised)


def test_a_service_that_is_killed_between_a_command_and_its_commit_carries_it_out_once(make):
    world = make()
    fill(world, 1200)
    running = world.run(changes={"detector.false_alarms": 100_000})
    world.wait_until_all_is_processed()
    slowly = {"commit.every_seconds": 2, "detector.false_alarms": 100_000}
    for number in range(4):
        running.kill()
        command(world, "forget" if number == 3 else "silence", "one/*", *(() if number == 3 else ("--for", "2h")), "--reason", f"the {number}th")
        running = world.run(changes=slowly)
        running.wait_for("command.executed", 2)
        time.sleep(0.7 * number)                        # before the commit, in it, and behind it
    running.kill()
    running = world.run()
    until(lambda: len(told(world, "stream.forgotten")) == 18, "the last command is committed")
    for number in range(3):
        events = [event for event in told(world, "stream.silenced") if event["reason"].startswith(f"the {number}th")]
        assert len(events) == len({event["id"] for event in events}) == 18      # three keys of three fields on two partitions
    assert running.end() == 0


def test_a_service_goes_on_without_a_control_topic_and_takes_commands_once_it_is_there(make):
    world = make()
    name = unique("late")
    changes = {"control.topic": name, "detector.false_alarms": 100_000}
    fill(world, 600)
    running = world.run(changes=changes)
    world.wait_until_all_is_processed()
    (warned,) = running.wait_for("control.failed", 1)[:1]
    assert f"control topic {name} is not there" in warned["reason"]
    assert f"--topic {name} --partitions 1" in warned["reason"]
    path = world.config(changes, "late.yaml")
    assert streamkl("forget", path, "*").code == 4
    world.broker.topic(name=name)
    with Control(path, by="ann") as control:
        until(lambda: _is_carried_out(control, running), "a command is carried out", every=1.0)
    assert running.end() == 0


def _is_carried_out(control: Control, running) -> bool:
    control.silence("one/k0/x", 60, reason="now?")
    time.sleep(1.0)
    return len(running.said("command.executed")) >= 2


def test_rubbish_in_the_control_topic_is_skipped_and_counted(make):
    world = make()
    fill(world, 600)
    running = world.run()
    world.wait_until_all_is_processed()
    with Control(world.config(), by="ann") as control:
        until(lambda: control.forget("nobody/yet", reason="is it heard?") and running.said("command.unmatched"), "commands are heard")
        world.broker.produce(world.control, [b"{", b"", b'{"command": "forget", "streams": "*"}', "ü".encode("latin-1")])
        sent = [control.forget("nobody/*", reason="typo", id="the same") for _ in range(10)]
    assert len({one.id for one in sent}) == 1
    until(lambda: running.said("command.unmatched")[-1]["streams"] == "nobody/*", "the command is carried out")
    assert [line["so_far"] for line in running.said("command.refused")] == [1, 2, 4]
    assert len([line for line in running.said("command.executed") if line["id"] == "the same"]) == 2   # one on each partition
    assert running.end() == 0


def test_a_control_topic_of_several_partitions_is_refused_by_who_sends_and_who_reads(broker):
    settings, topic = client_settings(broker.bootstrap.split(",")), broker.topic("control", 2)
    sender, reader = KafkaSender(settings, topic, "shop"), KafkaCommands(settings, topic, 0.1)
    try:
        with pytest.raises(ConfigError, match="2 partitions"):
            sender.send(Command("c1", "forget", "*", "r", "ann", 0))
        until(lambda: _refuses(reader), "the reader refuses it")
    finally:
        sender.close()
        reader.close()


def _refuses(reader: KafkaCommands) -> bool:
    try:
        reader.end()
    except ConfigError as error:
        return "2 partitions" in str(error)
    return False


def test_what_is_sent_is_read_from_any_offset_again_and_again_without_waiting(broker):
    settings, topic = client_settings(broker.bootstrap.split(",")), broker.topic("control")
    sender, reader = KafkaSender(settings, topic, "shop", "structured"), KafkaCommands(settings, topic, 0.1)
    commands = [Command(f"c{i}", "silence", "pay/*", "r", "ann", 1_700_000_000_000 + i, 5) for i in range(3)]
    try:
        for one in commands:
            sender.send(one)
        assert [one for _, one in sender.sent_since(int(time.time() * 1000) - 60_000)] == commands
        assert sender.sent_since(int(time.time() * 1000) + 60_000) == []
        until(lambda: reader.end() == 3, "the end is known")
        until(lambda: [one for _, one in reader.read(0).commands] == commands, "all are read")
        assert [offset for offset, _ in reader.read(1).commands] == [1, 2]
        assert reader.read(3).commands == []
        until(lambda: [offset for offset, _ in reader.read(0).commands] == [0, 1, 2], "they are read again")
        began = time.monotonic()
        for _ in range(1000):
            reader.read(2)
        assert time.monotonic() - began < 1.0
        until(lambda: reader.read(50).is_anew, "it is told that the topic is another one")
        until(lambda: [offset for offset, _ in reader.read(0).commands] == [0, 1, 2], "it is read from its beginning")
    finally:
        sender.close()
        reader.close()


def test_a_broker_that_brings_nothing_is_not_waited_for_without_end(broker):
    settings, topic = client_settings(broker.bootstrap.split(",")), broker.topic("control")
    sender = KafkaSender(settings, topic, "shop")
    sender.send(Command("c1", "unsilence", "pay/*", "r", "ann", 1_700_000_000_000))
    sender.close()
    held_back = {"fetch_min_bytes": 1 << 20, "fetch_max_wait_ms": 60_000, "request_timeout_ms": 70_000, "connections_max_idle_ms": 100_000}
    place = TopicPartition(topic, 0)
    for more, is_there in (({}, True), (held_back, False)):
        consumer = KafkaConsumer(**reading(settings | more))
        consumer.assign([place])
        consumer.seek(place, 0)
        try:
            if is_there:
                assert [one.id for _, one in commands_until(consumer, place, 1)] == ["c1"]
            else:
                with pytest.raises(Unavailable, match="nothing came for 1 s"):
                    commands_until(consumer, place, 1, 1.0)
        finally:
            consumer.close(autocommit=False, timeout_ms=0)


def test_a_broker_that_is_away_is_told_and_nothing_waits_for_it():
    settings = client_settings(["127.0.0.1:1"])
    reader = KafkaCommands({**settings, "bootstrap_timeout_ms": 300}, "control", 0.1)
    began = time.monotonic()
    assert reader.end() is None
    assert reader.read(0).commands == []
    assert time.monotonic() - began < 0.5

    def is_away() -> bool:
        try:
            reader.end()
        except Unavailable:
            return True
        return False

    until(is_away, "it is told")
    reader.close()
