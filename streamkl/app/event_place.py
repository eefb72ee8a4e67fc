"""Event place: the URL of `streamkl events` -> where drift events are.

Rule: a password is no part of a URL, and a URL that has one is never repeated.
"""

from __future__ import annotations

import os
import re
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from streamkl.app.label import label
from streamkl.errors import ConfigError

SERVER: Final = r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+):[0-9]{1,5}"
KAFKA: Final = re.compile(rf"({SERVER}(?:,{SERVER})*)/([a-zA-Z0-9._-]{{1,249}})")
FORMS: Final = "kafka://HOST:PORT[,HOST:PORT]/TOPIC, sqlite:///PATH or file:///PATH"


class EventPlace(NamedTuple):
    """Where drift events are: servers and topic of Kafka, or the path of a file."""

    kind: Literal["kafka", "sqlite", "file"]
    servers: tuple[str, ...] = ()
    topic: str = ""
    path: str = ""


def event_place(url: str) -> EventPlace:
    """Return the place that a URL names. Raises ConfigError for any other text.

    A path is one from the root; if there is no such file, one from here: sqlite:///state.db is ./state.db where there is no /state.db.
    >>> event_place("kafka://a:9092,b:9092/payments.drift")
    EventPlace(kind='kafka', servers=('a:9092', 'b:9092'), topic='payments.drift', path='')
    """
    if not isinstance(url, str):
        raise ConfigError(f"{url!r} is no URL of events; URLs are {FORMS}")
    kind, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        raise ConfigError(f"user and password are no part of the URL of events; give them with --config CONFIG; URLs are {FORMS}")
    if kind == "kafka" and (match := KAFKA.fullmatch(rest)) and all(0 < int(server.rpartition(":")[2]) < 65_536 for server in match[1].split(",")):
        return EventPlace("kafka", tuple(match[1].split(",")), match[2])
    if kind in ("sqlite", "file") and rest.strip("/"):
        path = unquote(rest)
        relative = path.lstrip("/")
        return EventPlace("sqlite" if kind == "sqlite" else "file", path=relative if os.path.exists(relative) and not os.path.exists(path) else path)
    raise ConfigError(f"{label(url)!r} is no URL of events; URLs are {FORMS}")
