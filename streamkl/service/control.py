"""Control: from the control topic to the partitions that are ours: which command is whose turn, and how much of it at once.

Rule 1: commands are read beside the records and never stop them: where the topic is away, or not there at all, the service goes on without.
Rule 2: each partition goes its own way through the commands, in their order; one that still replays what was processed waits.
Rule 3: what is no command is counted, told, and skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from streamkl.errors import StreamklError
from streamkl.service.command import Command
from streamkl.service.execution import carry_out
from streamkl.service.holding import Holding
from streamkl.service.orders import Outcome
from streamkl.service.ports import CommandBatch, CommandSource
from streamkl.service.shard import Shard
from streamkl.service.telemetry import Telemetry

T = TypeVar("T")
POLL_SECONDS: Final = 0.5
KEYS_AT_ONCE: Final = 20        # of those that a command acts on, before the clock is looked at
MOST_OPEN: Final = 1000


class Control:
    """Called by the worker once in each turn. events_max, bytes_max: of one turn, about, so that a unit of work stays small. clock: seconds."""

    def __init__(
        self, holding: Holding, source: CommandSource, telemetry: Telemetry, clock: Callable[[], float], events_max: int = 200,
        bytes_max: int = 2 << 20,
    ) -> None:
        self._holding, self._source, self._telemetry, self._clock = holding, source, telemetry, clock
        self._events_max, self._bytes_max = events_max, bytes_max
        self._looked_at, self._has_more = float("-inf"), False
        self._ready: set[int] = set()                   # shards that were there when it was last looked
        self._told_until = -1                           # of refused messages
        self._matched: dict[int, tuple[Command, int]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether there is more to carry out than one turn allowed."""
        return self._has_more or any(shard.orders.current for shard in self._holding.shards.values())

    def turn(self, until: float, is_last: bool = False) -> int:
        """Carry out what there is, until this time or until enough is done; return how many bytes of state were saved. is_last: look in any case."""
        shards = [shard for shard in self._holding.shards.values() if shard.is_current]
        here = set(map(id, shards))
        is_due = is_last or not here <= self._ready or self._clock() - self._looked_at >= POLL_SECONDS
        if not (shards and (is_due or self.is_busy)):
            return 0
        if is_due:
            self._looked_at, self._ready = self._clock(), here
        self._has_more = True
        saved = self._carry_out(shards, until)
        self._tell_matches()
        return saved

    def close(self) -> None:
        """Let go of the control topic."""
        self._source.close()

    def _carry_out(self, shards: list[Shard], until: float) -> int:
        saved = 0
        for shard in self._begun(shards):
            while shard.orders.current and saved < self._bytes_max and self._holding.events < self._events_max:
                outcome, size = carry_out(shard, shard.orders.current, KEYS_AT_ONCE)
                saved += size
                if outcome:
                    self._finished(shard, outcome)
                if self._clock() >= until:
                    return saved
        return saved

    def _begun(self, shards: list[Shard]) -> Iterator[Shard]:
        """Yield a shard whenever a command is begun in it, or is to go on."""
        for shard in shards:
            if shard.orders.current:
                yield shard
        idle = [shard for shard in shards if not shard.orders.current and self._is_anchored(shard)]
        batch = self._asked(lambda: self._source.read(min(shard.orders.next_offset or 0 for shard in idle))) if idle else None
        batch = batch or CommandBatch([], 0)
        for shard in idle:
            for offset, command in _of(shard, batch):
                if isinstance(command, str):
                    self._refuse(offset, command)
                    shard.orders.done(offset, None)
                elif shard.orders.has(command):
                    self._telemetry.command_repeated(command.id, shard.partition)
                    shard.orders.done(offset, None)
                else:
                    shard.undertake(offset, command)
                    yield shard
                    if shard.orders.current:            # not finished in this turn
                        break
        self._has_more = bool(batch.commands)

    def _is_anchored(self, shard: Shard) -> bool:
        """Whether it is known, and stored, from where the commands are this partition's."""
        if shard.orders.next_offset is None and (end := self._asked(self._source.end)) is not None:
            shard.orders.begin_at(end)
        return shard.orders.is_anchored

    def _asked(self, ask: Callable[[], T | None]) -> T | None:
        """Return what the control topic answers, None where it is away."""
        try:
            return ask()
        except StreamklError as error:
            self._telemetry.control_failed(str(error))
            return None

    def _refuse(self, offset: int, why: str) -> None:
        if offset > self._told_until:
            self._told_until = offset
            self._telemetry.command_refused(offset, why)

    def _finished(self, shard: Shard, outcome: Outcome) -> None:
        command, matched = self._matched.get(outcome.offset, (outcome.command, 0))
        self._matched[outcome.offset] = (command, matched + outcome.matched)
        self._telemetry.command_carried_out(command, shard.partition, shard.next_offset, outcome.matched, outcome.touched)

    def _tell_matches(self) -> None:
        """Say of a command that all of our partitions are through with that it named nothing, where it is so."""
        through = min((shard.orders.next_offset or 0 for shard in self._holding.shards.values()), default=0)
        for offset in sorted(self._matched):
            if offset < through or len(self._matched) > MOST_OPEN:
                command, matched = self._matched.pop(offset)
                if not matched:
                    self._telemetry.command_unmatched(command)


def _of(shard: Shard, batch: CommandBatch) -> Iterator[tuple[int, Command | str]]:
    """Yield what of a batch is a partition's; of a topic that was made anew, all."""
    first = shard.orders.next_offset or 0
    if batch.is_anew and first > batch.next_offset:
        shard.orders.begin_at(0)
        first = 0
    yield from ((offset, command) for offset, command in batch.commands if offset >= first)
