"""Restoration: a partition's stored entries -> its shard; and what a configuration keeps of them, stream by stream.

Rule 1: what can be kept is kept, what cannot is refused, or learnt anew where the configuration says so: never silently.
Rule 2: sketches are decoded when their first record comes; here it is only seen whether they can be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from streamkl.detect.pieces import Chunk, changed, differing, fingerprint, stored_settings
from streamkl.errors import StateError
from streamkl.service.entries import PartitionEntries, RowEntries, StoredField, understood
from streamkl.service.feed import Feed
from streamkl.service.record import Partition
from streamkl.service.rows import Row, Stored
from streamkl.service.shard import Shard
from streamkl.service.work import Restored

Outcome = Literal["kept", "kept with new settings", "relearned", "refused", "discarded", "not watched any more"]


class Finding(NamedTuple):
    """What becomes of one stored stream. why: what differs, or "" where all is kept."""

    stream: str
    outcome: Outcome
    why: str = ""


class Policy(NamedTuple):
    """is_relearning: a stream that cannot be kept learns anew, instead of being refused. discard: globs of streams whose state is given up."""

    is_relearning: bool = False
    discard: tuple[str, ...] = ()

    @property
    def is_all_discarded(self) -> bool:
        """Whether nothing that is stored is even looked at."""
        return "*" in self.discard

    def discards(self, stream: str) -> bool:
        """Return whether the state of a stream is given up."""
        return any(fnmatchcase(stream, glob) for glob in self.discard)


class Stock(NamedTuple):
    """What was stored of a partition. replay_from: None where nothing was ever committed."""

    replay_from: int | None
    processed: int
    entries: PartitionEntries


def stock(partition: Partition, restored: Restored, policy: Policy) -> Stock:
    """Return what was stored, checked against the committed offset; raises StateError where they disagree."""
    if policy.is_all_discarded:
        return Stock(restored.replay_from, 0, PartitionEntries(None, {}))
    entries = understood(partition, restored.entries)
    progress, committed = entries.progress, restored.replay_from
    if progress is None:
        return Stock(committed, committed or 0, entries)
    if committed is not None and committed != progress.replay_from:
        raise StateError(
            f"the committed offset of {partition} is {committed}, its state was stored with {progress.replay_from}: the offset was set by hand; "
            f"set it back, or give up the state: streamkl run CONFIG --discard-state '*'"
        )
    return Stock(progress.replay_from, progress.processed, entries)


def fill(shard: Shard, entries: PartitionEntries, policy: Policy) -> list[Finding]:
    """Put stored rows into a new shard; return what was not simply kept. Raises StateError for what is refused."""
    findings = []
    for rows in shard.rows:
        feed = rows.feed
        prints = {field.name: fingerprint(field.fresh) for field in feed.fields}
        for (name, key), stored in entries.rows.items():
            if name == feed.name:
                found = [finding for finding in _findings(feed, key, stored, prints, policy) if finding.outcome != "kept"]
                if refused := next((finding for finding in found if finding.outcome == "refused"), None):
                    raise StateError(_refusal(shard.partition, refused))
                findings += found
                lost = {finding.stream for finding in found}
                rows.restore(_row(feed, key, stored), {
                    field: None if feed.stream(key, field) in lost else pieces for field, pieces in stored.pieces.items()
                })
    return findings


def review(feeds: Sequence[Feed], partition: Partition, restored: Restored, policy: Policy) -> Iterator[Finding]:
    """Yield what a restart with these feeds would make of every stored stream. Raises StateError where nothing can be read."""
    entries = understood(partition, restored.entries)
    watched = {feed.name: feed for feed in feeds if feed.topic == partition.topic}
    for (name, key), stored in entries.rows.items():
        feed = watched.get(name)
        if feed is None:
            why = "no entry of streams has this name"
            yield from (Finding(f"{name}/{key}/{field.field}", "not watched any more", why) for field in stored.row.fields)
            continue
        prints = {field.name: fingerprint(field.fresh) for field in feed.fields}
        for finding in _findings(feed, key, stored, prints, policy):
            yield _with_new_settings(feed, key, stored, finding)


def _findings(feed: Feed, key: str, stored: RowEntries, prints: Mapping[str, bytes], policy: Policy) -> Iterator[Finding]:
    fresh = {field.name: field.fresh for field in feed.fields}
    for field in stored.row.fields:
        stream, pieces = feed.stream(key, field.field), stored.pieces[field.field]
        if field.field not in fresh:
            yield Finding(stream, "not watched any more", f"the entry has no field {field.field}")
        elif policy.discards(stream):
            yield Finding(stream, "discarded", "by --discard-state")
        elif pieces is None or prints[field.field] == field.fingerprint:
            yield Finding(stream, "kept")
        else:
            why = ", ".join(differing(fresh[field.field].settings, stored_settings(pieces)))
            yield Finding(stream, "relearned" if policy.is_relearning else "refused", why)


def _with_new_settings(feed: Feed, key: str, stored: RowEntries, finding: Finding) -> Finding:
    if finding.outcome != "kept":
        return finding
    for field in feed.fields:
        if feed.stream(key, field.name) == finding.stream and (pieces := stored.pieces.get(field.name)):
            why = ", ".join(changed(field.fresh.settings, stored_settings(pieces)))
            return Finding(finding.stream, "kept with new settings", why) if why else finding
    return finding


def _row(feed: Feed, key: str, stored: RowEntries) -> Row:
    of_field = {field.field: field for field in stored.row.fields}
    next_offset = stored.row.next_offset
    fields: list[StoredField | None] = [of_field.get(field.name) for field in feed.fields]
    return Row(key, next_offset, [field.since if field else next_offset for field in fields], [_stored(field) for field in fields])


def _stored(field: StoredField | None) -> Stored | None:
    return None if field is None or field.chunks is None else frozenset(Chunk(*chunk) for chunk in field.chunks)


def _refusal(partition: Partition, finding: Finding) -> str:
    return (
        f"the state of {finding.stream} in {partition} was written with other settings ({finding.why}); restore them, "
        f"let it learn anew with state.on_incompatible: relearn, or discard it: streamkl run CONFIG --discard-state '{finding.stream}'"
    )

