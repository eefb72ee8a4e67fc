#!/usr/bin/env python3
"""Drift detection without Kafka, in one command: a file that grows, `streamkl run` after each growth, all results in one SQLite file.

    run.py [DIRECTORY]        # where files are made; left out: a new temporary one

It replays real CPU figures of four servers, four days at a time, as a nightly job would find them. Each run goes on where the one before
ended. At the end one run over the whole file, with a state of its own, finds the same events: so nothing was lost or learnt anew between runs.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = HERE.parent / "data" / "cloudwatch_cpu.csv.gz"
STREAMKL = Path(sys.executable).with_name("streamkl")
DAYS = 4


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any((folder / name).exists() for name in ("servers.csv", "state.db", "whole.db")):
        sys.exit(f"{folder} has files of an earlier run; give another directory, or none")
    print(f"files are made in {folder}\n")
    (folder / "config.yaml").write_bytes((HERE / "config.yaml").read_bytes())
    header, *rows = gzip.decompress(ROWS.read_bytes()).decode().splitlines(keepends=True)
    (folder / "servers.csv").write_text(header)

    print("after each growth of servers.csv:  $ streamkl run config.yaml")
    for days in batches(rows):
        with (folder / "servers.csv").open("a") as file:
            file.writelines(days)
        print(f"  {days[0][:10]} to {days[-1][:10]}: {run(folder)}", flush=True)
    print(f"  nothing new:              {run(folder)}")

    show("\nwhat was found:", "events", "sqlite:///state.db", folder=folder)
    print("\nhow far each stream was from its reference at the end of each run:  $ divergence.py state.db", flush=True)
    subprocess.run([sys.executable, HERE / "divergence.py", "state.db"], cwd=folder, check=True)

    print("\nthe whole file in one run:  $ STREAMKL__STATE__PATH=whole.db streamkl run config.yaml")
    print(f"  {run(folder, STREAMKL__STATE__PATH='whole.db')}")
    in_runs, at_once = ids(folder, "state.db"), ids(folder, "whole.db")
    if in_runs != at_once:
        sys.exit(f"the runs found {len(in_runs)} events, one run {len(at_once)}; they should be the same")
    print(f"the same {len(at_once)} events by their ids, those of references that were learnt too: nothing was lost or learnt anew between runs")


def batches(rows: list[str]) -> list[list[str]]:
    """Rows begin with their date."""
    return [list(days) for _, days in groupby(rows, key=lambda row: date.fromisoformat(row[:10]).toordinal() // DAYS)]


def run(folder: Path, **environment: str) -> str:
    """Let the service run to the end of the file; return what its log says."""
    done = subprocess.run(
        [STREAMKL, "run", "config.yaml"], cwd=folder, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    with (folder / "log.jsonl").open("a") as log:
        log.write(done.stderr)
    if done.returncode:
        sys.exit(done.stderr + f"streamkl run ended with {done.returncode}")
    told = [json.loads(line) for line in done.stderr.splitlines()]
    restored = next(line for line in told if line["event"] == "state.restored")
    commits = [line for line in told if line["event"] == "work.committed"]
    records, events = (sum(commit[what] for commit in commits) for what in ("records", "events"))
    return f"{restored['streams']} streams restored at line {restored['processed']:>6,}, {records:>6,} records taken, {events:>2} events"


def show(title: str, *arguments: str, folder: Path) -> None:
    print(f"{title}  $ streamkl {' '.join(arguments)}", flush=True)
    subprocess.run([STREAMKL, *arguments], cwd=folder, check=True)


def ids(folder: Path, state: str) -> list[str]:
    """Return the ids of all events, in order."""
    told = subprocess.run([STREAMKL, "events", f"sqlite:///{state}", "--json"], cwd=folder, check=True, capture_output=True, text=True)
    return [json.loads(line)["id"] for line in told.stdout.splitlines()]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: run.py [DIRECTORY]")
    main(Path(sys.argv[1] if len(sys.argv) == 2 else tempfile.mkdtemp(prefix="streamkl-")))
