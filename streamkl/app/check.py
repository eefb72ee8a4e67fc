"""Check: what is wrong with a configuration, or what it would run - before anything runs.

Rule 1: faults go to standard error, one line each; what would run, findings of the broker and the schema to standard output.
Rule 2: nothing is created, written, joined or committed anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from typer.core import TyperCommand

from streamkl.app.exit_code import EXIT_USAGE
from streamkl.app.label import label
from streamkl.app.summary import summary
from streamkl.errors import ConfigError

if TYPE_CHECKING:
    from streamkl.app.config import Config

FINDING_LENGTH = 400


class Formatter(Protocol):
    """What writes a help text."""

    def write_text(self, text: str) -> None: ...
    def write_paragraph(self) -> None: ...
    def indentation(self) -> AbstractContextManager[None]: ...


class ConfiguredCommand(TyperCommand):
    """A command with a configuration: its help lists the environment variables that override the file."""

    def format_epilog(self, ctx: object, formatter: Formatter) -> None:
        """Write the list; the models are loaded for this alone."""
        from streamkl.app.config import variable_names

        formatter.write_paragraph()
        formatter.write_text("Environment variables that stand in the place of what the file says (0: the index of an entry, NAME: of a field):")
        with formatter.indentation():
            for name in variable_names():
                formatter.write_text(name)


def check(path: str | None, is_connecting: bool, is_schema: bool, is_state: bool = False, discard: Sequence[str] = ()) -> int:
    """Check a configuration and return the exit code. discard: globs of streams whose stored state would be given up.

    Raises ConfigError with every fault, StateError where no state can be used, Unavailable where the broker is away.
    """
    from streamkl.app.config import json_schema, load

    if is_schema:
        print(json.dumps(json_schema(), indent=2))
        if path is None:
            return 0
    if path is None:
        raise ConfigError("CONFIG is missing; give the path of a YAML file, or --schema alone")
    config = load(path, os.environ, with_correctors=True)
    if not is_schema:
        print(summary(path, config), end="", flush=True)
    code = _inspected(config) if is_connecting else 0
    if is_state and not code:
        from streamkl.app.check_state import check_state

        return check_state(config, discard)
    return code


def _inspected(config: Config) -> int:
    """Print what the broker says of the configuration, and return the exit code."""
    from streamkl.app import build

    if not config.is_kafka:
        print("ok       there is no broker to connect to: the source is a file")
        return 0
    has_fault = False
    for finding in build.inspection(config):
        print(f"{finding.verdict:<8} {label(finding.sentence, FINDING_LENGTH)}", flush=True)
        has_fault = has_fault or finding.verdict == "fault"
    return EXIT_USAGE if has_fault else 0
