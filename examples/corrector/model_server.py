"""The model server: is asked about a server's CPU, answers with the model that is in place, and logs what it was asked.

Whether an answer was right is known five minutes later. The first model answers beside it, so that it is seen what would be without retraining.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

from model import LOG, in_place, learnt, put_in_place

DATA = Path(__file__).resolve().parent.parent / "data" / "cloudwatch_cpu.csv.gz"
SERVER = "5f5533"
DAY = 288                       # rows
LEARNT = 2 * DAY                # rows before the first model


class ModelServer:
    """Two weeks of a server. wrong, wrong_alone: of each answer of the model in place, and of the first model; None where there is none."""

    def __init__(self) -> None:
        with gzip.open(DATA, "rt") as file:
            rows = [row for row in csv.DictReader(file) if row["server"].endswith(SERVER)]
        self._cpu = [float(row["cpu"]) for row in rows]
        self._lines = [json.dumps({**row, "cpu": cpu}) + "\n" for row, cpu in zip(rows, self._cpu, strict=True)]
        self._first = None
        self.times = [row["timestamp"][:16] for row in rows]
        self.wrong: list[bool | None] = []
        self.wrong_alone: list[bool | None] = []

    def serve(self, rows: int) -> list[str]:
        """Answer the next rows; return the lines that were logged, none at the end."""
        start = len(self.wrong)
        lines = self._lines[start:start + rows]
        if start == LEARNT:
            self._first = learnt(0)
            put_in_place(self._first)
        model = in_place()
        for at in range(start, start + len(lines)):
            asked = self._cpu[at - 1:at + 1]
            is_higher = self._cpu[at + 1] > self._cpu[at] if at + 1 < len(self._cpu) else None
            for answering, wrong in ((model, self.wrong), (self._first, self.wrong_alone)):
                wrong.append(None if answering is None or is_higher is None else answering.answer(*asked) != is_higher)
        with LOG.open("a") as log:
            log.writelines(lines)
        return lines


def error(wrong: list[bool | None], first: int, end: int) -> str:
    """Return the share of wrong answers to these rows, where all were answered but the newest."""
    known = [one for one in wrong[max(0, first):end] if one is not None]
    return f"{100 * sum(known) / len(known):.0f} %" if 0 <= end - first - len(known) <= 1 else "-"
