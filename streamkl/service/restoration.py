"""Restoration: a partition's stored entries -> its shard; and what a configuration keeps of them, stream by stream.

Rule 1: what can be kept is kept, what cannot is refused, or learnt anew where the configuration says so: never silently.
Rule 2: sketches are decoded when their first record comes; here it is only seen whether they can be used.
Rule 3: a stream that begins anew begins behind all that was processed, so that whatever it will find is told; what was stored of it, and of
what is not watched any more, goes with the first unit of work, so that nothing of it ever comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from streamkl.detect.pieces import Chunk, changed, differing, fingerprint, join, stored_settings
from streamkl.errors import StateError
from streamkl.service.entries import VERSION, PartitionEntries, RowEntries, StoredField, StoredRow, encoded, keys_of, row_key, understood
from streamkl.service.feed import Feed
from streamkl.service.record import Partition
from streamkl.service.rows import NOTHING, Row, Stored
from streamkl.service.shard import Shard
from streamkl.service.work import Restored

Outcome = Literal["kept", "kept with new settings", "relearned", "refused", "unusable", "discarded", "not watched any more", "new"]
NO_ENTRY, NO_STATE = "no entry of streams has this name", "nothing is stored of it"


class Finding(NamedTuple):
    """What becomes of one stream. why: what differs, or "" where all is kept."""

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


def stock(application: str, partition: Partition, restored: Restored, policy: Policy) -> Stock:
    """Return what was stored, checked against the application and the committed offset; raises StateError where they disagree."""
    if policy.is_all_discarded:
        return Stock(restored.replay_from, 0, PartitionEntries(None, {}))
    entries = understood(partition, restored.entries)
    progress, committed = entries.progress, restored.replay_from
    if progress is None and committed:
        raise StateError(
            f"the committed offset of {partition} is {committed}, but nothing is stored of it: the state was deleted, or the offset set by hand; "
            f"restore a backup of the state, or begin there without it: streamkl run CONFIG --discard-state '*'"
        )
    if progress is None:
        return Stock(committed, committed or 0, entries)
    if progress.application != application:
        raise StateError(
            f"the state of {partition} is that of application {progress.application!r}, not of {application!r}, and one would overwrite the other; "
            f"give each application a state of its own (state.topic, state.path)"
        )
    if committed is not None and committed != progress.replay_from:
        raise StateError(
            f"the committed offset of {partition} is {committed}, its state was stored with {progress.replay_from}: the offset was set by hand; "
            f"set it back, or give up the state: streamkl run CONFIG --discard-state '*'"
        )
    return Stock(progress.replay_from, progress.processed, entries)


def fill(shard: Shard, entries: PartitionEntries, policy: Policy) -> list[Finding]:
    """Put stored rows into a new shard; return what was not simply kept. Raises StateError for what is refused."""
    findings = []
    rows_of = {rows.feed.name: rows for rows in shard.rows}
    prints = {name: _fingerprints(rows.feed) for name, rows in rows_of.items()}
    for (name, key), stored in entries.rows.items():
        rows = rows_of.get(name)
        if rows is None or not _has_such_keys(rows.feed, key):
            findings += list(_unwatched(name, key, stored))
            _give_up(shard, name, key, stored, None)
            continue
        found = {field: finding for field, finding in _findings(rows.feed, key, stored, prints[name], policy) if finding.outcome != "kept"}
        if refused := next((finding for finding in found.values() if finding.outcome == "refused"), None):
            raise StateError(_refusal(shard.partition, refused, len(entries.rows)))
        findings += [finding for finding in found.values() if finding.outcome != "new"]
        kept = _kept(rows.feed, stored, found, prints[name], shard.processed)
        if found:
            _give_up(shard, name, key, stored, kept)
        rows.restore(_row(key, kept), {field: pieces for field, pieces in stored.pieces.items() if field not in found})
    return findings


def review(feeds: Sequence[Feed], partition: Partition, entries: PartitionEntries, policy: Policy) -> Iterator[Finding]:
    """Yield what a restart with these feeds would make of every stored stream, and what would be new.

    Every sketch is read, and its checksums compared, as its first record would have it done.
    """
    watched = {feed.name: feed for feed in feeds if feed.topic == partition.topic}
    prints = {name: _fingerprints(feed) for name, feed in watched.items()}
    for (name, key), stored in entries.rows.items():
        feed = watched.get(name)
        if feed is None or not _has_such_keys(feed, key):
            yield from _unwatched(name, key, stored)
            continue
        for field, finding in _findings(feed, key, stored, prints[name], policy):
            yield _tried(feed, field, stored, finding) if finding.outcome == "kept" else finding
    for name in watched.keys() - {name for name, _ in entries.rows}:
        yield from (Finding(watched[name].stream("*", field.name), "new", NO_STATE) for field in watched[name].fields)


def _findings(feed: Feed, key: str, stored: RowEntries, prints: Mapping[str, bytes], policy: Policy) -> Iterator[tuple[str, Finding]]:
    """Yield (field, what becomes of it) for each field that is stored or watched."""
    fresh = {field.name: field.fresh for field in feed.fields}
    known = {field.field for field in stored.row.fields}
    for field in stored.row.fields:
        stream, pieces = feed.stream(key, field.field), stored.pieces[field.field]
        if field.field not in fresh:
            yield field.field, Finding(stream, "not watched any more", f"the entry has no field {field.field}")
        elif policy.discards(stream):
            yield field.field, Finding(stream, "discarded", "by --discard-state")
        elif pieces is None or prints[field.field] == field.fingerprint:
            yield field.field, Finding(stream, "kept")
        else:
            try:
                why = ", ".join(differing(fresh[field.field].settings, stored_settings(pieces)))
            except StateError as error:
                why = str(error)
            yield field.field, Finding(stream, "relearned" if policy.is_relearning else "refused", why)
    yield from ((name, Finding(feed.stream(key, name), "new", NO_STATE)) for name in fresh if name not in known)


def _tried(feed: Feed, name: str, stored: RowEntries, finding: Finding) -> Finding:
    """Return what becomes of a stream whose settings allow that it is kept, once it was decoded."""
    fresh = next(field.fresh for field in feed.fields if field.name == name)
    if (pieces := stored.pieces[name]) is None:
        return finding
    try:
        why = ", ".join(changed(fresh.settings, join(pieces).settings))
    except StateError as error:
        return Finding(finding.stream, "unusable", f"{error}; or discard it, with --discard-state STREAM")
    return Finding(finding.stream, "kept with new settings", why) if why else finding


def _unwatched(name: str, key: str, stored: RowEntries) -> Iterator[Finding]:
    streams = ("/".join((name, key, field.field) if key else (name, field.field)) for field in stored.row.fields)
    return (Finding(stream, "not watched any more", NO_ENTRY) for stream in streams)


def _has_such_keys(feed: Feed, key: str) -> bool:
    """Return whether a row can be of a feed: one without keys has a single row."""
    return bool(key) == (feed.is_keyed or feed.key_path is not None)


def _fingerprints(feed: Feed) -> dict[str, bytes]:
    return {field.name: fingerprint(field.fresh) for field in feed.fields}


def _kept(feed: Feed, stored: RowEntries, found: Mapping[str, Finding], prints: Mapping[str, bytes], processed: int) -> StoredRow:
    """Return a stored row as it is from now on: with the fields of the feed, of which those that were found wanting begin anew."""
    row, of_field = stored.row, {field.field: field for field in stored.row.fields}
    begin = max(processed, row.next_offset)
    return StoredRow(VERSION, row.next_offset, [
        StoredField(field.name, prints[field.name], begin, None) if field.name in found else of_field[field.name] for field in feed.fields
    ], row.commanded)


def _give_up(shard: Shard, name: str, key: str, stored: RowEntries, kept: StoredRow | None) -> None:
    """Let the first unit of work write a row as it is from now on (None: delete it), and delete what is no more part of it."""
    own = row_key(name, key)
    stays = {field.field for field in kept.fields if field.chunks is not None} if kept else set()
    for field in stored.row.fields:
        if field.field not in stays:
            shard.changes.update(dict.fromkeys(keys_of(name, key, field.field, _stored(field))))
    shard.changes[own] = encoded(own, kept) if kept else None


def _row(key: str, kept: StoredRow) -> Row:
    row = Row(key, kept.next_offset, [field.since for field in kept.fields], [_stored(field) for field in kept.fields])
    row.standing = {i: field.standing for i, field in enumerate(kept.fields) if field.standing} or NOTHING
    row.commanded = kept.commanded
    return row


def _stored(field: StoredField) -> Stored | None:
    return None if field.chunks is None else frozenset(Chunk(*chunk) for chunk in field.chunks)


def _refusal(partition: Partition, finding: Finding, keys: int) -> str:
    return (
        f"the state of {finding.stream} in {partition} was written with other settings ({finding.why}), maybe others of its {keys:,} keys too: "
        f"streamkl check CONFIG --state lists them; restore the settings, let them learn anew with state.on_incompatible: relearn, "
        f"or discard: streamkl run CONFIG --discard-state '{finding.stream}'"
    )

