"""Command: one command from the command line.

Rule: it says what was sent, where to, and how to see what comes of it.
"""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import closing
from typing import Final

from streamkl.app.build_control import command_sender
from streamkl.app.config import Config, load
from streamkl.app.control import in_short, made
from streamkl.app.duration import duration
from streamkl.app.label import label
from streamkl.app.preview import preview
from streamkl.errors import ConfigError

NO_REASON: Final = "asked for on the command line"
LINE_LENGTH: Final = 400


def command(path: str, name: str, streams: str, for_text: str | None, reason: str | None, is_dry_run: bool) -> int:
    """Send a command to the service of a configuration, or show what would come of it, and return the exit code."""
    config = load(path, os.environ)
    asked = made(name, streams, NO_REASON if reason is None else reason, _who(), None if for_text is None else duration(for_text))
    if is_dry_run:
        return preview(config, asked)
    if not config.control.enabled:
        raise ConfigError(f"{label(path)}: control.enabled is false, so that nobody reads commands; set it to true, and start the service anew")
    with closing(command_sender(config)) as sender:
        sender.send(asked)
        print(label(f"sent to {sender.place}: {in_short(asked)}; id {asked.id}", LINE_LENGTH))
    print(f"the service carries it out, now or with its next start; see what comes of it: {_where(path, config)}", flush=True)
    return 0


def _where(path: str, config: Config) -> str:
    return f"streamkl events {config.events_url}{f' --config {path}' if config.is_kafka else ''}"


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
