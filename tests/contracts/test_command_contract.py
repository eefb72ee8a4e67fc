"""The contracts of `CommandSource` and `CommandSender`, held against memory, a state file and a real broker."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from serving import until

from streamkl.adapters.kafka_client import client_settings
from streamkl.adapters.kafka_command_sender import KafkaSender
from streamkl.adapters.kafka_control import KafkaCommands
from streamkl.adapters.memory_control import MemoryCommands
from streamkl.adapters.sqlite_control import SqliteCommands, SqliteSender
from streamkl.adapters.sqlite_file import SqliteFile
from streamkl.service.command import Command
from streamkl.service.ports import CommandBatch

NOW = round(time.time() * 1000)
COMMANDS = [
    Command("1", "silence", "Zürich/*", "a move\n", "ann@host", NOW, 3_600_000), Command("2", "forget", "a?[x]*", "r", "ann", NOW),
    Command("2", "forget", "a?[x]*", "r", "ann", NOW), Command("3", "rebaseline", "*", "r", "a.corrector", NOW + 1),
]  # fmt: skip


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def ends(request, tmp_path):
    """A sender and a source of the same place."""
    if request.param == "memory":
        topic = MemoryCommands()
        yield topic, topic
    elif request.param == "sqlite":
        path = str(tmp_path / "state.db")
        with closing(SqliteFile(path, "shop")), closing(SqliteSender(path, "shop")) as sender, closing(SqliteCommands(path)) as source:
            yield sender, source
    else:
        broker = request.getfixturevalue("broker")
        settings, topic = client_settings(broker.bootstrap.split(",")), broker.topic("control")
        with closing(KafkaSender(settings, topic, "shop")) as sender, closing(KafkaCommands(settings, topic, 0.1)) as source:
            yield sender, source


def read(source, offset: int, count: int) -> CommandBatch:
    """What is there from an offset on, once so much is."""
    until(lambda: len(source.read(offset).commands) >= count, f"{count} commands")
    return source.read(offset)


def test_what_was_sent_is_read_in_order_from_any_offset_as_often_as_it_is_asked_for(ends):
    sender, source = ends
    until(lambda: source.end() is not None, "the end is known")
    first = source.end()
    assert source.read(first).commands == []
    for command in COMMANDS:
        sender.send(command)
    batch = read(source, first, 4)
    assert [command for _, command in batch.commands] == COMMANDS
    offsets = [offset for offset, _ in batch.commands]
    assert offsets == sorted(set(offsets))
    assert offsets[0] >= first
    assert batch.next_offset > offsets[-1]
    assert not batch.is_anew
    for i in (2, 0, 3):
        assert [offset for offset, _ in read(source, offsets[i], 4 - i).commands] == offsets[i:]
    assert source.read(batch.next_offset).commands == []
    sender.send(COMMANDS[0])
    assert [command for _, command in read(source, batch.next_offset, 1).commands] == COMMANDS[:1]
    until(lambda: source.end() >= batch.next_offset + 1, "the end moves on")


def test_what_was_sent_since_a_time_is_known_with_when(ends):
    sender, _ = ends
    for command in COMMANDS:
        sender.send(command)
    found = sender.sent_since(NOW - 60_000)
    assert [command for _, command in found] == COMMANDS
    assert all(abs(at - NOW) < 600_000 for at, _ in found)
    assert sender.sent_since(NOW + 10**9) == []
