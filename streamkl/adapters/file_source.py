"""File source: a file or standard input, plain or gzip -> batches.

Rule 1: bytes are handed on as soon as they are there; nobody waits for a block to fill.
Rule 2: gzip is known by its first bytes, the format by its name, else its first bytes, see `file_head.py`.
Rule 3: memory does not depend on the size of the file.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from io import BufferedReader
from itertools import chain
from typing import cast

from streamkl.adapters.file_head import LEAST_BYTES, Format, format_of, is_blank, refuse_foreign
from streamkl.adapters.gzip_blocks import BLOCK_BYTES, GZIP_MAGIC, inflated
from streamkl.errors import ConfigError, Unavailable
from streamkl.service.batch import Batch
from streamkl.service.ports import Decoder

STANDARD_INPUT = "-"


class FileSource:
    """Reads one file, once; see `Source` in `service/ports.py` for what it guarantees.

    path: of the file, `-` is standard input. decoder: called once, when the format is known.
    block_bytes: the most that is read at a time.
    """

    def __init__(
        self, path: str, decoder: Callable[[Format], Decoder], format: Format | None = None, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.name = "standard input" if path == STANDARD_INPUT else path
        self._path = path
        self._decoder = decoder
        self._format = format
        self._block_bytes = block_bytes
        self._read_bytes = 0
        self._total_bytes: int | None = None

    def batches(self) -> Iterator[Batch]:
        """Yield the records of the file. Raises Unavailable, or ConfigError for an empty or undecodable one."""
        with self._opened() as file:
            blocks = self._plain(self._blocks(file))
            head = self._head(blocks)
            decoder = self._decoder(self._format or format_of(self._path, head, self.name))
            for block in chain((head,), blocks):
                yield decoder.decode(block, is_last=False)
            yield decoder.decode(b"", is_last=True)

    def progress(self) -> tuple[int, int | None]:
        """Return bytes read and bytes in all, as stored (compressed, if so); None for a pipe."""
        return self._read_bytes, self._total_bytes

    def _opened(self) -> nullcontext[BufferedReader] | BufferedReader:
        if self._path == STANDARD_INPUT:
            if sys.stdin is None:
                raise Unavailable("standard input is closed")
            return nullcontext(cast(BufferedReader, sys.stdin.buffer))
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed by `batches`
        except (OSError, ValueError) as error:
            advice = "give the path of a file, or - for standard input"
            raise Unavailable(f"cannot open {self._path!r}: {_reason(error)}; {advice}") from error
        status = os.fstat(file.fileno())
        self._total_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        return file

    def _blocks(self, file: BufferedReader) -> Iterator[bytes]:
        while True:
            try:
                block = file.read1(self._block_bytes)
            except OSError as error:
                raise Unavailable(f"cannot read {self.name}: {_reason(error)}") from error
            if not block:
                return
            self._read_bytes += len(block)
            yield block

    def _plain(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        start = b""
        for block in blocks:
            start += block
            if len(start) >= len(GZIP_MAGIC):
                break
        if not start.startswith(GZIP_MAGIC):
            yield from chain((start,), blocks)
            return
        try:
            yield from inflated(chain((start,), blocks))
        except (zlib.error, EOFError) as error:
            advice = "what comes before was watched; for the rest get the file again"
            raise Unavailable(f"cannot read {self.name} to its end, the gzip data is damaged: {error}; {advice}") from error

    def _head(self, blocks: Iterator[bytes]) -> bytes:
        """Return the first bytes, up to the first that is not blank at least."""
        head = b""
        for block in blocks:
            head += block
            if len(head) >= LEAST_BYTES and (not is_blank(head) or len(head) > BLOCK_BYTES):
                break
        refuse_foreign(head, self.name)
        if is_blank(head) and len(head) <= BLOCK_BYTES:
            raise ConfigError(f"{self.name} is empty: there is nothing to watch")
        return head


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
