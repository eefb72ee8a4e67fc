"""Memory subscription: the twins of a place of drift events and of a delivery store, which outlive whoever uses them.

Rule: `at_step` is called before and after whatever is done, with its name, so that a test can end a life there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamkl.errors import Unavailable
from streamkl.service.incoming import Brought, Undelivered, of_line, of_message
from streamkl.service.record import Partition, PlainRecord, Record

AtStep = Callable[[str], None]


def go_on(step: str) -> None:
    """Do nothing at a step."""


class MemoryPlace:
    """Messages of some partitions, and the positions of one group.

    >>> place = MemoryPlace()
    >>> place.append(Partition("drift", 0), b"{}")
    """

    def __init__(self) -> None:
        self.records: dict[Partition, list[Record]] = {}
        self.positions: dict[Partition, int] = {}

    def append(self, partition: Partition, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Add a message at the end of a partition."""
        records = self.records.setdefault(partition, [])
        records.append(PlainRecord(partition.topic, partition.number, len(records), None, None, value, headers))


class MemoryFeed:
    """Brings the messages of a place; meets `service.ports.EventFeed`. most: messages of a partition in one poll."""

    name = "memory"
    is_ready = True

    def __init__(self, place: MemoryPlace, at_step: AtStep = go_on, most: int = 3) -> None:
        self._place = place
        self._at_step = at_step
        self._most = most
        self._next = dict(place.positions)
        self._lost: list[Partition] = []
        self.kept = 0

    def poll(self, timeout_seconds: float) -> Brought:
        """See `EventFeed.poll`; it never waits."""
        self._at_step("poll")
        found: list[Record] = []
        for partition, records in self._place.records.items():
            begin = self._next.get(partition, 0)
            found += records[begin : begin + self._most]
            self._next[partition] = min(len(records), begin + self._most)
        lost, self._lost = self._lost, []
        read = [(of_message if record.headers else of_line)(record, record.offset + 1) for record in found]
        return Brought(read, lost=lost)

    def keep(self) -> Brought:
        """See `EventFeed.keep`."""
        self.kept += 1
        lost, self._lost = self._lost, []
        return Brought(lost=lost)

    def settle(self, positions: Mapping[Partition, int]) -> None:
        """See `EventFeed.settle`."""
        self._at_step("before settling")
        self._place.positions.update(positions)
        self._at_step("settled")

    def lose(self, partition: Partition, is_regained: bool = True) -> None:
        """Let a partition be another's, and then ours again, from the settled position on."""
        self._lost.append(partition)
        self._next[partition] = self._place.positions.get(partition, 0) if is_regained else len(self._place.records[partition])

    def close(self) -> None:
        """Nothing is held open."""


class MemoryStore:
    """What was dealt with; meets `service.ports.DeliveryStore` and, by `bury`, `DeadLetters`. faults: that many of the next writes fail."""

    name = "memory"

    def __init__(self, ids_max: int = 100_000) -> None:
        self.keys: dict[str, None] = {}
        self.letters: list[Undelivered] = []
        self.at_step: AtStep = go_on
        self.faults = 0
        self._ids_max = ids_max

    def knows(self, key: str) -> bool:
        """See `DeliveryStore.knows`."""
        self.at_step("ask")
        return key in self.keys

    def done(self, key: str) -> None:
        """See `DeliveryStore.done`."""
        self._write("recording")
        self.keys[key] = None
        if len(self.keys) > self._ids_max:
            del self.keys[next(iter(self.keys))]
        self.at_step("recorded")

    def bury(self, letter: Undelivered) -> tuple[str, str]:
        """See `DeadLetters.bury`."""
        self._write("burying")
        self.letters.append(letter)
        self.at_step("buried")
        return "memory", ""

    def close(self) -> None:
        """Nothing is held open."""

    def _write(self, step: str) -> None:
        self.at_step(f"before {step}")
        if self.faults:
            self.faults -= 1
            raise Unavailable("no space left; make room")
