"""File records: a file, a pipe or standard input as the one partition of a topic.

Rule 1: a record is a line of the file (of CSV as many lines as its quotes span), its offset the number of its first line, from 0.
A blank line is no record, but has its number. No record has a key or a time of its own.
Rule 2: a file is replayable: `start` skips lines, in time linear in what is skipped. A pipe is not: its numbers go on from the offset.
Rule 3: memory does not depend on the size of the file; of a line that is too long only the beginning is kept, with the header LINE_BYTES.
Rule 4: the end of the file or pipe is the end; who wants to follow a growing file pipes it: tail -n 0 -F file | streamkl run ...
A pipe that begins anew is news: what was sent before a restart and comes again is taken again.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from streamkl.adapters.byte_stream import ByteStream, is_regular
from streamkl.adapters.csv_lines import CsvLines
from streamkl.adapters.file_head import Format
from streamkl.adapters.gzip_blocks import BLOCK_BYTES
from streamkl.adapters.line_records import Line, LineRecords
from streamkl.errors import ConfigError, StateError, StreamklError, Unavailable
from streamkl.service.record import Arrivals, Headers, Partition, PlainRecord, Run

RECORD_BYTES_MAX: Final = 1 << 20
LINE_BYTES: Final = "streamkl-line-bytes"  # header of a record that was cut: how many bytes the line has


class FileRecords:
    """Reads one file; see `RecordSource` in `service/ports.py` for what it guarantees.

    path: of the file, plain or gzip; `-` is standard input. topic: what its records are said to be of. format: None, by name or first byte.
    record_bytes_max: of the longest record; the decoder must not allow more. block_bytes: the most that is read at a time.
    """

    def __init__(
        self, path: str, topic: str, format: Format | None = None, record_bytes_max: int = RECORD_BYTES_MAX, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.is_replayable = is_regular(path)
        self._path = path
        self._partition = Partition(topic, 0)
        self._format = format
        self._record_bytes_max = record_bytes_max
        self._block_bytes = block_bytes
        self._stream: ByteStream | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._lines: LineRecords | CsvLines | None = None
        self._kept: list[Line] = []
        self._next_offset: int | None = None  # None: not started
        self._handed_out = 0
        self._is_gained = self._is_paused = self._is_end = False
        self._refusal: StreamklError | None = None

    def poll(self, timeout_seconds: float) -> Arrivals:
        """Return the records of the next block; of a pipe wait at most so long for it."""
        if self._refusal is not None:
            raise self._refusal
        if not self._is_gained:
            self._open()
            self._is_gained = True
            return Arrivals(gained=(self._partition,))
        if self._is_end:
            return Arrivals(is_end=True)
        if self._next_offset is None or self._is_paused:
            select.select([], [], [], timeout_seconds)
            return Arrivals()
        if self._stream is None:  # reading failed
            self.start(self._partition, self._next_offset)
        records = self._records(self._block(timeout_seconds))
        return Arrivals([Run(self._partition, records)] if records else ())

    def start(self, partition: Partition, offset: int | None) -> int:
        """Read from this line on, None: from the first; return the line. Raises StateError if the file has fewer lines."""
        self._open()
        self._next_offset = offset or 0
        self._is_paused = False
        self._lines = None
        self._is_end = False
        if self.is_replayable:
            self._skip(self._next_offset)
        return offset or 0

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Bring no records of these until `resume`."""
        self._is_paused = self._is_paused or self._partition in partitions

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Bring records of these again."""
        self._is_paused = self._is_paused and self._partition not in partitions

    def lags(self) -> Mapping[Partition, int]:
        """Return how many lines are left, of a file: an estimate by its bytes, 0 at the end. Of a pipe nobody knows: nothing."""
        if self._is_end:
            return {self._partition: 0}
        stream = self._stream
        if stream is None or not stream.total_bytes or self._next_offset is None:
            return {}
        lines_per_byte = (self._next_offset + 1) / max(stream.read_bytes, 1)
        return {self._partition: 1 + int(max(stream.total_bytes - stream.read_bytes, 0) * lines_per_byte)}

    def close(self) -> None:
        """Leave."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> None:
        """Begin at the first byte, of a pipe once only."""
        if self._stream is not None and (not self.is_replayable or not self._stream.read_bytes):
            return
        self.close()
        self._stream = ByteStream(self._path, self._format, self._block_bytes)
        self._blocks = self._stream.blocks()

    def _block(self, timeout_seconds: float) -> bytes | None:
        """Return the next plain block, None at the end."""
        assert self._stream is not None
        self._stream.timeout_seconds = timeout_seconds
        try:
            return next(self._blocks, None)
        except Unavailable as error:
            if not self.is_replayable:
                self._refusal = error
            self.close()
            raise
        except ConfigError as error:
            self._refusal = error
            raise

    def _records(self, block: bytes | None) -> list[PlainRecord]:
        """Return the records that a block completes (None: the end), from the next offset on."""
        lines = self._kept + self._cut(block)
        self._kept = []
        self._is_end = block is None
        first = self._next_offset or 0
        records = [self._record(line) for line in lines if line.number >= first and not _is_blank(line)]
        if lines:
            self._next_offset = max(first, lines[-1].number + 1)
        return records

    def _cut(self, block: bytes | None) -> list[Line]:
        if self._lines is None:
            if not block:
                return []
            assert self._stream is not None
            number = 0 if self.is_replayable else self._next_offset or 0
            is_csv = self._stream.format == "csv"
            self._lines = CsvLines(self._record_bytes_max, number) if is_csv else LineRecords(self._record_bytes_max, number)
        if block is not None:
            return self._lines.cut(block)
        return [line for line in self._lines.rest() if not self._is_half(line)]

    def _is_half(self, line: Line) -> bool:
        """Return whether the last line of a file looks as if its writer has not finished it: the next run takes it whole."""
        is_json = isinstance(self._lines, LineRecords)
        return self.is_replayable and is_json and line.size == len(line.text) and not line.text.rstrip().endswith(b"}")

    def _record(self, line: Line) -> PlainRecord:
        headers: Headers = self._lines.headers if isinstance(self._lines, CsvLines) else ()
        if line.size > len(line.text):
            headers = (*headers, (LINE_BYTES, b"%d" % line.size))
        return PlainRecord(*self._partition, line.number, None, None, line.text, headers)

    def _skip(self, offset: int) -> None:
        """Go to a line; what its block has behind it is kept for the next poll. Raises StateError if there are fewer lines."""
        self._kept = []
        while offset and not self._kept:
            block = self._block(0.0)
            self._kept = [line for line in self._cut(block) if line.number >= offset]
            if block is None:
                self._refuse_shorter(offset)
                return

    def _refuse_shorter(self, offset: int) -> None:
        lines = 0 if self._lines is None else self._lines.next_number
        if lines < offset:
            raise StateError(
                f"{self._path!r} has {lines} lines, but {offset} of it were used: it was cut or replaced; give the whole file, "
                "or discard the state to begin with this one: streamkl run CONFIG --discard-state '*'"
            )


def _is_blank(line: Line) -> bool:
    return not line.text.strip() and line.size == len(line.text)
