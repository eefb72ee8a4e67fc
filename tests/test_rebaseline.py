"""The corrector that accepts the new normal: once an event, within its limits, and what it said before a restart it knows."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import published
import pytest
from program import COMMAND
from serving import until
from test_commands import Embedded

from streamkl import ConfigError, RecordError
from streamkl.adapters.memory_control import MemoryCommands
from streamkl.adapters.rebaseline import Rebaseline
from streamkl.adapters.sqlite_control import SqliteSender
from streamkl.app.build_control import command_sender
from streamkl.app.config import load
from streamkl.service.command import Command

RAISED = next(event for event in published.events() if event.kind == "drift.raised")
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


def raised(number: int, stream: str = "pay/a", at: int | None = 1_700_000_000_000):
    return replace(RAISED, id=f"e{number}", stream=stream, at=at)


def commands(topic: MemoryCommands) -> list[Command]:
    return [command for _, command in topic.read(0).commands]


def test_a_drift_is_accepted_once_its_episode_has_lasted():
    topic = MemoryCommands()
    corrector = Rebaseline(topic, by="shop.accept", after_seconds=3600, clock=Clock())
    for _ in range(10):
        corrector(raised(1, "pay/[EU]*"))
    (command,) = commands(topic)
    assert (command.name, command.by, command.until) == ("rebaseline", "shop.accept", 1_700_003_600_000)
    assert command.pattern.match("pay/[EU]*")
    assert not command.pattern.match("pay/E")


def test_other_events_are_left_alone():
    topic = MemoryCommands()
    for event in published.events():
        if event.kind != "drift.raised":
            Rebaseline(topic, by="a")(event)
    assert topic.messages == []


def test_beyond_its_limits_it_refuses_until_a_day_is_over():
    topic, clock = MemoryCommands(), Clock()
    corrector = Rebaseline(topic, by="a", per_day=3, per_stream_per_day=2, clock=clock)
    for number in range(2):
        corrector(raised(number, at=None))
    with pytest.raises(RecordError, match="pay/a 2 times within a day"):
        corrector(raised(2))
    corrector(raised(3, "pay/b"))
    with pytest.raises(RecordError, match="accepted 3 new normals"):
        corrector(raised(4, "pay/c"))
    corrector(raised(3, "pay/b"))                       # again: it was
    clock.seconds += DAY + 1
    corrector(raised(5))
    assert [command.id for command in commands(topic)] == ["a:e0", "a:e1", "a:e3", "a:e5"]


def test_a_restart_forgets_neither_what_it_sent_nor_its_limits():
    topic, clock = MemoryCommands(), Clock()
    topic.send(Command("other", "rebaseline", "pay/x", "r", "another", 1_700_000_000_000))
    Rebaseline(topic, by="a", per_day=1, clock=clock)(raised(1, at=None))
    again = Rebaseline(topic, by="a", per_day=1, clock=clock)
    again(raised(1, at=None))
    with pytest.raises(RecordError):
        again(raised(2, "pay/b"))
    assert [command.id for command in commands(topic)] == ["other", "a:e1"]


def test_two_processes_of_a_group_share_its_limits():
    topic, clock = MemoryCommands(), Clock()
    one, two = (Rebaseline(topic, by="a", per_day=2, clock=clock) for _ in range(2))
    one(raised(1, "pay/a", at=None))
    two(raised(2, "pay/b", at=None))
    for corrector in (one, two):
        with pytest.raises(RecordError, match="accepted 2 new normals"):
            corrector(raised(3, "pay/c", at=None))
    assert [command.id for command in commands(topic)] == ["a:e1", "a:e2"]


@pytest.mark.parametrize("wrong", [{"after_seconds": -1}, {"per_day": 0}, {"per_stream_per_day": 0}])
def test_limits_that_allow_nothing_are_refused(wrong):
    with pytest.raises(ConfigError):
        Rebaseline(MemoryCommands(), by="a", **wrong)


def test_over_a_state_file_the_new_normal_becomes_the_reference_when_the_hold_is_over(tmp_path: Path):
    embedded = Embedded(tmp_path)
    embedded.feed(250)
    embedded.feed(100, mean=4.0)
    sender = command_sender(load(embedded.config, {}))
    assert isinstance(sender, SqliteSender)
    corrector = Rebaseline(sender, by="shop.accept", after_seconds=200)
    for event in embedded.events("drift.raised"):
        corrector(replace(RAISED, **{name: event[name] for name in ("id", "stream", "at")}))
    embedded.feed(300, mean=4.0)
    corrector.close()
    accepted = {event["stream"]: event for event in embedded.events("reference.rebaselined")}
    assert {stream: event["by"] for stream, event in accepted.items()} == {"pay/a/x": "shop.accept", "pay/b/x": "shop.accept"}
    for event in embedded.events("drift.raised")[:2]:
        assert accepted[event["stream"]]["at"] == event["at"] + 200_000


def test_from_the_configuration_it_runs_beside_the_service(tmp_path: Path):
    embedded = Embedded(tmp_path)
    path = Path(embedded.config)
    path.write_text(path.read_text() + "correctors:\n- {name: accept, kind: rebaseline, after_seconds: 150, per_day: 1}\n")
    embedded.feed(250)
    embedded.feed(100, mean=4.0)
    running = subprocess.Popen([*COMMAND, "correct", embedded.config], stderr=subprocess.PIPE)
    try:
        until(lambda: len(sent_to(embedded)) == 1, "one of the two alarms is accepted")
        running.terminate()
        assert running.wait(30) == 0, running.stderr.read()
    finally:
        running.kill()
        running.stderr.close()
    embedded.feed(200, mean=4.0)
    (event,) = embedded.events("reference.rebaselined")
    assert (event["by"], event["reason"]) == ("shop.accept", "the drift lasts, and is accepted as the new normal")


def test_beside_a_service_that_has_not_begun_it_waits(tmp_path: Path):
    embedded = Embedded(tmp_path)
    path = Path(embedded.config)
    path.write_text(path.read_text() + "correctors:\n- {name: accept, kind: rebaseline, per_day: 1}\n")
    (embedded.folder / "in.jsonl").touch()
    running = subprocess.Popen([*COMMAND, "correct", embedded.config], stderr=subprocess.PIPE, text=True)
    try:
        while "start the service first" not in (line := running.stderr.readline()):
            assert line, "it ended"
        embedded.feed(250)
        embedded.feed(100, mean=4.0)
        until(lambda: len(sent_to(embedded)) == 1, "one of the two alarms is accepted")
        running.terminate()
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.stderr.close()


def sent_to(embedded: Embedded) -> list:
    with closing(sqlite3.connect(embedded.state)) as connection:
        return connection.execute("SELECT json FROM commands").fetchall()
