"""Line records: plain bytes cut anywhere -> lines with their numbers, none of them longer than one byte more than allowed.

Rule 1: a line ends with a line feed, and only with that; the last one need not. Lines are counted from 0.
Rule 2: of a line that is too long its beginning is kept, one byte more than allowed, so that the decoder rejects it as what it is; how long
it really was stands beside it. Memory is bounded so.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """One line without its line feed. size: its bytes in all; more than `text` has if it was cut."""

    number: int
    text: bytes
    size: int


class LineRecords:
    """Cuts blocks into lines. next_number: of the line that is not complete yet.

    >>> lines = LineRecords(bytes_max=5)
    >>> lines.cut(b"one\\ntw"), lines.cut(b"o\\n\\nlong line\\nrest"), lines.rest()
    ([Line(number=0, text=b'one', size=3)], [Line(number=1, text=b'two', size=3), Line(number=2, text=b'', size=0), Line(number=3, text=b'long l', size=9)], [Line(number=4, text=b'rest', size=4)])
    """  # noqa: E501

    def __init__(self, bytes_max: int, next_number: int = 0) -> None:
        self.next_number = next_number
        self._kept_max = bytes_max + 1
        self._pieces: list[bytes] = []
        self._kept = self._size = 0

    def cut(self, block: bytes) -> list[Line]:
        """Return the lines that this block completes."""
        texts = block.split(b"\n")
        last = texts.pop()
        lines: list[Line] = []
        for text in texts:
            self._keep(text)
            lines += self.rest(is_ended=True)
        self._keep(last)
        return lines

    def rest(self, is_ended: bool = False) -> list[Line]:
        """Return the line that has not ended, if there is one; after it another one begins. is_ended: it has, and may be empty."""
        if not is_ended and not self._size:
            return []
        text = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        line = Line(self.next_number, text, self._size)
        self.next_number += 1
        self._pieces, self._kept, self._size = [], 0, 0
        return [line]

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if piece and self._kept < self._kept_max:
            piece = piece[: self._kept_max - self._kept]
            self._pieces.append(piece)
            self._kept += len(piece)
