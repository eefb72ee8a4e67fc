"""Logging: every log event on standard error as one line, JSON or for people, those of other libraries too.

Rule 1: one event is one line: what a record or a broker put into a text reaches the log escaped. The traceback of a bug alone has lines.
Rule 2: a secret never reaches a line: the values given here are blotted out of whatever is to be rendered.
Rule 3: a log that cannot be written (a full disk, a closed pipe) stops nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, Literal, TextIO

import structlog

from streamkl.app.log_rate import Seldom

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
BLOT = "***"
LINES = frozenset({"exception", "stack"})

EventDict = MutableMapping[str, Any]


def configure(
    format: Literal["json", "console"] = "json", level: str = "info", secrets: Sequence[str] = (), stream: TextIO | None = None
) -> None:
    """Send all logging of the process to a stream (None: standard error); called once, before the first event.

    level: "debug", "info", "warning" or "error", of our own events; those of other libraries come from "warning" on,
    those of Kafka's seldom where they repeat, and with tracebacks at "debug" alone.
    secrets: texts that may never appear; an empty one is left out.
    """
    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(format, secrets, before, (stream or sys.stderr).isatty()))
    handler.addFilter(Seldom("kafka", keeps_tracebacks=level == "debug"))
    root, ours = logging.getLogger(), logging.getLogger("streamkl")
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    ours.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    logging.raiseExceptions = False
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _formatter(format: str, secrets: Sequence[str], before: list[Any], has_colors: bool) -> logging.Formatter:
    rendered: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, _Blotter(secrets)]
    if format == "json":
        rendered += [_ordered, structlog.processors.JSONRenderer(default=str)]
    else:
        plain = structlog.dev.plain_traceback
        rendered += [_escaped, structlog.dev.ConsoleRenderer(colors=has_colors, exception_formatter=plain, timestamp_key="time")]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=rendered)


def _ordered(logger: object, name: str, event: EventDict) -> EventDict:
    """Put first what is in every line."""
    first = {key: event[key] for key in ("time", "level", "event") if key in event}
    return {**first, **event}


def _escaped(logger: object, name: str, event: EventDict) -> EventDict:
    """Escape what is not printable, in all texts; a traceback keeps its lines."""
    return {key: _printable(value, "\n" if key in LINES else "") for key, value in event.items()}


def _printable(value: Any, kept: str = "") -> Any:
    r"""Return a text with its unprintable characters escaped; lists and mappings too.

    >>> print(_printable(["red\x1b[31m", 7]))
    ['red\\x1b[31m', 7]
    """
    if isinstance(value, str):
        return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in value)
    if isinstance(value, list | tuple):
        return [_printable(inner) for inner in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(inner) for key, inner in value.items()}
    return value


class _Blotter:
    """Blots secrets out of every text of an event before it is rendered: as they are, and as Python, JSON and the log itself write them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        plain = ["".join(secret) for secret in secrets if secret]  # a text that hides its repr becomes one that does not
        self._forms = sorted({form for secret in plain for form in _forms(secret)}, key=len, reverse=True)

    def __call__(self, logger: object, name: str, event: EventDict) -> EventDict:
        return {key: self._blotted(value) for key, value in event.items()}

    def _blotted(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self._blotted(key): self._blotted(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._blotted(inner) for inner in value]
        text = str(value)
        for form in self._forms:
            text = text.replace(form, BLOT)
        return text


def _forms(secret: str) -> set[str]:
    """Return how a secret may be written inside a text.

    >>> sorted(_forms("a'b"))
    ["a'b", "a\\\\'b"]
    """
    in_python = "".join(c if c in "'\"" else repr(c)[1:-1] for c in secret)
    in_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return {secret, in_python, in_python.replace("'", "\\'"), *in_json, _printable(secret)}
