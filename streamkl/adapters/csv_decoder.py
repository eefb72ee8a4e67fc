"""CSV decoder: bytes -> batches of the watched columns.

Rule 1: the first record is the header; a watched column that it lacks, or has twice, is the operator's fault.
Rule 2: a record with another number of fields than the header is a reject: nobody knows which field is missing.
Rule 3: a blank line is no record; but where there is one column it is an empty field, unless the file ends with it.
Rule 4: a quote left open costs one line, not the rest of the file: reading goes on at the next line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from streamkl.adapters.column_names import hint, shown
from streamkl.adapters.csv_grid import grid
from streamkl.adapters.csv_records import OPEN_LINES, Records, Row, records
from streamkl.adapters.file_head import BYTE_ORDER_MARK
from streamkl.adapters.lines import INVALID_UTF8, RECORD_BYTES, Lines, Whole, is_unicode
from streamkl.errors import ConfigError
from streamkl.service.batch import Batch, Reject

CARRIAGE_RETURNS = "if lines end with a carriage return alone, convert them first: tr '\\r' '\\n'"
SEPARATORS = {";": "tr ',;' '.,'", "\t": "tr '\\t' ','", "|": "tr '|' ','"}  # semicolons come with decimal commas
QUOTE_OPEN = "quote left open"
HEADER_LINES = 100  # a header whose quote is open for longer was never meant to be that long
GIVE_UPS = 8  # open quotes given up one by one; then each line is read alone, so that garbage takes linear time
REPARSE_BYTES = 1 << 16  # an open record is looked at again at once below this size, then each time it has doubled


class CsvDecoder:
    """Decodes CSV with a header row; see `Decoder` in `service/ports.py` for what it guarantees.

    fields: the watched columns, each once. name: of the file, for messages. record_bytes: the longest record.
    >>> decoder = CsvDecoder(["x"], "a.csv")
    >>> decoder.decode(b"t,x\\n1,5", is_last=False).columns, decoder.decode(b"0\\n", is_last=True).columns
    ({'x': []}, {'x': ['50']})
    """

    def __init__(self, fields: Sequence[str], name: str, record_bytes: int = RECORD_BYTES) -> None:
        self._fields = fields
        self._name = name
        self._record_bytes = record_bytes
        self._lines = Lines(record_bytes)
        self._open = Whole(1, b"")
        self._header: list[str] | None = None
        self._wanted: list[int] = []
        self._parse_at_bytes = 0
        csv.field_size_limit(max(record_bytes, csv.field_size_limit()))

    def decode(self, block: bytes, is_last: bool) -> Batch:
        """Return the records that this block completes."""
        batches = []
        whole = self._lines.cut(block, is_last)
        rejects = self._lines.rejects()
        if rejects and self._header is None:
            raise ConfigError(f"{self._name}: the first line is longer than {self._record_bytes >> 20} MiB; {CARRIAGE_RETURNS}")
        if rejects and self._open.text:  # a line was left out in the middle of an open record
            batches.append(self._batch(self._take_open(), is_final=True))
        batches.append(Batch([], {}, rejects))
        if whole.text or is_last:
            opened = self._take_open()
            whole = Whole(opened.first_line, opened.text + whole.text) if opened.text else whole
            if len(whole.text) < self._parse_at_bytes and not is_last:
                self._open = whole
            else:
                batches.append(self._batch(whole, is_last))
        if is_last and self._header is None:
            raise ConfigError(f"{self._name}: no header row; the first record of a CSV file names its columns")
        return self._joined(batches)

    def _take_open(self) -> Whole:
        whole, self._open = self._open, Whole(1, b"")
        return whole

    def _joined(self, batches: list[Batch]) -> Batch:
        parts = [batch for batch in batches if batch.lines]
        rejects = [reject for batch in batches for reject in batch.rejects]
        if len(parts) == 1:
            return Batch(parts[0].lines, parts[0].columns, rejects)
        columns = {field: [value for part in parts for value in part.columns[field]] for field in self._fields}
        return Batch([line for part in parts for line in part.lines], columns, rejects)

    def _batch(self, whole: Whole, is_final: bool) -> Batch:
        if self._header is None and whole.text:
            whole = self._after_header(whole, is_final)
        blank = _last_blank(whole) if self._header is not None and len(self._header) == 1 else Whole(1, b"")
        whole = whole._replace(text=whole.text.removesuffix(blank.text))
        batch = self._rows(whole, is_final) if self._header is not None and whole.text else Batch([], {})
        if not is_final:  # what comes next will tell whether the file ends with it
            self._open = Whole(self._open.first_line, self._open.text + blank.text) if self._open.text else blank
        return batch

    def _rows(self, whole: Whole, is_final: bool) -> Batch:
        width = len(self._header or ())
        if width > 1 and not whole.text.strip(b"\n"):
            return Batch([], {})
        if columns := grid(whole.text, width, self._wanted):
            lines = range(whole.first_line, whole.first_line + len(columns[0]))
            return Batch(lines, dict(zip(self._fields, columns, strict=True)))
        return self._columns(self._records(whole, is_final))

    def _after_header(self, whole: Whole, is_final: bool) -> Whole:
        """Read the header and return what follows; keep a header that is not complete."""
        marked = whole.text.removeprefix(BYTE_ORDER_MARK)
        text = marked.lstrip(b"\r\n")
        first_line = whole.first_line + marked.count(b"\n") - text.count(b"\n")
        header = b""
        for end, line in enumerate(text.split(b"\n", HEADER_LINES)[:-1], 1):
            header += line + b"\n"
            found = records(header.decode("utf-8", "surrogateescape"), first_line)
            if found.rejects:
                raise ConfigError(f"{self._name}: {CARRIAGE_RETURNS}")
            if found.rows:
                self._read_header(found.rows[0].fields)
                return Whole(first_line + end, text[len(header) :])
        if text and (is_final or text.count(b"\n") >= HEADER_LINES):
            raise ConfigError(f"{self._name}: a quote in the header is never closed; it opens in line {first_line}")
        self._open = whole
        return Whole(1, b"")

    def _records(self, whole: Whole, is_final: bool) -> Records:
        rows: list[Row] = []
        rejects: list[Reject] = []
        line, text = whole.first_line, whole.text.decode("utf-8", "surrogateescape")
        for _ in range(GIVE_UPS):
            found = records(text, line)
            rows += found.rows
            rejects += found.rejects
            line += text.count("\n") - len(found.open_lines)
            text = "".join(found.open_lines)
            self._parse_at_bytes = 0
            if not text:
                return Records(rows, rejects, [])
            if not is_final and len(text) <= self._record_bytes and len(found.open_lines) <= OPEN_LINES:
                self._keep_open(Whole(line, text.encode("utf-8", "surrogateescape")))
                return Records(rows, rejects, [])
            rejects.append(Reject(line, QUOTE_OPEN))
            line, text = line + 1, text[text.index("\n") + 1 :]
        for i, alone in enumerate(io.StringIO(text, newline="\n")):
            found = records(alone, line + i)
            rows += found.rows
            rejects += [*found.rejects, *(Reject(line + i, QUOTE_OPEN) for _ in found.open_lines)]
        return Records(rows, rejects, [])

    def _keep_open(self, whole: Whole) -> None:
        self._open = whole
        self._parse_at_bytes = 2 * len(whole.text) if len(whole.text) > REPARSE_BYTES else 0

    def _columns(self, found: Records) -> Batch:
        width = len(self._header or ())
        lines: list[int] = []
        columns: list[list[str]] = [[] for _ in self._wanted]
        rejects = list(found.rejects)
        for line, fields in found.rows:
            if not fields and width > 1:
                continue
            fields = fields or [""]
            if len(fields) != width:
                reason = "fewer fields than the header" if len(fields) < width else "more fields than the header"
                rejects.append(Reject(line, reason, f"{len(fields)} of {width}"))
            elif not all(map(is_unicode, watched := [fields[i] for i in self._wanted])):
                rejects.append(Reject(line, INVALID_UTF8))
            else:
                lines.append(line)
                for column, field in zip(columns, watched, strict=True):
                    column.append(field)
        rejects.sort(key=lambda reject: reject.line)
        return Batch(lines, dict(zip(self._fields, columns, strict=False)), rejects)

    def _read_header(self, names: list[str]) -> None:
        for field in self._fields:
            if field not in names:
                raise ConfigError(f"{self._name}: {_lacking(field, names)}")
            if names.count(field) > 1:
                raise ConfigError(f"{self._name}: column {field!r} appears {names.count(field)} times in the header; rename all but one")
        self._header, self._wanted = names, [names.index(field) for field in self._fields]


def _lacking(field: str, names: list[str]) -> str:
    what = f"no column {field!r} in the header (it has: {shown(names)})"
    for separator, remedy in SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            return f"{what}; fields must be separated by commas, convert it first: {remedy}"
    return f"{what}{hint(field, names)}"


def _last_blank(whole: Whole) -> Whole:
    """Return the last line if it is blank, else nothing."""
    text = whole.text
    line = b"\r\n" if text.endswith(b"\r\n") else b"\n"
    if text != line and not text.endswith(b"\n" + line):
        return Whole(1, b"")
    return Whole(whole.first_line + text.count(b"\n") - 1, line)
