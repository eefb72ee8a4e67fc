#!/usr/bin/env python3
"""Drift, and the way back: a stream shifts, a corrector retrains the model and accepts the new normal, the episode ends. No broker, one command.

    run.py [DIRECTORY]        # where files are made; left out: a new temporary one

Three programs: this one is a model server (`model_server.py`), which logs what it is asked, and tells the time line; `streamkl run` watches the log;
`corrector.py` acts on drift events. Time is played back: after each six hours of the stream the others may finish what they have to do, so that
each run tells the same.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from os import chdir
from pathlib import Path
from typing import Any

from model import learnt_for
from model_server import DAY, ModelServer, error

from streamkl import DriftEvent, subscription

HERE = Path(__file__).resolve().parent
STREAMKL = Path(sys.executable).with_name("streamkl")
STEP = DAY // 4
WAIT_SECONDS = 60.0
Line = dict[str, Any]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty; give another directory, or none")
    print(f"files are made in {folder}\n")
    (folder / "config.yaml").write_bytes((HERE / "config.yaml").read_bytes())
    chdir(folder)
    server = ModelServer()
    print("event time         offset  wrong  (of the answers of the last 24 hours)")
    with started("service", STREAMKL, "run", "config.yaml") as service:
        service.wait_for(lambda line: line["event"] == "service.started")
        with started("corrector", sys.executable, HERE / "corrector.py"), closing(subscription("sqlite:///state.db", "time-line")) as events:
            while lines := server.serve(STEP):
                take(service, lines)
                while told := events.poll(0):
                    for event in told:
                        tell(server, service, event)
                        events.ack(event)
    summary(server)
    show("the corrector is started once more", sys.executable, HERE / "corrector.py", "--once")
    show("who asked for what, and why, stands in the events", STREAMKL, "events", "sqlite:///state.db")


# ---------------------------------------------------------------- what is told


def tell(server: ModelServer, service: Program, event: DriftEvent) -> None:
    """Print what happened; of an alarm, also what the corrector made of it, once it has."""
    at, stream = event.position or 0, event.stream
    if event.kind == "drift.raised" and event.farthest:
        largest = event.changed[0]
        changed = f"{largest.label} {100 * largest.reference_share:.0f} % -> {100 * largest.window_share:.0f} %"
        say(server, at, "RAISED", f"{stream}: KL {event.farthest.kl:.2f} nats over the last {event.farthest.window}, {changed}")
        service.wait_for(lambda line: line["event"] == "command.executed" and line["id"] == event.id)
        model = learnt_for(event.id)
        assert model
        say(server, model.lines[1], "RETRAINED", "a model of lines {:,} to {:,} is in place; the new normal is to be learnt".format(*model.lines))
    elif event.kind == "reference.rebaselined":
        say(server, at, "REBASELINED", f"by {event.by}: {event.reason}; episode {event.episode} is over")
    else:
        say(server, at, event.kind.partition(".")[2].upper(), f"{event.reference_n} observations are the reference {event.reason}".rstrip())


def say(server: ModelServer, at: int, what: str, why: str) -> None:
    print(f"{server.times[at]}  {at:7,}  {error(server.wrong, at - DAY, at):>5}  {what:<11}  {why}", flush=True)


def summary(server: ModelServer) -> None:
    """Print the share of wrong answers, day by day, with the corrector and without."""
    print("\nwrong answers per day")
    for name, wrong in (("with the corrector", server.wrong), ("the first model alone", server.wrong_alone)):
        days = (error(wrong, first, first + DAY) for first in range(2 * DAY, len(wrong), DAY))
        print(f"{name:<22}" + "".join(f"{day:>6}" for day in days))


def show(title: str, *command: str | Path) -> None:
    words = [part.name if isinstance(part, Path) else part for part in command if part != sys.executable]
    print(f"\n{title}:  $ {' '.join(words)}", flush=True)
    subprocess.run(command, check=True, timeout=WAIT_SECONDS)


# ---------------------------------------------------------------- the others


class Program:
    """One of the others. Its output goes to <name>.log, and is read from there."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name, self._half, path = name, "", Path(f"{name}.log")
        with path.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        self.log = path.open()

    def wait_for(self, is_it: Callable[[Line], bool]) -> None:
        """Read its log on, until a line is it."""
        until = time.monotonic() + WAIT_SECONDS
        while not any(is_it(line) for line in self._lines()):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{logs()}{self.name}: what was to come did not")
            time.sleep(0.01)

    def _lines(self) -> Iterator[Line]:
        while part := self.log.readline():
            self._half += part
            if part.endswith("\n"):
                line, self._half = self._half, ""
                yield json.loads(line)


@contextmanager
def started(name: str, *command: str | Path) -> Iterator[Program]:
    """Let a program run for so long; then its input ends, it is told to stop, and what does not is killed."""
    program = Program(name, *command)
    stdin = program.process.stdin
    assert stdin
    try:
        yield program
        stdin.close()
        if name == "corrector":
            program.process.terminate()
        if code := program.process.wait(WAIT_SECONDS):
            sys.exit(f"{logs()}{name} ended with {code}")
    finally:
        program.process.kill()
        program.process.wait()
        program.log.close()
        with suppress(BrokenPipeError):
            stdin.close()


def logs() -> str:
    return "".join(path.read_text() for path in sorted(Path().glob("*.log")))


def take(service: Program, lines: list[str]) -> None:
    """Write lines to the service, and return when all that follows from them is committed."""
    stdin, left = service.process.stdin, len(lines)
    assert stdin
    with suppress(BrokenPipeError):             # it has ended: its log tells why
        stdin.writelines(lines)
        stdin.flush()

    def is_done(line: Line) -> bool:
        nonlocal left
        left -= line["records"] if line["event"] == "work.committed" else 0
        return left <= 0

    service.wait_for(is_done)


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))         # so that the others end with this one
    main(Path(sys.argv[1] if len(sys.argv) == 2 else tempfile.mkdtemp(prefix="streamkl-")))
