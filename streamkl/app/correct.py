"""Correct: the correctors of a configuration, in one process beside the one that detects.

Rule 1: each has a thread, a group and a position of its own: one that is slow or fails holds up no other, nor detection.
Rule 2: the first SIGTERM or Ctrl-C lets each finish the event that it has and ends with 0; the second one ends at once, and the rest comes again.
Rule 3: what ends one for good - a position that is lost, a right that is missing - ends the process, so that somebody hears of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from streamkl.app import build_correctors, logging
from streamkl.app.build_correctors import Correcting
from streamkl.app.config import Config, load
from streamkl.app.config_source import KafkaSource
from streamkl.app.exit_code import exit_code
from streamkl.app.stop_signal import stopped_by_signals
from streamkl.errors import StreamklError
from streamkl.service.telemetry import Telemetry

LOOK_SECONDS: Final = 0.2
STOP_SECONDS: Final = 15.0
"""A subscription gives up what runs after ten."""


def correct(path: str, names: Sequence[str]) -> int:
    """Run correctors of a configuration and return the exit code. names: which of them; none: all.

    Raises StreamklError for what is wrong before they run; what ends the run is logged.
    """
    config = load(path, os.environ, with_correctors=True)
    logging.configure(config.monitoring.log_format, config.monitoring.log_level, secrets(config))
    meter = build_correctors.meter()
    telemetry = Telemetry(meter)
    crew = Crew(build_correctors.correctors(config, names, meter))
    try:
        server = build_correctors.server(config, meter, crew)
        telemetry.started(config.application, version("streamkl"), f"http://{config.monitoring.host}:{server.port}" if server else None)

        def stop(signal: str) -> None:
            crew.stop()
            telemetry.stopping(signal)

        try:
            with stopped_by_signals(stop):
                error = crew.run()
        finally:
            if server:
                server.close()
    finally:
        crew.close()
    if error is not None:
        telemetry.failed(str(error))
        return exit_code(error)
    telemetry.stopped("all that was delivered is known" if crew.is_idle else "a corrector did not end in time; its event comes again")
    return 0


class Crew:
    """Correctors that run, a thread each. It is a loop for `Health`: live while all threads are, ready once all began."""

    def __init__(self, members: Sequence[Correcting]) -> None:
        self._members = members
        self._threads: list[threading.Thread] = []
        self._errors: list[StreamklError] = []
        self._is_stopped = threading.Event()

    @property
    def turned_at(self) -> float:
        """Seconds of the clock at which all were alive."""
        return time.monotonic() if self.is_ready or not self._threads else float("-inf")

    @property
    def is_ready(self) -> bool:
        """Whether all run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def is_idle(self) -> bool:
        """Whether all have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def run(self) -> StreamklError | None:
        """Run all until `stop`, or until one ends for good; return why it did."""
        self._threads = [threading.Thread(target=self._run, args=(member,), name=member.name, daemon=True) for member in self._members]
        for thread in self._threads:
            thread.start()
        while not self._is_stopped.wait(LOOK_SECONDS) and self.is_ready:
            pass
        has_bug = not self._is_stopped.is_set() and not self._errors
        self.stop()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        assert not has_bug, "the thread of a corrector ended by an error of ours, which stands above"
        return self._errors[0] if self._errors else None

    def stop(self) -> None:
        """Let `run` end; also from a signal handler."""
        self._is_stopped.set()
        for member in self._members:
            member.subscription.stop()

    def close(self) -> None:
        """Let go of what is held open, and end programs that still run."""
        for member in self._members:
            if callable(close := getattr(member.call, "close", None)):
                close()
        for number, member in enumerate(self._members):
            if number >= len(self._threads) or not self._threads[number].is_alive():
                member.subscription.close()

    def _run(self, member: Correcting) -> None:
        try:
            member.subscription.run()
        except StreamklError as error:
            self._errors.append(error)


def secrets(config: Config) -> list[str]:
    """Return the texts that may never reach the log."""
    found = [secret for entry in config.correctors for secret in entry.secrets_of()]
    if isinstance(config.source, KafkaSource):
        found += [secret for secret in (config.source.security.password, config.source.security.key_password) if secret]
    return [secret.reveal() for secret in found]
