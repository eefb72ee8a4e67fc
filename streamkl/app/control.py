"""Control: commands to the streams of an application, from Python.

Rule 1: who commands says who he is, and why.
Rule 2: a command is there for good once a method returns; what comes of it the service tells as drift events.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Self

from streamkl.app.duration import in_words
from streamkl.app.label import label
from streamkl.errors import ConfigError
from streamkl.service.command import FORGET, REBASELINE, SILENCE, UNDO, UNSILENCE, Command, fault

if TYPE_CHECKING:
    from streamkl.service.ports import CommandSender


class Control:
    """Sends commands to the service of an application.

    place: path of its configuration, kafka://HOST:PORT/CONTROL_TOPIC, or sqlite:///PATH of its state file. by: who commands; it stands in every
    event that comes of it. config: path of a configuration, for the security settings of a kafka:// place. streams: a glob, e.g. "payments/*".
    Every method returns the command that was sent, and raises ConfigError for one that cannot be, Unavailable where it did not get there. id:
    sent again with the same id it acts once.
    """

    def __init__(self, place: str, *, by: str, config: str | None = None) -> None:
        from streamkl.app.build_control import sender_of

        self._by = by
        self._sender: CommandSender = sender_of(place, config)

    def rebaseline(self, streams: str, *, reason: str, after_seconds: float | None = None, id: str | None = None) -> Command:
        """Make the new normal the reference: what was seen since the alarm, else what comes from now on.

        after_seconds: only of streams that drift now, and only where that episode is still open then.
        """
        return self._send(REBASELINE, streams, reason, after_seconds, id)

    def undo(self, streams: str, *, reason: str, id: str | None = None) -> Command:
        """Make the reference before the last rebaseline the reference again."""
        return self._send(UNDO, streams, reason, None, id)

    def silence(self, streams: str, for_seconds: float, *, reason: str, id: str | None = None) -> Command:
        """Let correctors leave these streams alone for so long, in event time; detection goes on."""
        return self._send(SILENCE, streams, reason, for_seconds, id)

    def unsilence(self, streams: str, *, reason: str, id: str | None = None) -> Command:
        """End a silence now."""
        return self._send(UNSILENCE, streams, reason, None, id)

    def forget(self, streams: str, *, reason: str, id: str | None = None) -> Command:
        """Give up all that is known of these streams; they begin anew with their next records."""
        return self._send(FORGET, streams, reason, None, id)

    def close(self) -> None:
        """Let go of what is held open."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, name: str, streams: str, reason: str, seconds: float | None, id: str | None) -> Command:
        command = made(name, streams, reason, self._by, seconds, id)
        self._sender.send(command)
        return command


def made(name: str, streams: str, reason: str, by: str, seconds: float | None, id: str | None = None) -> Command:
    """Return a command of this moment. Raises ConfigError for one that no service would take."""
    id = str(uuid.uuid4()) if id is None else id
    for what, text in (("streams", streams), ("reason", reason), ("by", by), ("id", id)):
        if not isinstance(text, str):
            raise ConfigError(f"{what}={text!r} must be text; give it as a str")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and 0.001 <= seconds < 1e9):
        raise ConfigError(f"{name} {label(streams)}: {seconds!r} is no number of seconds for it; give one between a millisecond and 366 days")
    for_ms = None if seconds is None else round(seconds * 1000)
    command = Command(id, name, streams, reason, by, round(time.time() * 1000), for_ms)
    if why := fault(command):
        raise ConfigError(f"{name} {label(streams)}: {why}; correct it")
    return command


def in_short(asked: Command) -> str:
    """Return a command in words."""
    time_ = "" if asked.for_ms is None else f" for {in_words(asked.for_ms / 1000)}"
    return f"{asked.name} {asked.streams}{time_}, by {asked.by}: {asked.reason}"
