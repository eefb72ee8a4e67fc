"""Execution: what a command does to the streams of one key.

Rule 1: a stream that waits to learn learns first: a command acts on a stream as it is after all records before it.
Rule 2: what it changed of a key is saved at once, in the unit of work that tells of it.
Rule 3: it is told by one event for each stream that it changed, naming who asked and why; a rebaseline when it takes place.
"""

from __future__ import annotations

from dataclasses import replace

from streamkl.detect.event import DriftEvent
from streamkl.detect.life import Life
from streamkl.service.cloud_events import rfc3339
from streamkl.service.command import FORGET, REBASELINE, SILENCE, UNDO, Command
from streamkl.service.orders import Outcome, Standing, Undertaking
from streamkl.service.rows import Row
from streamkl.service.shard import Shard

LOOKED_AT = 100             # keys that are looked at for each that may be acted on


def carry_out(shard: Shard, undertaking: Undertaking, keys: int) -> tuple[Outcome | None, int]:
    """Let a command act on some keys more; return what came of it once it has acted on all (else None), and how many bytes were saved."""
    saved = acted = looked = 0
    while undertaking.places:
        if acted >= keys or looked >= keys * LOOKED_AT:
            return None, saved
        place, key = undertaking.places.popleft()
        looked += 1
        row = shard.rows[place].get(key)
        if row is None or row.commanded == undertaking.digest:         # gone or born since; or it has it from before a restart
            continue
        feed = shard.rows[place].feed
        if fields := [i for i, field in enumerate(feed.fields) if undertaking.pattern.match(feed.stream(key, field.name))]:
            saved += _act(shard, place, row, fields, undertaking)
            acted += 1
    return shard.finish(undertaking), saved


def _act(shard: Shard, place: int, row: Row, fields: list[int], undertaking: Undertaking) -> int:
    """Let a command act on fields of a row; return how many bytes were saved."""
    shard.bring_up(place, row)
    command = undertaking.command
    touched = [field for field in fields if _is_touched(shard, place, row, field, undertaking.offset, command)]
    undertaking.matched += len(fields)
    undertaking.touched += len(touched)
    if not touched:
        return 0
    if command.name == FORGET and len(fields) == len(row.since):
        shard.forget(place, row)
        return 0
    row.commanded = undertaking.digest
    saved = shard.save(place, row)
    return saved.sketch_bytes + saved.value_bytes


def _is_touched(shard: Shard, place: int, row: Row, field: int, offset: int, command: Command) -> bool:
    """Do to a stream what is commanded; return whether that changed anything."""
    act = {REBASELINE: _rebaseline, UNDO: _undo, SILENCE: _silence, FORGET: _forget}.get(command.name, _unsilence)
    is_touched, event = act(shard, place, row, field, command)
    if event is not None:
        shard.telling.note(place, row, field, replace(event, at=command.at), shard.next_offset, (offset, command))
    return is_touched


Told = tuple[bool, DriftEvent | None]


def _rebaseline(shard: Shard, place: int, row: Row, field: int, command: Command) -> Told:
    slot, rows, life = row.first + field, shard.rows[place], _life(shard, row, field)
    if life.learning or (command.for_ms is not None and not life.episode):
        return False, None
    standing = row.standing.get(field, Standing())
    if command.for_ms is not None:
        wanted = {"accept_at": command.until, "episode": life.episode_number, "reason": command.reason, "by": command.by}
        rows.stand(row, field, standing.of(**wanted))
        return True, None
    rows.stand(row, field, standing.of(accept_at=None))
    return True, shard.slots.rebaseline(slot, command.reason, command.by)


def _undo(shard: Shard, place: int, row: Row, field: int, command: Command) -> Told:
    event = shard.slots.undo_rebaseline(row.first + field, f"undo: {command.reason}", command.by)
    if event is not None:
        shard.rows[place].stand(row, field, row.standing.get(field, Standing()).of(accept_at=None))
    return event is not None, event


def _silence(shard: Shard, place: int, row: Row, field: int, command: Command) -> Told:
    shard.rows[place].stand(row, field, row.standing.get(field, Standing()).of(silenced_until=command.until))
    return True, _life(shard, row, field).remark("stream.silenced", f"{command.reason} (until {rfc3339(command.until)})", command.by)


def _unsilence(shard: Shard, place: int, row: Row, field: int, command: Command) -> Told:
    standing = row.standing.get(field, Standing())
    if standing.silenced_until is None:
        return False, None
    shard.rows[place].stand(row, field, standing.of(silenced_until=None))
    return True, _life(shard, row, field).remark("stream.unsilenced", command.reason, command.by)


def _forget(shard: Shard, place: int, row: Row, field: int, command: Command) -> Told:
    event = _life(shard, row, field).remark("stream.forgotten", command.reason, command.by)
    shard.begin_anew(place, row, field)
    return True, event


def _life(shard: Shard, row: Row, field: int) -> Life:
    return shard.slots.detector(row.first + field).life
