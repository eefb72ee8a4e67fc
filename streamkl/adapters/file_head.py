"""File head: what the first bytes of a file tell: its format, or that it is none.

Rule: what cannot be watched is refused with the command that makes it watchable.
"""

from __future__ import annotations

import os
import re
from typing import Final, Literal

from streamkl.errors import ConfigError

Format = Literal["csv", "jsonl"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
FORMATS: Final[dict[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
LEAST_BYTES: Final = len(BYTE_ORDER_MARK) + 1
FOREIGN: Final = (
    (rb"\xff\xfe|\xfe\xff", "is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8"),
    (rb"PK\x03\x04", "holds zip data; unpack it first: unzip -p"),
    (rb"\xfd7zX", "holds xz data; unpack it first: xz -dc"),
    (rb"BZh[1-9]1AY", "holds bzip2 data; unpack it first: bzip2 -dc"),
    (rb"\x28\xb5\x2f\xfd", "holds zstd data; unpack it first: zstd -dc"),
    (rb"PAR1[\x00-\x08\x0e-\x1f]", "holds parquet data; convert it to CSV first, e.g. with duckdb or pandas"),
    (rb"\x00[^\x00]\x00[^\x00]", "is UTF-16 without a mark; convert it first: iconv -f UTF-16BE -t UTF-8"),
    (rb"[^\x00]\x00[^\x00]\x00", "is UTF-16 without a mark; convert it first: iconv -f UTF-16LE -t UTF-8"),
    (rb".{0,3}\x00", "is binary, neither CSV nor JSON Lines; export it as one of them"),
)
JSON_ARRAY: Final = re.compile(rb"\[\s*(\{|$)")


def refuse_foreign(head: bytes, name: str) -> None:
    """Raise ConfigError if the first bytes are those of something else than text.

    >>> refuse_foreign(b"BZh91AY&SY", "a.bz2")
    Traceback (most recent call last):
    streamkl.errors.ConfigError: a.bz2 holds bzip2 data; unpack it first: bzip2 -dc
    """
    for start, what in FOREIGN:
        if re.match(start, head, re.DOTALL):
            raise ConfigError(f"{name} {what}")


def is_blank(head: bytes) -> bool:
    """Return whether nothing has come so far, apart from a byte order mark and white space."""
    return not head.removeprefix(BYTE_ORDER_MARK).strip()


def format_of(path: str, head: bytes, name: str = "") -> Format:
    """Return the format by the name, else by the first byte that is not blank. Raises ConfigError for one large JSON array.

    >>> format_of("a.JSONL.gz", b""), format_of("-", b' {"x": 1}'), format_of("-", b"x,y")
    ('jsonl', 'jsonl', 'csv')
    """
    suffix = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    text = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if FORMATS.get(suffix) != "csv" and JSON_ARRAY.match(text):
        raise ConfigError(f"{name} is a JSON array; one object a line: jq -c '.[]'")
    return FORMATS.get(suffix) or ("jsonl" if text.startswith(b"{") else "csv")
