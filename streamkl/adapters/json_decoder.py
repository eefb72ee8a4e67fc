"""JSON decoder: bytes of JSON Lines -> batches of the watched fields.

Rule 1: one JSON object a line; only the watched fields of its top level are built.
Rule 2: what msgspec refuses is read again by the json module, so that 1e400, 5,000 digits and NaN are values, not faults.
Rule 3: a field that no record has is the operator's fault, told when the end is reached.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from streamkl.adapters.column_names import hint, shown
from streamkl.adapters.file_head import BYTE_ORDER_MARK
from streamkl.adapters.json_scanner import JsonScanner
from streamkl.adapters.lines import INVALID_UTF8, RECORD_BYTES, Lines, is_unicode
from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT, Batch, Reject

SAMPLE_BYTES = 1 << 16  # a longer record is not looked at for its field names


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
        self._sample: bytes | None = None  # the first block of records
        self._attributes = [f"field_{i}" for i in range(len(fields))]
        self._decoder = _decoder(fields, self._attributes)
        self._scanner = JsonScanner(nan=None)

    def decode(self, block: bytes, is_last: bool) -> Batch:
        """Return the records that this block completes."""
        first_line, text = self._lines.cut(block, is_last)
        rejects = self._lines.rejects()
        if first_line == 1:
            text = text.removeprefix(BYTE_ORDER_MARK)
        batch = self._at_once(first_line, text, rejects) or self._one_by_one(first_line, text, rejects)
        if self._absent:
            self._look_for_absent(batch, text)
        if is_last and self._absent and self._sample is not None:
            raise ConfigError(f"{self._name}: {self._lacking(sorted(self._absent)[0], self._sample)}")
        return batch

    def _look_for_absent(self, batch: Batch, text: bytes) -> None:
        if self._sample is None and batch.lines:
            self._sample = text[:SAMPLE_BYTES]
        for field in tuple(self._absent):
            if any(value is not ABSENT for value in batch.columns[field]):
                self._absent.remove(field)

    def _lacking(self, field: str, sample: bytes) -> str:
        for record in sample.split(b"\n"):
            fields = self._scanner.fields_of(record)
            if isinstance(fields, dict):
                return f"no record has the field {field!r} (the first has: {shown(list(fields))}){hint(field, list(fields))}"
        return f"no record has the field {field!r}"

    def _at_once(self, first_line: int, text: bytes, rejects: list[Reject]) -> Batch | None:
        if self._decoder is None:
            return None
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
        if self._decoder is not None:
            try:
                found = self._decoder.decode(record)
                return [getattr(found, name) for name in self._attributes]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        fields = self._scanner.fields_of(record)
        if isinstance(fields, str):
            return fields
        values = [fields.get(field, ABSENT) for field in self._fields]
        return values if all(is_unicode(value) for value in values if isinstance(value, str)) else INVALID_UTF8


def _decoder(fields: Sequence[str], attributes: Sequence[str]) -> msgspec.json.Decoder[Any] | None:
    """Return a decoder of the watched fields; None if msgspec cannot have a field of such a name, which has to be escaped."""
    if any(json.dumps(field, ensure_ascii=False) != f'"{field}"' for field in fields):
        return None
    record = msgspec.defstruct(
        "Record", [(attribute, Any, ABSENT) for attribute in attributes], rename=dict(zip(attributes, fields, strict=True))
    )
    return msgspec.json.Decoder(record)
