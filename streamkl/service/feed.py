"""Feed: one entry of what is watched: which fields of a topic's records, under which key, feed which streams.

Rule 1: what a record means follows from the record and the feed alone.
Rule 2: a record without a usable key is refused; a value that is none of its field's kind is counted, and observed as missing.
Rule 3: a field that a record lacks is observed as missing: that a field vanishes is drift.
Rule 4: a time that is not understood, or lies too far ahead of the record's own, is counted; the record's own time is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamkl.detect.detector import Detector
from streamkl.detect.event_time import NO_TIME
from streamkl.service.batch import Reject
from streamkl.service.event_times import AHEAD, TOO_OLD, event_times, stamps
from streamkl.service.ports import RecordDecoder
from streamkl.service.record import Record
from streamkl.service.stream_keys import KEY_LENGTH, key_of
from streamkl.service.times import NOT_A_TIME
from streamkl.service.values import NOT_A_NUMBER, NOT_A_VALUE, categories, numbers

NO_KEY = "no key"
KEY_TOO_LONG = "a key longer than the longest allowed"
KEY_NOT_TEXT = "a key that is not UTF-8"
FAULTS = (NOT_A_NUMBER, NOT_A_VALUE, NOT_A_TIME, AHEAD, TOO_OLD)
OTHER_FAULT = "not usable"


class Field(NamedTuple):
    """One watched field. path: where it stands in a record. fresh: a detector that has seen nothing, with this field's settings."""

    name: str
    path: str
    fresh: Detector

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.fresh.kind == "numeric"


class Feed(NamedTuple):
    """name: the streams are called name/key/field. key_path: None: one key for all, ""; is_keyed: the message key is the key, as text.

    time_path: None: the record's own time. time_ahead_ms: how far a time may lie ahead of the record's own; oldest_ms: the least.
    rows_max: keys of one partition.
    """

    topic: str
    name: str
    fields: tuple[Field, ...]
    decoder: RecordDecoder
    key_path: str | None = None
    is_keyed: bool = False
    time_path: str | None = None
    time_ahead_ms: int = 3_600_000
    oldest_ms: int = NO_TIME
    key_length: int = KEY_LENGTH
    rows_max: int = 100_000

    def stream(self, key: str, field: str) -> str:
        """Return the name of a stream."""
        return f"{self.name}/{key}/{field}" if self.is_keyed or self.key_path is not None else f"{self.name}/{field}"


class Understood(NamedTuple):
    """Records, understood by one feed; one entry for each record that can be used, in order.

    numbers: shape (records, numeric fields). texts: for each categorical field, one value of each record. refused: (index in the records given,
    reason) of those that cannot be used. faults: reason -> how many values or times.
    """

    offsets: Sequence[int]
    keys: Sequence[str]
    times_ms: NDArray[np.int64]
    numbers: NDArray[np.float64]
    texts: Sequence[list[object]]
    refused: Sequence[tuple[int, str]]
    faults: Mapping[str, int]

    def part(self, start: int, stop: int) -> Understood:
        """Return some of the records that can be used."""
        cut = slice(start, stop)
        texts = [values[cut] for values in self.texts]
        return self._replace(offsets=self.offsets[cut], keys=self.keys[cut], times_ms=self.times_ms[cut], numbers=self.numbers[cut], texts=texts)


def understood(feed: Feed, records: Sequence[Record]) -> Understood:
    """Return what a feed makes of records of its topic."""
    decoded = feed.decoder.decode(records)
    columns: Mapping[str, Sequence[object]] = decoded.columns
    used: Sequence[Record] = records if len(decoded.rows) == len(records) else [records[i] for i in decoded.rows]
    keys, unusable = _keys(feed, used, columns)
    refused = list(decoded.rejects)
    if unusable:
        refused = sorted((*refused, *((decoded.rows[i], reason) for i, reason in unusable.items())))
        kept = [i for i in range(len(used)) if i not in unusable]
        used, keys = [used[i] for i in kept], [keys[i] for i in kept]
        columns = {path: [column[i] for i in kept] for path, column in columns.items()}
    faults: Counter[str] = Counter()
    times = _times(feed, used, columns, faults)
    floats, texts = _values(feed, columns, len(used), faults)
    return Understood([record.offset for record in used], keys, times, floats, texts, refused, faults)


def _keys(feed: Feed, records: Sequence[Record], columns: Mapping[str, Sequence[object]]) -> tuple[list[str], dict[int, str]]:
    """Return one key for each record, and the index and the reason of those that are none."""
    if feed.key_path is None and not feed.is_keyed:
        return [""] * len(records), {}
    if feed.is_keyed:
        keys = [_text(record.key) for record in records]
    else:
        fields = columns[str(feed.key_path)]
        keys = list(fields) if set(map(type, fields)) == {str} else list(map(key_of, fields))      # type: ignore[arg-type]
    reasons = {key: reason for key in set(keys) if (reason := _fault(feed, key))}
    return keys, {i: reasons[key] for i, key in enumerate(keys) if key in reasons} if reasons else {}


def _text(key: bytes | None) -> str:
    return "" if key is None else key.decode("utf-8", "surrogateescape")


def _fault(feed: Feed, key: str) -> str | None:
    if not key:
        return NO_KEY
    if len(key) > feed.key_length:
        return KEY_TOO_LONG
    try:
        key.encode()
    except UnicodeEncodeError:
        return KEY_NOT_TEXT
    return None


def _times(feed: Feed, records: Sequence[Record], columns: Mapping[str, Sequence[object]], faults: Counter[str]) -> NDArray[np.int64]:
    own = stamps([record.timestamp for record in records])
    if feed.time_path is None:
        return own
    times, rejects = event_times(feed.time_path, columns[feed.time_path], own, range(len(records)), feed.time_ahead_ms, feed.oldest_ms)
    _count(faults, feed.time_path, rejects)
    return times


def _values(
    feed: Feed, columns: Mapping[str, Sequence[object]], count: int, faults: Counter[str]
) -> tuple[NDArray[np.float64], list[list[object]]]:
    numeric = [field for field in feed.fields if field.is_numeric]
    floats, texts = np.empty((count, len(numeric))), []
    for place, field in enumerate(numeric):
        floats[:, place], rejects = numbers(field.path, columns[field.path], range(count), is_typed=True)
        _count(faults, field.name, rejects)
    for field in feed.fields:
        if not field.is_numeric:
            values, rejects = categories(field.path, columns[field.path], range(count))
            _count(faults, field.name, rejects)
            texts.append(values)
    return floats, texts


def _count(faults: Counter[str], field: str, rejects: Sequence[Reject]) -> None:
    for reject in rejects:
        what = next((known for known in FAULTS if reject.reason.endswith(known)), OTHER_FAULT)
        faults[f"{field}: {what}"] += 1
