"""CSV record decoder: rows of CSV, each with its header row beside it -> columns of the watched fields.

Rule 1: the header row stands in the header HEADER of each record (`csv_lines.py`), so that a record can be read alone.
Rule 2: fields are text; a column that the header lacks is ABSENT, as a field that a JSON record lacks.
Rule 3: a record with another number of fields than the header is a reject: nobody knows which field is missing.
Rule 4: reasons are few and constant: they are labels of metrics and headers of dead letters.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Final

from streamkl.adapters.csv_grid import grid
from streamkl.adapters.csv_lines import HEADER
from streamkl.adapters.csv_records import records
from streamkl.adapters.json_paths import names
from streamkl.adapters.json_record_decoder import EMPTY, RECORD_BYTES_MAX, TOMBSTONE, TOO_LONG
from streamkl.adapters.lines import INVALID_UTF8, is_unicode
from streamkl.errors import ConfigError
from streamkl.service.batch import ABSENT
from streamkl.service.ports import Decoded
from streamkl.service.record import Headers, Record

NO_HEADER: Final = "no header row"
TWICE: Final = "a watched column is twice in the header row"
QUOTE_OPEN: Final = "quote left open"
NOT_CSV: Final = "not one row of CSV"
FEWER: Final = "fewer fields than the header"
MORE: Final = "more fields than the header"
REASONS: Final = (TOMBSTONE, EMPTY, TOO_LONG, NO_HEADER, TWICE, QUOTE_OPEN, NOT_CSV, FEWER, MORE, INVALID_UTF8)


class CsvRecordDecoder:
    """Decodes CSV; see `RecordDecoder` in `service/ports.py` for what it guarantees.

    paths: the watched columns, each once; a dot in a name may be escaped as for JSON, and need not be. record_bytes_max: of the longest record.
    >>> from streamkl.service.record import PlainRecord
    >>> record = PlainRecord("t", 0, 1, None, None, b'7,"a,b"', ((HEADER, b"x,y"),))
    >>> CsvRecordDecoder(["y", "z"]).decode([record]).columns
    {'y': ['a,b'], 'z': [ABSENT]}
    """

    def __init__(self, paths: Sequence[str], record_bytes_max: int = RECORD_BYTES_MAX) -> None:
        if record_bytes_max < 1:
            raise ConfigError(f"record_bytes_max={record_bytes_max} must be at least 1 byte; leave it out for {RECORD_BYTES_MAX}")
        self._columns = {path: ".".join(names(path)) for path in paths}
        self._record_bytes_max = record_bytes_max
        csv.field_size_limit(max(record_bytes_max, csv.field_size_limit()))

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Return the watched fields of each record that could be read, and why the others could not."""
        return self._at_once(records) or self._one_by_one(records)

    def _at_once(self, found: Sequence[Record]) -> Decoded | None:
        """Return plain rows that all have the same header, None if they are not so."""
        values = [record.value or b"\n" for record in found]
        if not found or any(record.headers is not found[0].headers for record in found) or max(map(len, values)) > self._record_bytes_max:
            return None
        header = _header(found[0].headers)
        wanted = [] if isinstance(header, str) else self._wanted(header)
        if not header or isinstance(header, str) or isinstance(wanted, str):
            return None
        text = b"\n".join(values) + b"\n"
        at = [place for place in wanted if place is not None]
        columns = grid(text, len(header), at or [0]) if text.count(b"\n") == len(values) else None
        if columns is None:
            return None
        by_place = dict(zip(at, columns, strict=False))
        absent = [ABSENT] * len(values)
        fields = [absent if place is None else by_place[place] for place in wanted]
        return Decoded(range(len(values)), dict(zip(self._columns, fields, strict=True)), [])

    def _one_by_one(self, found: Sequence[Record]) -> Decoded:
        rows: list[int] = []
        columns: list[list[object]] = [[] for _ in self._columns]
        rejects: list[tuple[int, str]] = []
        for index, record in enumerate(found):
            fields = self._fields(record)
            if isinstance(fields, str):
                rejects.append((index, fields))
                continue
            rows.append(index)
            for column, field in zip(columns, fields, strict=True):
                column.append(field)
        return Decoded(rows, dict(zip(self._columns, columns, strict=True)), rejects)

    def _fields(self, record: Record) -> list[object] | str:
        """Return the watched fields of one record, or the reason why there are none."""
        value = record.value
        if not value:
            return TOMBSTONE if value is None else EMPTY
        if len(value) > self._record_bytes_max:
            return TOO_LONG
        header = _header(record.headers)
        wanted = header if isinstance(header, str) else self._wanted(header)
        fields = _row(value)
        if isinstance(wanted, str) or isinstance(fields, str):
            return wanted if isinstance(wanted, str) else str(fields)
        if len(fields) != len(header):
            return FEWER if len(fields) < len(header) else MORE
        watched: list[object] = [ABSENT if place is None else fields[place] for place in wanted]
        return watched if all(is_unicode(field) for field in watched if isinstance(field, str)) else INVALID_UTF8

    def _wanted(self, header: Sequence[str]) -> list[int | None] | str:
        """Return where each watched column stands, None: nowhere."""
        if any(header.count(name) > 1 for name in self._columns.values()):
            return TWICE
        return [header.index(name) if name in header else None for name in self._columns.values()]


def _header(headers: Headers) -> list[str] | str:
    """Return the names of the columns, or the reason why there are none."""
    row = next((value for name, value in headers if name == HEADER), None)
    names = None if row is None else _row(row)
    return names if isinstance(names, list) else NO_HEADER


def _row(value: bytes) -> list[str] | str:
    """Return the fields of one row, or the reason why it is none."""
    found = records(value.decode("utf-8", "surrogateescape") + "\n", 0)
    if found.open_lines:
        return QUOTE_OPEN
    if found.rejects or len(found.rows) != 1:
        return NOT_CSV
    return found.rows[0].fields
