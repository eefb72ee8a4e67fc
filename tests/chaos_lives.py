"""Lives of the service for test_chaos.py: one process loads everything and forks a life whenever it is asked to, so that a restart is cheap.

A life is the real service, put together by `build`; what it does it notes in memory that it shares with whoever wants to kill it.

usage: chaos_lives.py CONFIG NOTES. Standard input: a line each for a life to be begun; its pid is answered, and once it has ended its exit code.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from streamkl.adapters.kafka_checkpoint import STEPS

STAGES = ("start", "between", "poll", "restore", "detect", "learn", "snapshot", "unit", *STEPS)
"""What a life may be doing: steps of a commit, and stages of the loop; "unit" is the loop's stage "commit" outside those steps."""


class Notes:
    """Memory shared by a life and its killer: what is done now, where to wait for the end, when the life began and when its first record came."""

    SIZE = 64

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), self.SIZE)

    @staticmethod
    def create(path: Path) -> Notes:
        path.write_bytes(bytes(Notes.SIZE))
        return Notes(path)

    def begin(self, wait_at: str | None = None, nth: int = 0) -> None:
        """A life begins. wait_at, nth: at which coming to what it waits to be killed."""
        self._memory[:] = bytes(self.SIZE)
        self._memory[1:4] = bytes([255 if wait_at is None else STAGES.index(wait_at), nth, 0])
        self._memory[8:16] = struct.pack("d", time.monotonic())

    @property
    def doing(self) -> str:
        return STAGES[self._memory[0]]

    def do(self, stage: str) -> None:
        self._memory[0] = number = STAGES.index(stage)
        if self._memory[1] == number:
            if self._memory[2] == 0:
                self._memory[3] = 1
                while self._memory[3]:              # whoever waits for this kills us, or lets us go on
                    time.sleep(0.005)
            else:
                self._memory[2] -= 1

    @property
    def is_waiting(self) -> bool:
        return self._memory[3] == 1

    def release(self) -> None:
        """Let a life go on that waits."""
        self._memory[1], self._memory[3] = 255, 0

    def record_came(self) -> None:
        if self.first_record_seconds is None:
            self._memory[16:24] = struct.pack("d", time.monotonic())

    @property
    def first_record_seconds(self) -> float | None:
        """Seconds from the beginning to the first record; None: none came."""
        began, came = struct.unpack("dd", self._memory[8:24])
        return came - began if came else None


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def live(config: str, notes: Notes) -> None:
    """One life: as `streamkl run` does, and noting what is done."""
    from streamkl.app import build_service, logging
    from streamkl.app.config import load

    logging.configure("json", "info")
    service = build_service.service(load(config, {}), (), at_step=notes.do)
    worker = service.worker
    of, poll = worker._stages.of, worker._source.poll

    @contextmanager
    def noted(stage):
        notes.do("unit" if stage == "commit" else stage)
        with of(stage):
            yield
        notes.do("between")

    def polled(timeout_seconds):
        arrivals = poll(timeout_seconds)
        if arrivals.runs:
            notes.record_came()
        return arrivals

    worker._stages.of, worker._source.poll = noted, polled
    signal.signal(signal.SIGTERM, lambda number, frame: worker.stop())
    worker.run()
    worker.close()


def main(config: str, notes: Notes) -> None:
    import streamkl.adapters.kafka_checkpoint
    import streamkl.adapters.kafka_source
    import streamkl.app.build_service
    import streamkl.app.config  # noqa: F401

    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            live(config, notes)
            sys.exit(0)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    die_with_parent()
    main(sys.argv[1], Notes(Path(sys.argv[2])))
