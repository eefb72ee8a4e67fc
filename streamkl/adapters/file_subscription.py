"""File subscription: the drift events of a file of JSON lines, from the stored position on, while it grows.

Rule 1: a line counts once its line feed is there, or once what is there of it is a whole JSON object.
Rule 2: it is known to be the same file by its first bytes and by those before the position. Where they differ - it was replaced, cut or written
anew - it is read from its start; what was dealt with is left out by its id.
Rule 3: a file that was renamed is read to its end, and all of it dealt with, before the one that has its name now is begun.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from time import monotonic
from typing import BinaryIO, Final

from streamkl.adapters.delivery_store import DeliveryFile, Position
from streamkl.errors import Unavailable
from streamkl.service.incoming import Brought, Incoming, of_line
from streamkl.service.record import Partition, PlainRecord

BLOCK_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 16 << 20
MARK_BYTES: Final = 4096
LOOK_SECONDS: Final = 0.05


class FileFeed:
    """Brings the events of a file; meets `service.ports.EventFeed`. store: keeps the position. look_seconds: between two looks.

    is_latest: a new group begins behind the whole lines that are there when the file is first opened.
    """

    is_ready = True

    def __init__(self, path: str, store: DeliveryFile, look_seconds: float = LOOK_SECONDS, is_latest: bool = False) -> None:
        self.name = path
        self._place = Partition(path, 0)
        self._store = store
        self._look_seconds = look_seconds
        self._is_latest = is_latest
        self._file: BinaryIO | None = None
        self._read = 0              # bytes of it that were brought
        self._handed = 0            # where the last message ends that was brought
        self._settled = 0           # where the last one ends up to which all is dealt with
        self._mark = ""             # of the bytes before `_read`
        self._looks = (0, 0)        # size and time of change, when it was looked at last

    def poll(self, timeout_seconds: float) -> Brought:
        """See `EventFeed.poll`."""
        until = monotonic() + timeout_seconds
        while True:
            replaced = self._opened()
            items = self._items()
            left = until - monotonic()
            if items or replaced or left <= 0:
                return Brought(items, replaced=replaced)
            time.sleep(min(left, self._look_seconds))

    def keep(self) -> Brought:
        """Nobody takes a file away."""
        return Brought()

    def settle(self, positions: Mapping[Partition, int]) -> None:
        """See `EventFeed.settle`."""
        if self._place in positions:
            offset = positions[self._place]
            mark = self._mark if offset == self._read else self._mark_of(offset)
            self._store.keep(self.name, Position(offset, mark))
            self._settled = offset

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> str:
        """Open the file where it is not open, or is another one now; return why it is read from its start, or nothing."""
        if self._file is None:
            self._open()
            known = self._store.position(self.name)
            if known is None and self._is_latest:
                self._read = self._handed = self._end_of_lines()
                self._mark = self._mark_of(self._read)
                self.settle({self._place: self._read})
                return ""
            if known is None or known.offset == 0:
                return ""
            if self._mark_of(known.offset) != known.mark:
                return f"it is not the file of which {known.offset} bytes were dealt with: it was replaced, cut or written anew"
            self._read = self._handed = self._settled = known.offset
            self._mark = known.mark
            return ""
        if self._settled < self._handed:
            return ""                                   # first all of it is dealt with
        looks, is_moved = self._state()
        if looks != self._looks and self._mark_of(self._read) != self._mark:
            why = "it was cut, or written anew"
        elif is_moved and looks[0] <= self._read:
            why = "another file has its name now"
        else:
            self._looks = looks
            return ""
        self.close()
        self._open()
        return f"{why}; it is read from its start"

    def _open(self) -> None:
        self._read = self._handed = self._settled = 0
        self._looks = (0, 0)
        try:
            self._file = open(self.name, "rb", buffering=0)  # noqa: SIM115 - open until `close`
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(f"cannot open {self.name!r}: {reason}; correct the path, or the rights of the file") from error
        self._mark = self._mark_of(0)

    def _state(self) -> tuple[tuple[int, int], bool]:
        """Return size and time of change of what is open, and whether another file has its name now."""
        assert self._file is not None
        mine = os.fstat(self._file.fileno())
        looks = mine.st_size, mine.st_mtime_ns
        try:
            named = os.stat(self.name)
        except OSError:
            return looks, False                  # it comes back, or another one does
        return looks, (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)

    def _items(self) -> list[Incoming]:
        """Return the lines that are there, a block of them."""
        block = self._bytes(self._read, BLOCK_BYTES)
        while block and b"\n" not in block and len(block) < LINE_BYTES_MAX and len(block) % BLOCK_BYTES == 0:
            block += (more := self._bytes(self._read + len(block), BLOCK_BYTES))
            if not more:
                break
        *lines, rest = block.split(b"\n")
        sizes = [len(line) + 1 for line in lines]
        if rest and (len(rest) >= LINE_BYTES_MAX or (len(block) % BLOCK_BYTES != 0 and _is_whole(rest))):
            lines.append(rest)
            sizes.append(len(rest))
        items, at = [], self._read
        for line, size in zip(lines, sizes, strict=True):
            if line.strip():
                items.append(of_line(PlainRecord(self.name, 0, at, None, None, line), at + size))
            at += size
        if at != self._read:
            self._read = at
            self._mark = self._mark_of(at)
        if items:
            self._handed = items[-1].next_offset
        return items

    def _end_of_lines(self) -> int:
        """Return where the last whole line ends."""
        assert self._file is not None
        end = os.fstat(self._file.fileno()).st_size
        while end > 0:
            start = max(0, end - BLOCK_BYTES)
            if (last := self._bytes(start, end - start).rfind(b"\n")) >= 0:
                return start + last + 1
            end = start
        return 0

    def _mark_of(self, offset: int) -> str:
        """Return what the file is known by: its first bytes and those before an offset."""
        size = min(MARK_BYTES, offset)
        first, last = self._bytes(0, size), self._bytes(offset - size, size)
        return hashlib.sha256(first + b"\0" + last).hexdigest() if len(last) == size else ""

    def _bytes(self, offset: int, number: int) -> bytes:
        assert self._file is not None
        try:
            return os.pread(self._file.fileno(), number, offset)
        except OSError as error:
            raise Unavailable(f"cannot read {self.name!r}: {error.strerror}; give a file of JSON lines that can be read") from error


def _is_whole(line: bytes) -> bool:
    """Return whether a line without its end is an object of JSON: nothing that follows could belong to it."""
    try:
        return line.rstrip().endswith(b"}") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
