"""Ports: what the service asks of the outside, written by the one who calls.

Rule: a port is implemented in `adapters/`, one file per outside thing, and never imported from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from streamkl.detect.event import DriftEvent
from streamkl.service.batch import Batch
from streamkl.service.command import Command
from streamkl.service.record import Arrivals, Partition, Record
from streamkl.service.work import Restored, UnitOfWork

if TYPE_CHECKING:
    from streamkl.service.incoming import Brought, Undelivered  # which load the model of the wire


class Decoder(Protocol):
    """Called by a source with bytes as they come, in order, each byte once."""

    def decode(self, block: bytes, is_last: bool) -> Batch:
        """Return every record that is complete, keep the rest for the next call.

        block: any number of bytes, cut anywhere. is_last: no more will come, so the rest is a record too.
        A bad record is a reject of the batch. Raises ConfigError if a watched column cannot exist in this source.
        """
        ...


class Source(Protocol):
    """Called once by `watch`; read to its end, or left early on Ctrl-C.

    Nothing repeats and nothing is lost: records come in order, each once, and are handed on as soon as they are there.
    """

    name: str

    def batches(self) -> Iterator[Batch]:
        """Yield batches of bounded size. Raises Unavailable where reading fails, after all records before that place."""
        ...

    def progress(self) -> tuple[int, int | None]:
        """Return bytes read and bytes in all (None: unknown, as of a pipe). Called once per batch."""
        ...


class RecordSource(Protocol):
    """Called by the worker alone, on one thread, from the first poll to `close`.

    At-least-once: after `start(partition, offset)` every record from there on comes, in the order of the offsets, until the partition is lost.
    Raises Unavailable where the outside is away (the worker polls again later), ConfigError where it refuses us for good.
    """

    is_replayable: bool
    """Whether `start` can go back; of a pipe it cannot, and every commit must hold all state."""

    def poll(self, timeout_seconds: float) -> Arrivals:
        """Return what is there now; wait at most so long for the first record."""
        ...

    def start(self, partition: Partition, offset: int | None) -> int:
        """Read a gained partition from this offset on (None: where the configuration says that a new group begins); return the offset.

        A partition that was paused is resumed; one that is held already is read anew from there.
        Raises StateError where records from there on are gone (retention), or are not there yet, with the remedy.
        """
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Bring no records of these until `resume`; polls go on, so that the group keeps us."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Bring records of these again."""
        ...

    def lags(self) -> Mapping[Partition, int]:
        """Return how many offsets lie between what was handed out and the end, of each partition that is held. Called every few seconds."""
        ...

    def close(self) -> None:
        """Leave, at once; what was handed out and not committed comes again to whoever is next."""
        ...


class Decoded(NamedTuple):
    """Records, understood. rows: indices of the records that could be read, increasing; columns: path -> one raw field for each of these.

    rejects: (index, reason) of the others. Fields are as the format gave them; one that is not there at all is ABSENT.
    """

    rows: Sequence[int]
    columns: Mapping[str, Sequence[object]]
    rejects: Sequence[tuple[int, str]]


class RecordDecoder(Protocol):
    """Called once for each run of records of a topic, in order; it remembers nothing from one call to the next."""

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the watched fields of each record. Never raises for what a record holds."""
        ...


class Checkpoint(Protocol):
    """Called by the worker alone. A store of key -> value for each partition, with events and dead letters beside it, that commits atomically."""

    def restore(self, partition: Partition) -> Restored:
        """Return all that was committed of a partition, by whoever held it last.

        Raises StateError where what is stored cannot be used (another partition count, offsets set by hand), Unavailable.
        """
        ...

    def commit(self, work: UnitOfWork) -> None:
        """Make all of a unit stand, or nothing of it.

        Raises Unavailable where it is not known, or known not, to stand: the worker then drops all state and restores. Raises StateError
        where another process has taken our place for good.
        """
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class EventReader(Protocol):
    """Called by `streamkl events` alone. foreign: messages so far that are no drift event of ours; they are left out."""

    name: str
    foreign: int

    def batches(self, is_following: bool) -> Iterator[Sequence[DriftEvent]]:
        """Yield all events from the oldest on, those of one stream in order; some may repeat.

        is_following: after the newest yield what comes, and an empty batch now and then; else end there. Raises Unavailable where it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class EventFeed(Protocol):
    """Called by a subscription alone, on one thread at a time. At-least-once: what was brought and is not below a settled position comes again
    in the next life. Messages of one partition come in order, each once in a life. Raises Unavailable where the outside is away (it is called
    again later), ConfigError where it refuses us for good, StateError where what was to be read is gone.
    """

    name: str
    is_ready: bool
    """Whether it is known what is ours to read; a group takes a moment to say it."""

    def poll(self, timeout_seconds: float) -> Brought:
        """Return what is there now, of bounded number; wait at most so long for the first message."""
        ...

    def keep(self) -> Brought:
        """Bring no message, at once, and stay what we are: called a few times a second while an event is being delivered."""
        ...

    def settle(self, positions: Mapping[Partition, int]) -> None:
        """Store that all below these positions is dealt with. It may not stand where a partition is about to be lost; then it comes again."""
        ...

    def close(self) -> None:
        """Leave; a second call does nothing."""
        ...


class DeliveryStore(Protocol):
    """Called by a subscription for every event. What was done stands at once, whatever ends the process. Raises Unavailable, StateError."""

    name: str

    def knows(self, key: str) -> bool:
        """Return whether the event of this key was dealt with; of the newest keys, a bounded number, it is known."""
        ...

    def done(self, key: str) -> None:
        """Keep in mind that it was dealt with."""
        ...

    def close(self) -> None:
        """Let go of what is held open; a second call does nothing."""
        ...


class DeadLetters(Protocol):
    """Called by a subscription for each event that cannot be delivered; it may repeat one after a crash. Raises Unavailable, and is called again."""

    def bury(self, letter: Undelivered) -> tuple[str, str]:
        """Keep it, for good when this returns. Return where it is, and what the operator should do about that, or nothing."""
        ...

    def close(self) -> None:
        """Let go of what is held open; a second call does nothing."""


class CommandBatch(NamedTuple):
    """commands: (offset, the command that stands there, or why it is none). next_offset: behind the last one that was looked at.

    is_anew: the offset that was asked for lies behind the end: the topic was made anew, and this is from its beginning.
    """

    commands: Sequence[tuple[int, Command | str]]
    next_offset: int
    is_anew: bool = False


class CommandSource(Protocol):
    """Called by the service's loop, some times a second: the control topic. No call waits for anything.

    Every command comes, from an offset on and in order, as often as it is asked for, until retention takes it. Raises StreamklError where it
    cannot be read now; the service goes on, and asks again.
    """

    def end(self) -> int | None:
        """Return the offset that the next command will have, or one not far before it; None: it is not known yet."""
        ...

    def read(self, offset: int) -> CommandBatch:
        """Return what is there from this offset on, some hundreds at most."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class CommandSender(Protocol):
    """Called by whoever commands."""

    place: str
    """Where to, for people."""

    def send(self, command: Command) -> None:
        """Return once it is there for good; sent again it acts once. Raises Unavailable, ConfigError where the topic cannot be one of commands."""
        ...

    def sent_since(self, at: int) -> Sequence[tuple[int, Command]]:
        """Return (when it was sent, ms UTC, the command) of those that were sent since then and are still there. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...
