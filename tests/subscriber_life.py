"""One life of a subscriber for the tests that kill it: usage: subscriber_life.py URL GROUP STORE LOG [MILLISECONDS].

Each event that is taken is a line of LOG, written at once: its id. By its number an event fails: the ids that end with 7 twice in a life, before they
are taken, those that end with 23 always, and for good. So 11 of 100 fail.
"""

from __future__ import annotations

import os
import sys
import time

import streamkl


def main(url: str, group: str, store: str, log: str, milliseconds: str = "2") -> None:
    lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    attempts: dict[str, int] = {}
    instance = {"instance": "one"} if url.startswith("kafka") else {}

    @streamkl.subscribe(url, group=group, store=store, first_wait_seconds=0.005, **instance)
    def correct(event: streamkl.DriftEvent) -> None:
        attempts[event.id] = attempts.get(event.id, 0) + 1
        if event.id.endswith("23"):
            raise streamkl.RecordError("never")
        if event.id.endswith("7") and attempts[event.id] <= 2:
            raise ValueError("not yet")
        time.sleep(float(milliseconds) / 1000)
        os.write(lines, f"{event.id}\n".encode())

    correct.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
