"""Command: a program of the operator's, run once for each event, which it reads from standard input as JSON.

Rule 1: the list of arguments is fixed and never passes a shell; nothing of an event is an argument or a variable of the environment.
Rule 2: its environment is PATH, HOME and how texts and times are written, and what is named on purpose: no secret of ours.
Rule 3: when time is over the program and all that it started in its group are ended; what it writes is kept up to a bound.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, RecordError, Unavailable

HANDED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
NEVER_AGAIN: Final = 65                                     # EX_DATAERR of sysexits.h
KILL_AFTER_SECONDS: Final = 2.0
KEPT_BYTES: Final = 4096
SHOWN: Final = 300
LOOK_SECONDS: Final = 0.05
LAST_READS: Final = 4                                       # a pipe holds no more; what still writes into it is not the program


class Command:
    """Runs a program. arguments: the program and its arguments. timeout_seconds: after it the program is ended, and the event tried again.

    Exit code 0: fine. `never_again` (65 by default, None: no code means that): the event is refused for good. Every other one: it is tried
    again, 75 (EX_TEMPFAIL) among them. environment: names of further variables that it gets.
    >>> Command(["/usr/local/bin/retrain", "--fast"])
    Command(['/usr/local/bin/retrain', '--fast'])
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float = 60.0,
        never_again: int | None = NEVER_AGAIN,
        environment: Sequence[str] = (),
        folder: str | None = None,
    ) -> None:
        if isinstance(arguments, str) or not arguments or not all(isinstance(one, str) and "\0" not in one for one in arguments):
            raise ConfigError('arguments must be a list, the program first, e.g. ["/usr/local/bin/retrain", "--fast"]; no shell reads it')
        if not 0 < timeout_seconds <= 86_400:
            raise ConfigError(f"timeout_seconds={timeout_seconds:g} must be above 0 and at most 86400; correct it")
        if never_again == 0:
            raise ConfigError("never_again=0 is the exit code of success; use 1 to 255")
        self._arguments = list(arguments)
        self._timeout_seconds, self._never_again, self._folder = timeout_seconds, never_again, folder
        self._names = (*HANDED_ON, *environment)
        self._running: subprocess.Popen[bytes] | None = None

    def __call__(self, event: DriftEvent) -> None:
        """Run the program for one event."""
        with tempfile.TemporaryFile() as given:  # no pipe: whoever does not read stalls nobody
            given.write(event.to_json().encode() + b"\n")
            given.seek(0)
            try:
                process = _started(self._arguments, given, _environment(self._names, os.environ), self._folder)
            except OSError as error:
                raise Unavailable(f"{self._name} cannot be started: {error.strerror}") from error
        self._running = process
        with process:
            try:
                said = self._finished(process)
            finally:
                self._running = None
        if process.returncode == 0:
            return
        if process.returncode == self._never_again:
            raise RecordError(f"{self._name} refused the event with exit code {process.returncode}{said}; it is not tried again")
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise Unavailable(f"{self._name} ended with {how}{said}")

    def close(self) -> None:
        """End the program that runs, if one does."""
        if (process := self._running) is not None:
            _signal_group(process, signal.SIGKILL)

    def __repr__(self) -> str:
        return f"Command({self._arguments!r})"

    @property
    def _name(self) -> str:
        return repr(self._arguments[0])

    def _finished(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the end, and return the end of what it wrote to standard error. Raises Unavailable where it took too long."""
        kept = _Tail(process)
        try:
            if kept.read_until(time.monotonic() + self._timeout_seconds):
                return kept.text
            _signal_group(process, signal.SIGTERM)
            kept.read_until(time.monotonic() + KILL_AFTER_SECONDS)
        finally:
            if process.returncode is None or kept.is_late:
                _signal_group(process, signal.SIGKILL)
                process.wait()
        raise Unavailable(f"{self._name} took more than {self._timeout_seconds:g} s and was ended{kept.text}")


class _Tail:
    """The end of what a process writes to standard error; it is read all the time, so that the process is never held up."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process, self._pipe = process, process.stderr.fileno()
        os.set_blocking(self._pipe, False)
        self._kept = b""
        self._is_open = True
        self.is_late = False

    @property
    def text(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return f": {text[-SHOWN:]}" if text else ""

    def read_until(self, deadline: float) -> bool:
        """Read until the process has ended; return False if it has not by then. What it left running may hold the pipe: that is not waited for."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while self._process.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.is_late = True
                    return False
                if not self._is_open:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(left)
                elif selector.select(min(LOOK_SECONDS, left)):
                    self._read()
        for _ in range(LAST_READS):
            if not (self._is_open and self._read()):
                break
        return True

    def _read(self) -> bool:
        try:
            block = os.read(self._pipe, 65_536)
        except BlockingIOError:
            return False
        self._is_open = bool(block)
        self._kept = (self._kept + block)[-KEPT_BYTES:]
        return self._is_open


def _started(arguments: list[str], given: IO[bytes], environment: Mapping[str, str], folder: str | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, cwd=folder, shell=False, start_new_session=True
    )


def _environment(names: Sequence[str], ours: Mapping[str, str]) -> dict[str, str]:
    return {name: ours[name] for name in names if name in ours}


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process and what it started; it leads a group of its own, which may outlive it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
