"""JSON decoder: bytes of JSON Lines -> batches of the watched fields.

Rule 1: one JSON object a line; only the watched fields of its top level are built.
Rule 2: what msgspec refuses is read again by the json module, so that 1e400, 5,000 digits and NaN are values, not faults.
Rule 3: a field that no record has is the operator's fault, told when the end is reached.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from streamkl.adapters.lines import INVALID_UTF8, RECORD_BYTES, Lines, is_unicode
from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT, Batch, Reject

INVALID_JSON = "not JSON"
NOT_AN_OBJECT = "JSON, but not an object"
FLOAT_DIGITS = 308  # more digits than any finite float has, and than int() should be asked to read
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonDecoder:
    """Decodes JSON Lines; see `Decoder` in `service/ports.py` for what it guarantees.

    fields: the watched fields, each once. name: of the file, for messages. record_bytes: the longest record.
    >>> JsonDecoder(["x"], "a.jsonl").decode(b'{"x": 1, "y": [2]}\\n{"x": 1e400}', is_last=True).columns
    {'x': [1, inf]}
    """

    def __init__(self, fields: Sequence[str], name: str, record_bytes: int = RECORD_BYTES) -> None:
        self._fields = fields
        self._name = name
        self._lines = Lines(record_bytes)
        self._absent = set(fields)
        self._has_records = False
        attributes = [f"field_{i}" for i in range(len(fields))]
        record = msgspec.defstruct(
            "Record",
            [(attribute, Any, ABSENT) for attribute in attributes],
            rename=dict(zip(attributes, fields, strict=True)),
        )
        self._attributes = attributes
        self._decoder = msgspec.json.Decoder(record)
        self._scanner = json.JSONDecoder(parse_int=_integer, parse_constant=_constant)

    def decode(self, block: bytes, is_last: bool) -> Batch:
        """Return the records that this block completes."""
        first_line, text = self._lines.cut(block, is_last)
        rejects = self._lines.rejects()
        if first_line == 1:
            text = text.removeprefix(BYTE_ORDER_MARK)
        batch = self._at_once(first_line, text, rejects) or self._one_by_one(first_line, text, rejects)
        self._look_for_absent(batch)
        if is_last and self._absent and self._has_records:
            raise ConfigError(f"{self._name}: no record has the field {sorted(self._absent)[0]!r}")
        return batch

    def _look_for_absent(self, batch: Batch) -> None:
        self._has_records = self._has_records or bool(batch.lines)
        for field in tuple(self._absent):
            if any(value is not ABSENT for value in batch.columns[field]):
                self._absent.remove(field)

    def _at_once(self, first_line: int, text: bytes, rejects: list[Reject]) -> Batch | None:
        lines = text.count(b"\n")
        ends = max(text.count(b"}\n{"), text.count(b"}\r\n{"))
        if not text.startswith(b"{") or not text.endswith((b"}\n", b"}\r\n")) or ends != lines - 1:
            return None  # only so does one line hold one record for sure: `}` and `{` never meet inside a record
        try:
            found = self._decoder.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(found) != lines:
            return None
        columns = {field: [getattr(record, name) for record in found] for field, name in zip(self._fields, self._attributes, strict=True)}
        return Batch(range(first_line, first_line + len(found)), columns, rejects)

    def _one_by_one(self, first_line: int, text: bytes, rejects: list[Reject]) -> Batch:
        lines: list[int] = []
        columns: dict[str, list[object]] = {field: [] for field in self._fields}
        for line, record in enumerate(text.split(b"\n"), start=first_line):
            if not record or record.isspace():
                continue
            values = self._values(record)
            if isinstance(values, str):
                rejects.append(Reject(line, values))
                continue
            lines.append(line)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        return Batch(lines, columns, rejects)

    def _values(self, record: bytes) -> list[object] | str:
        """Return the watched values of one record, or the reason why there are none."""
        try:
            found = self._decoder.decode(record)
            return [getattr(found, name) for name in self._attributes]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            fields = self._scanner.decode(record.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            return INVALID_JSON
        if not isinstance(fields, dict):
            return NOT_AN_OBJECT
        values = [fields.get(field, ABSENT) for field in self._fields]
        return values if all(is_unicode(value) for value in values if isinstance(value, str)) else INVALID_UTF8


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= FLOAT_DIGITS else float(digits)


def _constant(name: str) -> float | None:
    return None if name == "NaN" else math.copysign(math.inf, -1 if name.startswith("-") else 1)
