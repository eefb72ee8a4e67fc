"""Gzip blocks: compressed bytes as they come -> plain bytes, at once and in bounded blocks.

Rule 1: what could be read before a fault is yielded before the fault is raised.
Rule 2: an empty block in is an empty block out: whoever waits for bytes may be told that none came.
Rule 3: no block is larger than BLOCK_BYTES, whatever the ratio of compression (a bomb only takes time).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

GZIP_MAGIC = b"\x1f\x8b"
BLOCK_BYTES = 1 << 18

_GZIP_WINDOW_BITS = 31  # zlib: the largest window, with a gzip header


def inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the plain bytes of a gzip file of one or more members, zero padding allowed.

    Raises zlib.error if the bytes are corrupt (the checksum included), EOFError if they end too soon or are followed by others.
    >>> import gzip
    >>> b"".join(inflated([gzip.compress(b"one "), gzip.compress(b"two")]))
    b'one two'
    """
    member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    is_between = False
    for block in blocks:
        if not block:
            yield b""
        while block:
            if is_between:
                block = block.lstrip(b"\0")
                if not block:
                    break
                if not block.startswith(GZIP_MAGIC[:1]):
                    raise EOFError("something else follows it")
                member, is_between = zlib.decompressobj(_GZIP_WINDOW_BITS), False
            plain = member.decompress(block, BLOCK_BYTES)
            if plain:
                yield plain
            is_between = member.eof
            block = member.unused_data if member.eof else member.unconsumed_tail
    if not is_between:
        raise EOFError("the compressed data ends too soon")
