"""CSV lines: lines -> records, of which one may span lines inside quotes; the first one is the header.

Rule 1: whether a quote is open is what `csv_records.py` says, so the reader of the record agrees.
Rule 2: a quote that stays open for too many lines or bytes, or to the end, costs no line: each of these lines is a record of its own.
Rule 3: the header goes with each record as its header HEADER, so that a record, a dead letter too, can be read alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from streamkl.adapters.csv_records import OPEN_LINES, records
from streamkl.adapters.file_head import BYTE_ORDER_MARK
from streamkl.adapters.line_records import Line, LineRecords
from streamkl.service.record import Headers

HEADER: Final = "streamkl-csv-header"


class CsvLines:
    """Cuts blocks into records of CSV, as `LineRecords` into lines. headers: of the records so far, () before the header row has come.

    >>> lines = CsvLines(bytes_max=100)
    >>> [(line.number, line.text) for line in lines.cut(b'x,y\\n1,"a\\nb"\\n2,c\\n')], lines.headers
    ([(1, b'1,"a\\nb"'), (3, b'2,c')], (('streamkl-csv-header', b'x,y'),))
    """

    def __init__(self, bytes_max: int, next_number: int = 0) -> None:
        self.headers: Headers = ()
        self._bytes_max = bytes_max
        self._lines = LineRecords(bytes_max, next_number)
        self._open: list[Line] = []
        self._open_bytes = 0

    @property
    def next_number(self) -> int:
        """Return the number of the line that is not complete yet."""
        return self._lines.next_number

    def cut(self, block: bytes) -> list[Line]:
        """Return the records that this block completes."""
        return self._after_header(self._grouped(self._lines.cut(block)))

    def rest(self) -> list[Line]:
        """Return what is left at the end."""
        return self._after_header([*self._grouped(self._lines.rest()), *self._given_up()])

    def _after_header(self, found: Iterable[Line]) -> list[Line]:
        lines = list(found)
        while lines and not self.headers:
            text = lines.pop(0).text.removeprefix(BYTE_ORDER_MARK)
            if text.strip():
                self.headers = ((HEADER, text),)
        return lines

    def _grouped(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if not self._open and (b'"' not in line.text or line.size > len(line.text)):
                yield line
                continue
            is_open = _is_open(line.text, bool(self._open))
            self._open.append(line)
            self._open_bytes += line.size + 1
            if self._open_bytes - 1 > self._bytes_max or len(self._open) > OPEN_LINES:
                yield from self._given_up()
            elif not is_open:
                text = b"\n".join(held.text for held in self._open)
                yield Line(self._open[0].number, text, len(text))
                self._open, self._open_bytes = [], 0

    def _given_up(self) -> list[Line]:
        lines, self._open, self._open_bytes = self._open, [], 0
        return lines


def _is_open(line: bytes, was_open: bool) -> bool:
    """Return whether a quote is open after a line: inside a quote a line is read as one that begins with it."""
    if b'"' not in line:
        return was_open
    text = line.decode("utf-8", "surrogateescape") + "\n"
    return bool(records(f'"{text}' if was_open else text, 0).open_lines)
