"""The program streamkl, run for real in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


COMMAND = [sys.executable, "-P", "-c", "from streamkl.app.cli import main; main()"]
QUICK = ("--warmup", 100, "--false-alarms", 1000)


def streamkl(*arguments: object, stdin: bytes | str = b"") -> Outcome:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=given, capture_output=True, timeout=120)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def csv_of(values: object, column: str = "x") -> str:
    return "\n".join((column, *map(str, values))) + "\n"


def shifted(n=1200, at=600, by=3.0, seed=1):
    values = np.random.default_rng(seed).normal(size=n)
    values[at:] += by
    return [round(float(value), 4) for value in values]
