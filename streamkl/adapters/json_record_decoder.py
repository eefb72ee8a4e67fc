"""JSON record decoder: the bytes of records -> columns of the watched fields.

Rule 1: one JSON object a record; only what lies on the watched paths is built, and only that is looked at: a byte that is not UTF-8 in
another field costs nothing.
Rule 2: what msgspec refuses is read again by the json module: the literals NaN and Infinity come as such floats and a byte order mark is
left out; `numbers` says that the former are no numbers.
Rule 3: a watched number that no double can hold (1e400, 400 digits) is a reject: nobody can tell what was meant.
Rule 4: of a key that is there twice the last one counts, at every level. Who checks the first one and lets others read the last one
can be deceived ("key smuggling"); msgspec, the json module, JavaScript and most other readers take the last one too.
Rule 5: reasons are few and constant: they are labels of metrics and headers of dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from streamkl.adapters.file_head import BYTE_ORDER_MARK
from streamkl.adapters.json_paths import PathTree, column, field, names
from streamkl.adapters.json_scanner import FLOAT_DIGITS, INVALID_JSON, NOT_AN_OBJECT, JsonScanner
from streamkl.adapters.lines import INVALID_UTF8, is_unicode
from streamkl.errors import ConfigError
from streamkl.service.ports import Decoded
from streamkl.service.record import Record

RECORD_BYTES_MAX: Final = 1 << 20
TOGETHER: Final = 256               # records that are read in one call: what they are made of stays in the cache
TOMBSTONE: Final = "no value (a tombstone)"
EMPTY: Final = "an empty value"
TOO_LONG: Final = "longer than the longest record allowed"
BEYOND_DOUBLES: Final = "a number beyond the range of doubles"
REASONS: Final = (TOMBSTONE, EMPTY, TOO_LONG, INVALID_JSON, NOT_AN_OBJECT, INVALID_UTF8, BEYOND_DOUBLES)

_LARGEST: Final = int(float.fromhex("0x1.fffffffffffffp1023"))
_BEYOND: Final = type("Beyond", (), {})()  # stands for a number that no double can hold


class JsonRecordDecoder:
    r"""Decodes JSON; see `RecordDecoder` in `service/ports.py` for what it guarantees.

    paths: the watched fields, each once: `amount`, `payload.amount`, `a\.b` for a name with a dot. record_bytes_max: of the longest value.
    Raises ConfigError for a path that cannot be read.
    >>> from streamkl.service.record import PlainRecord
    >>> record = PlainRecord("t", 0, 7, None, None, b'{"p": {"x": 1}, "y": [2]}')
    >>> JsonRecordDecoder(["p.x"]).decode([record, record._replace(value=b"[")])
    Decoded(rows=[0], columns={'p.x': [1]}, rejects=[(1, 'not JSON')])
    """

    def __init__(self, paths: Sequence[str], record_bytes_max: int = RECORD_BYTES_MAX) -> None:
        if record_bytes_max < 1:
            raise ConfigError(f"record_bytes_max={record_bytes_max} must be at least 1 byte; leave it out for {RECORD_BYTES_MAX}")
        self._record_bytes_max = record_bytes_max
        self._tree = PathTree([names(path) for path in dict.fromkeys(paths)])
        self._getters = {path: self._tree.getter(names(path)) for path in paths}
        plain = msgspec.json.Decoder(self._tree.record) if self._tree.is_plain else None
        self._decode = plain.decode if plain else self._scanned
        self._decode_lines = plain.decode_lines if plain else None
        self._scanner = JsonScanner(nan=float("nan"), beyond=_BEYOND)

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the watched fields of each record that could be read, and why the others could not."""
        rows: list[int] = []
        found: list[object] = []
        rejects: list[tuple[int, str]] = []
        for start in range(0, len(records), TOGETHER):
            values = [record.value for record in records[start:start + TOGETHER]]
            if together := self._together(values):
                rows += range(start, start + len(together))
                found += together
                continue
            for index, fields in enumerate(map(self._alone, values), start=start):
                if isinstance(fields, str):
                    rejects.append((index, fields))
                else:
                    rows.append(index)
                    found.append(fields)
        return Decoded(rows, {path: column(getter, found) for path, getter in self._getters.items()}, rejects)

    def _together(self, values: list[bytes | None]) -> list[object] | None:
        """Return all records, read as lines in one call; None where that may not be what each of them is alone.

        If each line break of the text stands between } and {, and there is one between each two values, then no value has one, and none begins in
        one and ends in another: JSON has no such place, as a line break in a text is refused. As many objects as values are then one in each.
        """
        try:
            text = b"\n".join(values)       # type: ignore[arg-type]
        except TypeError:                   # a tombstone
            return None
        count, longest = len(values), max(map(len, values))         # type: ignore[arg-type]
        is_plain = text.startswith(b"{") and text.endswith(b"}") and text.count(b"\n") == count - 1 == text.count(b"}\n{")
        if not (self._decode_lines and is_plain and longest <= self._record_bytes_max):
            return None
        try:
            found: list[object] = self._decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return found if len(found) == count and not (longest > FLOAT_DIGITS and self._have_beyond(found)) else None

    def _alone(self, value: bytes | None) -> object | str:
        """Return one record, or the reason why it is none."""
        if not value or len(value) > self._record_bytes_max:
            return TOO_LONG if value else TOMBSTONE if value is None else EMPTY
        try:
            fields: object = self._decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._scanned(value)
        return self._scanned(value) if len(value) > FLOAT_DIGITS and self._have_beyond([fields]) else fields

    def _have_beyond(self, found: list[object]) -> bool:
        """Return whether a watched field is an integer that no double can hold; only a long record has room for one."""
        for getter in self._getters.values():
            whole = [leaf for leaf in column(getter, found) if type(leaf) is int]
            if whole and (max(whole) > _LARGEST or min(whole) < -_LARGEST):
                return True
        return False

    def _scanned(self, value: bytes) -> object | str:
        """Return one record as msgspec would give it, or the reason why it is none."""
        fields = self._scanner.fields_of(value.removeprefix(BYTE_ORDER_MARK))
        if isinstance(fields, str):
            return fields if is_unicode(value.decode("utf-8", "surrogateescape")) else INVALID_UTF8
        record = self._tree.of(fields)
        leaves = self._leaves(record)
        if any(leaf is _BEYOND for leaf in leaves):
            return BEYOND_DOUBLES
        return record if all(is_unicode(leaf) for leaf in leaves if isinstance(leaf, str)) else INVALID_UTF8

    def _leaves(self, record: object) -> Sequence[object]:
        try:
            return [getter(record) for getter in self._getters.values()]
        except AttributeError:
            return [field(getter, record) for getter in self._getters.values()]
