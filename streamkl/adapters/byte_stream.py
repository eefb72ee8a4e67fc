"""Byte stream: a file, a named pipe or standard input as plain blocks, without waiting longer than asked.

Rule 1: an empty block means that nothing came in time; the end is the end of the iteration.
Rule 2: gzip is known by its first bytes; what is neither text nor gzip is refused, see `file_head.py`.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator

from streamkl.adapters.file_head import LEAST_BYTES, Format, format_of, refuse_foreign
from streamkl.adapters.gzip_blocks import BLOCK_BYTES, GZIP_MAGIC, inflated
from streamkl.errors import ConfigError, Unavailable

STANDARD_INPUT = "-"


def is_regular(path: str) -> bool:
    """Return whether a path is a file that can be read again; standard input is none, whatever it is connected to."""
    if path == STANDARD_INPUT:
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return True  # it is not there yet: `ByteStream` will say so


class ByteStream:
    """One pass over the bytes. format: of what is inside, known after the first block; given: what the operator says it is.

    timeout_seconds: how long the next block may be waited for; it is used up, so to be set each time before one is asked for.
    Raises Unavailable where it cannot be opened.
    """

    def __init__(self, path: str, given: Format | None = None, block_bytes: int = BLOCK_BYTES) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else path
        self.format = given
        self.timeout_seconds = 0.0
        self.read_bytes = 0
        self._path = path
        self._block_bytes = block_bytes
        if path == STANDARD_INPUT and sys.stdin is None:
            raise ConfigError("standard input is closed; give it something to read, or the path of a file")
        self._descriptor = 0 if path == STANDARD_INPUT else self._opened(path)
        status = self._status()
        self.total_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def blocks(self) -> Iterator[bytes]:
        """Yield plain blocks. Raises Unavailable where reading fails, ConfigError where it can never be read."""
        raw = self._raw()
        start = b""
        for block in raw:
            start += block
            if len(start) >= LEAST_BYTES:
                break
            yield b""
        if not start.startswith(GZIP_MAGIC):
            yield from self._checked(iter((start,)), raw)
            return
        try:
            yield from self._checked(inflated(_joined(start, raw)), iter(()))
        except (zlib.error, EOFError) as error:
            what = f"{self.name} cannot be read to its end, the gzip data is damaged: {error}"
            raise ConfigError(f"{what}; what comes before was used; get the file again") from error

    def close(self) -> None:
        """Close what was opened here; standard input stays as it is."""
        if self._path != STANDARD_INPUT and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _checked(self, first: Iterator[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the blocks on, once their head has been looked at."""
        head = b""
        for block in first:
            head += block
            if len(head) >= LEAST_BYTES:
                break
            yield b""
        refuse_foreign(head, self.name)
        found = format_of(self._path, head, self.name) if self.format != "csv" else "csv"
        self.format = self.format or found
        yield head
        yield from first
        yield from rest

    def _raw(self) -> Iterator[bytes]:
        while True:
            if self.total_bytes is None and not self._poll.poll(1000 * self.timeout_seconds):
                yield b""
                continue
            try:
                block = os.read(self._descriptor, self._block_bytes)
            except OSError as error:
                raise Unavailable(f"cannot read {self.name}: {error.strerror}; it will be tried again") from error
            if not block:
                return
            self.read_bytes += len(block)
            self.timeout_seconds = 0.0  # gzip may ask again for a block of which nothing comes out
            yield block

    def _opened(self, path: str) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # so that a pipe without a writer can be waited for
            os.set_blocking(descriptor, True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(f"cannot open {path!r}: {reason}; give the path of a file, or - for standard input") from error
        return descriptor

    def _status(self) -> os.stat_result:
        try:
            return os.fstat(self._descriptor)
        except OSError as error:
            raise Unavailable(f"{self.name} is closed: {error.strerror}") from error


def _joined(start: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from rest
