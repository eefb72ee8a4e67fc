"""Run: the service, from its configuration to its end.

Rule 1: every fault of the configuration is told before anything is opened; nothing is printed but the log, on standard error.
Rule 2: the first SIGTERM or Ctrl-C finishes the unit of work and ends with 0; the second one ends at once, and the rest is replayed.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from streamkl.app import build_service, logging
from streamkl.app.config import Config, load
from streamkl.app.config_source import KafkaSource
from streamkl.app.exit_code import exit_code
from streamkl.app.stop_signal import stopped_by_signals
from streamkl.errors import StreamklError

COLLECT_AFTER: Final = (50_000, 20, 100)
"""When the interpreter looks for garbage in cycles. A poll makes 10,000 records, which are in none; by default it would look 14 times."""


def run(path: str, discard: Sequence[str]) -> int:
    """Run the service of a configuration and return the exit code. discard: globs of streams whose stored state is given up.

    Raises StreamklError for what is wrong before it runs; what ends the run is logged.
    """
    config = load(path, os.environ)
    logging.configure(config.monitoring.log_format, config.monitoring.log_level, _secrets(config))
    service = build_service.service(config, discard)
    metrics = f"http://{config.monitoring.host}:{service.server.port}" if service.server else None
    service.telemetry.started(config.application, version("streamkl"), metrics)
    gc.set_threshold(*COLLECT_AFTER)

    def stop(signal: str) -> None:
        service.worker.stop()
        service.telemetry.stopping(signal)

    try:
        with stopped_by_signals(stop):
            service.worker.run()
    except StreamklError as error:
        service.telemetry.failed(str(error))
        return exit_code(error)
    finally:
        service.worker.close()
        if service.server:
            service.server.close()
    service.telemetry.stopped(_reason(service.worker.has_lost, service.worker.unsaved))
    return 0


def _reason(has_lost: bool, unsaved: int) -> str:
    if has_lost:
        return "the last unit of work could not be committed; its records come again"
    return "all that was taken is committed" + (f"; {unsaved:,} keys were not saved in time and are replayed" if unsaved else "")


def _secrets(config: Config) -> list[str]:
    """Return the texts that may never reach the log."""
    if not isinstance(config.source, KafkaSource):
        return []
    security = config.source.security
    return [secret.reveal() for secret in (security.password, security.key_password) if secret]
