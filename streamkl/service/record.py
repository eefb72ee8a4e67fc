"""Record: one message as its source gave it, and what one poll of a source brings.

Rule 1: a rebalance arrives as data: partitions gained and lost stand in the arrivals, nothing happens in a callback.
Rule 2: a record is never copied or changed: what a dead letter holds is what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]


class Partition(NamedTuple):
    """One ordered log of records: a partition of a topic; a file is partition 0 of a topic of its name.

    >>> str(Partition("payments", 3))
    'payments[3]'
    """

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Record(Protocol):
    """What a source gives; the client's own records fit. timestamp: ms since the epoch, UTC; negative or None: it has none."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class PlainRecord(NamedTuple):
    """A record of a source that has no class of its own: a file, a memory log."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Run(NamedTuple):
    """Records of one partition, in the order of their offsets; offsets may have gaps."""

    partition: Partition
    records: Sequence[Record]


class Arrivals(NamedTuple):
    """What one poll brought.

    runs: at most one for each partition; none of a partition that was lost. gained: partitions that wait, paused, for `start`.
    lost: partitions whose state is another's now; nothing of them may be committed any more. is_end: the source has ended.
    membership: what the source's group says of us, as of these records; handed on to the checkpoint untouched.
    """

    runs: Sequence[Run] = ()
    gained: Sequence[Partition] = ()
    lost: Sequence[Partition] = ()
    is_end: bool = False
    membership: object = None
