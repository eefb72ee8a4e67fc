"""Ports: what the service asks of the outside, written by the one who calls.

Rule: a port is implemented in `adapters/`, one file per outside thing, and never imported from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from streamkl.service.batch import Batch


class Decoder(Protocol):
    """Called by a source with bytes as they come, in order, each byte once."""

    def decode(self, block: bytes, is_last: bool) -> Batch:
        """Return every record that is complete, keep the rest for the next call.

        block: any number of bytes, cut anywhere. is_last: no more will come, so the rest is a record too.
        A bad record is a reject of the batch. Raises ConfigError if a watched column cannot exist in this source.
        """
        ...


class Source(Protocol):
    """Called once by `watch`; read to its end, or left early on Ctrl-C.

    Nothing repeats and nothing is lost: records come in order, each once, and are handed on as soon as they are there.
    """

    name: str

    def batches(self) -> Iterator[Batch]:
        """Yield batches of bounded size. Raises Unavailable where reading fails, after all records before that place."""
        ...

    def progress(self) -> tuple[int, int | None]:
        """Return bytes read and bytes in all (None: unknown, as of a pipe). Called once per batch."""
        ...

