"""Sample: whether some records of a topic are what an entry of the configuration takes them for.

Rule 1: nothing of a record is repeated but the name of its stream: the rest may be private.
Rule 2: what holds of no record at all is a fault, what does not hold of some is a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from streamkl.detect.event_time import NO_TIME
from streamkl.service.batch import ABSENT, Reject
from streamkl.service.event_times import event_times, stamps
from streamkl.service.finding import Finding, fault, ok, warning
from streamkl.service.ports import Decoded, RecordDecoder
from streamkl.service.record import Record
from streamkl.service.stream_keys import StreamKeys
from streamkl.service.values import numbers

MESSAGE_KEY = "the message key"
MOSTLY = 0.5
KEYS_MAX = 1_000_000
PARTITIONS_SHOWN = 5


class Expected(NamedTuple):
    """What an entry expects of a topic. name: first part of its streams' names; kinds: path of a field -> "numeric" or "categorical".

    key: path of a field, MESSAGE_KEY, or None: no key. time: path of a field, or None: the record's own.
    """

    topic: str
    name: str
    decoder: RecordDecoder
    kinds: Mapping[str, str]
    key: str | None
    time: str | None
    oldest_ms: int
    ahead_ms: int


def judged(expected: Expected, records: Sequence[Record]) -> Iterator[Finding]:
    """Yield what a sample of a topic shows."""
    topic = expected.topic
    if not records:
        yield warning(f"{topic}: holds no records that could be looked at; check again when there are some")
        return
    decoded = expected.decoder.decode(records)
    yield from _decoding(topic, len(records), decoded)
    if not decoded.rows:
        return
    read = [records[row] for row in decoded.rows]
    for path, kind in expected.kinds.items():
        yield _field(f"{topic}: field {path}", kind, decoded.columns[path])
    yield _time(expected, decoded, read)
    yield from _keys(expected, decoded, read)


def _decoding(topic: str, total: int, decoded: Decoded) -> Iterator[Finding]:
    if not decoded.rejects:
        yield ok(f"{topic}: all of {total} sampled records can be read")
        return
    reasons = Counter(reason for _, reason in decoded.rejects)
    told = ", ".join(f"{reason} ({number})" for reason, number in reasons.most_common())
    if decoded.rows:
        yield warning(f"{topic}: {len(decoded.rejects)} of {total} sampled records cannot be read: {told}; they would be bad records")
    else:
        yield fault(f"{topic}: not one of {total} sampled records can be read: {told}; is the decoder right?")


def _field(what: str, kind: str, fields: Sequence[object]) -> Finding:
    total, absent = len(fields), sum(field is ABSENT for field in fields)
    if absent == total:
        return fault(f"{what} is in none of {total} sampled records; correct its path")
    there = [field for field in fields if field is not ABSENT]
    wrong = _wrong(kind, there)
    if wrong == len(there):
        instead = "; use kind: categorical, or correct its path" if kind == "numeric" else ", but an object or a list; correct its path"
        return fault(f"{what} is {'no number' if kind == 'numeric' else 'no value'} in any of {len(there)} sampled records that have it{instead}")
    if wrong:
        no_value = "no number" if kind == "numeric" else "no single value"
        return warning(f"{what} is {no_value} in {wrong} of {len(there)} sampled records; they count as missing")
    if absent > MOSTLY * total:
        return warning(f"{what} is in only {total - absent} of {total} sampled records; the others count as missing")
    return ok(f"{what} is {kind} in {total - absent} of {total} sampled records")


def _wrong(kind: str, fields: Sequence[object]) -> int:
    if kind == "numeric":
        return len(numbers("", fields, range(len(fields)), is_typed=True)[1])
    return sum(isinstance(field, dict | list) for field in fields)


def _time(expected: Expected, decoded: Decoded, records: Sequence[Record]) -> Finding:
    own = stamps([record.timestamp for record in records])
    total = len(records)
    if expected.time is None:
        what, times, rejects = f"{expected.topic}: the records' own time", own, list[Reject]()
    else:
        what = f"{expected.topic}: time field {expected.time}"
        columns = decoded.columns[expected.time]
        if all(field is ABSENT for field in columns):
            return fault(f"{what} is in none of {total} sampled records; correct its path")
        given = [None if field is ABSENT else field for field in columns]
        times, rejects = event_times(expected.time, given, own, range(total), expected.ahead_ms)
    old = int(((times < expected.oldest_ms) & (times != NO_TIME)).sum())
    bad, none = len(rejects) + old, int((times == NO_TIME).sum())
    if bad >= total:
        return fault(f"{what} is sane in none of {total} sampled records ({_causes(rejects, old)}); correct its path, its unit, or limits")
    if bad:
        return warning(f"{what} is not sane in {bad} of {total} sampled records ({_causes(rejects, old)})")
    if none:
        return warning(f"{what} is missing in {none} of {total} sampled records; set time: {{field: PATH}} where there is one")
    return ok(f"{what} is sane in all of {total} sampled records")


def _causes(rejects: Sequence[Reject], old: int) -> str:
    causes = Counter(reject.reason.split(": ", 1)[-1] for reject in rejects)
    told = [f"{cause}: {number}" for cause, number in causes.most_common()]
    return ", ".join([*told, *([f"before limits.oldest_time: {old}"] if old else [])])


def _keys(expected: Expected, decoded: Decoded, records: Sequence[Record]) -> Iterator[Finding]:
    """Yield whether every record has a key, and whether a key arrives on one partition alone."""
    partitions = [record.partition for record in records]
    if expected.key is None:
        if len(set(partitions)) > 1:
            yield warning(f"{expected.name}: has no key and arrives on {_listed(set(partitions))}, each of which is a stream of its own")
        return
    fields = _message_keys(records) if expected.key == MESSAGE_KEY else [None if f is ABSENT else f for f in decoded.columns[expected.key]]
    groups, rejects = StreamKeys(expected.key, KEYS_MAX).groups(fields, range(len(fields)))
    what = f"{expected.topic}: {expected.key if expected.key == MESSAGE_KEY else f'key field {expected.key}'}"
    if not groups:
        yield fault(f"{what} is usable in none of {len(records)} sampled records; correct key")
        return
    if rejects:
        yield warning(f"{what} is not usable in {len(rejects)} of {len(records)} sampled records; they would be bad records")
    split = {key: places for key, rows in groups.items() if len(places := {partitions[row] for row in rows}) > 1}
    if split:
        key, places = next(iter(split.items()))
        more = f", as {len(split) - 1} more of {len(groups)} keys do," if len(split) > 1 else ""
        where = f"{expected.name}/{key}: arrives on {_listed(places)}{more}"
        yield warning(f"{where} and is another stream on each; let the producer partition by this key")
    elif not rejects:
        yield ok(f"{what} has {len(groups)} values in {len(records)} sampled records, each on one partition")


def _message_keys(records: Sequence[Record]) -> list[object]:
    """Return keys as text; what is not UTF-8 is no key."""
    return [None if record.key is None else _text(record.key) for record in records]


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _listed(partitions: set[int]) -> str:
    numbers = sorted(partitions)
    more = f" and {len(numbers) - PARTITIONS_SHOWN} more" if len(numbers) > PARTITIONS_SHOWN else ""
    return f"partitions {', '.join(map(str, numbers[:PARTITIONS_SHOWN]))}{more}"
