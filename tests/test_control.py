"""Control without crashes: what it does where the control topic, or a stored stream, is not as it should be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from commanded import Noting
from flow import SteppedSource, feeds, filled_log, ticking

from streamkl.adapters.memory import MemoryCheckpoint, MemorySource, MemoryStore
from streamkl.adapters.memory_control import MemoryCommands
from streamkl.errors import StateError, Unavailable
from streamkl.service.command import Command, command_received
from streamkl.service.control import Control
from streamkl.service.entries import understood
from streamkl.service.holding import Holding
from streamkl.service.pace import Pace
from streamkl.service.ports import CommandBatch
from streamkl.service.restoration import Policy
from streamkl.service.worker import Worker

PACE = Pace(commit_every_seconds=1e9, commit_every_records=200, readings_every_seconds=0)
LOG = filled_log(seed=5, length=400, keys=3)


class Away(MemoryCommands):
    """A control topic that is away whenever it is asked."""

    def end(self) -> int | None:
        raise Unavailable("the broker is away")

    def read(self, offset: int) -> CommandBatch:
        raise Unavailable("the broker is away")


def run(topic: MemoryCommands, store: MemoryStore | None = None) -> tuple[MemoryStore, Noting]:
    store, telemetry, clock = store or MemoryStore(), Noting(), ticking()
    told: list[str] = []
    telemetry.failures = told
    telemetry.control_failed = told.append
    source = SteppedSource(MemorySource(LOG, (50,), None, ends=True), lambda _: None)
    checkpoint = MemoryCheckpoint(store)
    holding = Holding("test", feeds(), source, checkpoint, telemetry, Policy(), clock)
    worker = Worker(source, checkpoint, holding, telemetry, PACE, clock, Control(holding, topic, telemetry, clock))
    worker.run()
    worker.close()
    return store, telemetry


def plain() -> MemoryStore:
    return run(MemoryCommands())[0]


def without_orders(store: MemoryStore) -> dict:
    left_out = (b"orders", b"progress")
    return {partition: {key: value for key, value in entries.items() if key not in left_out} for partition, entries in store.entries.items()}


def test_a_control_topic_that_is_away_stops_nothing():
    store, telemetry = run(Away())
    assert [event.id for event in store.events] == [event.id for event in plain().events]
    assert without_orders(store) == without_orders(plain())
    assert set(telemetry.failures) == {"the broker is away"}


def command(number: int, name: str = "silence", streams: str = "*", for_ms: int | None = 10**9) -> Command:
    return Command(f"c{number}", name, streams, "r", "ann", 1_700_000_000_000, for_ms)


def test_a_new_application_does_not_mind_what_was_commanded_before_it():
    topic = MemoryCommands()
    topic.send(command(1))
    store, _ = run(topic)
    assert [event.kind for event in store.events if event.kind.startswith("stream.")] == []
    topic.send(command(2))
    run(topic, store)
    silenced = [event for event in store.events if event.kind == "stream.silenced"]
    stored = [understood(partition, entries).rows.values() for partition, entries in store.entries.items()]
    assert len(silenced) == sum(len(row.pieces) for rows in stored for row in rows)


def test_a_state_of_an_older_release_takes_all_commands_that_are_there():
    store, topic = plain(), MemoryCommands()
    for partition, entries in store.entries.items():
        del entries[b"orders"]
        old = understood(partition, {**entries, b"progress": _without_orders(entries[b"progress"])})
        assert old.orders is None
        entries[b"progress"] = _without_orders(entries[b"progress"])
    topic.send(command(1))
    run(topic, store)
    assert any(event.kind == "stream.silenced" for event in store.events)


def _without_orders(progress: bytes) -> bytes:
    import msgspec

    from streamkl.service.entries import CRC, PROGRESS_KEY, Progress, encoded

    return encoded(PROGRESS_KEY, Progress(*msgspec.msgpack.decode(progress[:-CRC.size])[:5]))


def test_a_lost_entry_of_what_was_commanded_is_refused_and_not_taken_for_nothing():
    store = plain()
    partition = next(iter(store.entries))
    del store.entries[partition][b"orders"]
    with pytest.raises(StateError, match="incomplete"):
        run(MemoryCommands(), store)


def test_a_stored_stream_that_cannot_be_used_stops_the_service_and_is_not_passed_over():
    store, topic = plain(), MemoryCommands()
    topic.send(command(1))
    for entries in store.entries.values():
        for key, value in list(entries.items()):
            if key.startswith(b"\x94\xa1s"):            # a sketch
                entries[key] = value[:-1] + bytes([value[-1] ^ 1])
    with pytest.raises(StateError, match="cannot be used"):
        run(topic, store)


def test_a_control_topic_that_was_made_anew_is_read_from_its_beginning():
    topic = MemoryCommands()
    store, _ = run(topic)
    for number in range(5):
        topic.send(command(number, "unsilence", for_ms=None))
    run(topic, store)
    anew = MemoryCommands()
    anew.send(command(9))
    run(anew, store)
    assert {event.id for event in store.events if event.kind == "stream.silenced"}
    number = len(store.events)
    run(anew, store)
    assert len(store.events) == number


WRONG: Sequence[tuple[bytes | None, str]] = [
    (None, "no JSON"), (b"{", "no JSON"), (b"[]", "no JSON object"), (b'{"type": 1}', "no CloudEvent"),
]


@pytest.mark.parametrize(("value", "why"), WRONG)
def test_what_is_no_command_says_why(value, why):
    topic = MemoryCommands()
    topic.messages.append((value, []))
    ((_, said),) = topic.read(0).commands
    assert why in said


@pytest.mark.parametrize(("changes", "why"), [
    ({"id": ""}, "id is empty"), ({"id": 7}, "id is no text"), ({"command": "explode"}, "none of rebaseline"),
    ({"command": None}, "command is no text"), ({"streams": " "}, "streams is empty"), ({"reason": ""}, "reason is empty"),
    ({"by": "x" * 201}, "more than 200"), ({"at": 1.5}, "no whole number"), ({"at": True}, "no whole number"), ({"at": -1}, "between 1970"),
    ({"at": 10**15}, "between 1970"), ({"for_ms": None}, "how long"),
    ({"for_ms": 0}, "above 0"), ({"for_ms": 10**12}, "366 days"), ({"command": "forget"}, "takes no time"), ({"by": "\ud800"}, "UTF-8"),
])  # fmt: skip
def test_a_field_that_is_wrong_is_named(changes, why):
    import json

    data = {**command(1).to_dict(), **changes}
    message = command(1).message("shop")
    topic = MemoryCommands()
    topic.messages.append((json.dumps(data).encode(), message.headers))
    ((_, said),) = topic.read(0).commands
    assert why in said


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_command_goes_over_the_wire_as_it_is(mode):
    for one in (command(1), command(2, "forget", "Zürich/*\n\u2028", None)):
        message = one.message("shop", mode)
        assert command_received(message.value, [*message.headers, ("traceparent", b"x")]) == one


def test_a_command_of_a_newer_version_is_refused():
    message = command(1).message("shop")
    headers = [(name, value.replace(b".v1", b".v2")) for name, value in message.headers]
    topic = MemoryCommands()
    topic.messages.append((message.value, headers))
    assert topic.read(0).commands == [(0, "it is an event of another type, or of a newer version")]
