"""Memory control: a control topic in a list; the twin of Kafka and SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from streamkl.errors import RecordError
from streamkl.service.command import Command, command_received
from streamkl.service.ports import CommandBatch

MOST = 500


class MemoryCommands:
    """A control topic: meets `CommandSource` and `CommandSender` of `service/ports.py`. messages: value and headers of each, None: a gap.

    >>> topic = MemoryCommands()
    >>> topic.send(Command("c1", "unsilence", "*", "done", "ann", 0))
    >>> [(offset, command.name) for offset, command in topic.read(0).commands], topic.end()
    ([(0, 'unsilence')], 1)
    """

    def __init__(self) -> None:
        self.place = "memory"
        self.messages: list[tuple[bytes | None, Sequence[tuple[str, bytes]]] | None] = []

    def end(self) -> int | None:
        """Return the offset that the next command will have."""
        return len(self.messages)

    def read(self, offset: int) -> CommandBatch:
        """Return what is there from this offset on."""
        is_anew = offset > len(self.messages)
        first = 0 if is_anew else offset
        found = enumerate(self.messages[first:first + MOST], first)
        return CommandBatch([(at, _read(*message)) for at, message in found if message], min(first + MOST, len(self.messages)), is_anew)

    def send(self, command: Command) -> None:
        """Add a command."""
        message = command.message("memory")
        self.messages.append((message.value, message.headers))

    def sent_since(self, at: int) -> Sequence[tuple[int, Command]]:
        """Return (when it was given, the command) of those that were given since then."""
        commands = (_read(*message) for message in self.messages if message)
        return [(command.at, command) for command in commands if isinstance(command, Command) and command.at >= at]

    def close(self) -> None:
        """Nothing is held open."""


def _read(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Command | str:
    try:
        return command_received(value, headers)
    except RecordError as error:
        return str(error)
