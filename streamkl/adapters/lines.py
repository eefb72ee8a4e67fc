"""Lines: bytes cut anywhere -> whole lines, with their numbers.

Rule 1: memory is bounded: of a line longer than RECORD_BYTES nothing is kept but the fault.
Rule 2: a line ends with a line feed, and only with that; the last one need not.
"""

from __future__ import annotations

from typing import NamedTuple

from streamkl.service.batch import Reject

RECORD_BYTES = 1 << 24
TOO_LONG = f"record longer than {RECORD_BYTES >> 20} MiB"
INVALID_UTF8 = "invalid UTF-8 (or half a surrogate pair)"


class Whole(NamedTuple):
    """Whole lines, each ended by a line feed, and the number of the first."""

    first_line: int
    text: bytes


class Lines:
    """Cuts blocks of bytes into blocks of whole lines.

    record_bytes: the longest line that is kept; a block given must not be longer than that.
    >>> lines = Lines()
    >>> lines.cut(b"one\\ntw", is_last=False), lines.cut(b"o", is_last=True)
    (Whole(first_line=1, text=b'one\\n'), Whole(first_line=2, text=b'two\\n'))
    """

    def __init__(self, record_bytes: int = RECORD_BYTES) -> None:
        self._record_bytes = record_bytes
        self._pieces: list[bytes] = []  # of one line that has not ended
        self._size = 0  # of that line so far, kept or not
        self._next_line = 1
        self._rejects: list[Reject] = []

    def cut(self, block: bytes, is_last: bool) -> Whole:
        """Return the whole lines that this block completes; is_last: its end ends a line too."""
        first_end = block.find(b"\n") + 1 or (len(block) if is_last else 0)
        if first_end == 0 and not is_last:
            self._keep(block)
            return Whole(self._next_line, b"")
        if self._size + len(block[:first_end].removesuffix(b"\n")) > self._record_bytes:
            block = block[first_end:]
            self._reject()
        elif self._pieces:
            block = b"".join((*self._pieces, block))
        self._pieces, self._size = [], 0
        return self._whole(block, is_last)

    def rejects(self) -> list[Reject]:
        """Return the faults since the last call."""
        rejects, self._rejects = self._rejects, []
        return rejects

    def _whole(self, block: bytes, is_last: bool) -> Whole:
        if is_last and block and not block.endswith(b"\n"):
            block += b"\n"
        end = block.rfind(b"\n") + 1
        if end < len(block):
            self._keep(block[end:])
            block = block[:end]
        whole = Whole(self._next_line, block)
        self._next_line += block.count(b"\n")
        return whole

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._record_bytes:
            self._pieces.append(piece)
        else:
            self._pieces = []

    def _reject(self) -> None:
        self._rejects.append(Reject(self._next_line, TOO_LONG))
        self._next_line += 1


def is_unicode(text: str) -> bool:
    r"""Return whether text is free of lone surrogates, which stand for bytes that are not UTF-8.

    >>> is_unicode("caf\u00e9"), is_unicode(b"\xff".decode("utf-8", "surrogateescape"))
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
