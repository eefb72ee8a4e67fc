#!/usr/bin/env python3
"""Plot the divergence of every stream over time, as text, from the readings in a state file.

    divergence.py state.db

Standard library only: the readings are a table, which any program can query.
"""

from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

READINGS = "SELECT stream, at, state, kl, kl_low, kl_high FROM readings ORDER BY stream, sequence"
WIDTH = 40
NATS_AT_WIDTH = 1.0


def main(path: str) -> None:
    database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    for stream, readings in groupby(database.execute(READINGS), key=lambda reading: reading[0]):
        print(stream)
        for _, at_ms, state, kl, low, high in readings:
            print(f"  {moment(at_ms)}  {state:<8}  {bar(kl, low, high)}".rstrip())
    database.close()
    print(f"KL in nats with its 95 % interval; # is {NATS_AT_WIDTH / WIDTH:g} nats")


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def bar(kl: float | None, low: float, high: float) -> str:
    if kl is None:
        return "no reference yet"
    length = min(WIDTH, round(WIDTH * kl / NATS_AT_WIDTH))
    return f"KL {kl:5.3f} ({low:.3f} to {high:.3f})  {'#' * length}{'>' if kl > NATS_AT_WIDTH else ''}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: divergence.py STATE_FILE")
    main(sys.argv[1])
