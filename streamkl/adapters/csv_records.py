"""CSV records: whole lines -> rows of fields, with the number of each row's first line.

Rule 1: quotes are read as the csv module of the standard library reads them; one `csv.reader`, no second dialect.
Rule 2: a record whose quote is open at the end, or for more than OPEN_LINES lines, is handed back, never guessed at.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from streamkl.service.batch import Reject

OPEN_LINES = 10_000  # nobody quotes a longer text; somebody forgot a quote


class Row(NamedTuple):
    """The fields of one record and the line at which it begins."""

    line: int
    fields: list[str]


class Records(NamedTuple):
    """Rows in order; rejects; and the lines from an unclosed record on."""

    rows: list[Row]
    rejects: list[Reject]
    open_lines: list[str]


class _QuoteOpen(Exception):
    """The lines ended inside a quoted field, or should have."""


def records(text: str, first_line: int) -> Records:
    """Return the records of whole lines; a blank line is a row without fields.

    >>> records('a,"b\\nc"\\n\\nd,"e\\n', first_line=5)
    Records(rows=[Row(line=5, fields=['a', 'b\\nc']), Row(line=7, fields=[])], rejects=[], open_lines=['d,"e\\n'])
    """
    lines = list(io.StringIO(text, newline="\n"))
    if '"' not in text or '"' not in lines[-1] or not _is_open(lines[-1]):
        try:
            rows = list(csv.reader(lines))
        except csv.Error:
            rows = []
        if len(rows) == len(lines):
            return Records([Row(first_line + i, fields) for i, fields in enumerate(rows)], [], [])
    return _line_by_line(lines, first_line)


class _Feed:
    """Lines for a csv.reader, which tells how many it has taken."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.start = 0  # of the record
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.taken += 1
            if self.taken - self.start > OPEN_LINES:
                raise _QuoteOpen
            yield line
        raise _QuoteOpen  # asked for more only inside a record: `_line_by_line` does not ask for a record that is not there


def _line_by_line(lines: list[str], first_line: int) -> Records:
    rows: list[Row] = []
    rejects: list[Reject] = []
    feed = _Feed(lines)
    reader = csv.reader(iter(feed))
    while (start := feed.taken) < len(lines):
        feed.start = start
        try:
            rows.append(Row(first_line + start, next(reader)))
        except csv.Error:
            rejects.append(Reject(first_line + start, "not CSV (a carriage return outside quotes?)"))
        except _QuoteOpen:
            return Records(rows, rejects, lines[start:])
    return Records(rows, rejects, [])


def _is_open(line: str) -> bool:
    return bool(_line_by_line([line], 1).open_lines)
