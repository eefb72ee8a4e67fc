"""Events: one run of `streamkl events`, from the oldest event to the newest, or on until somebody stops it.

Rule 1: each event is told once, by its id, however often it was published.
Rule 2: what is no event of ours is counted and said at the end, however the run ends; it is no failure.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamkl.app import build
from streamkl.app.label import label
from streamkl.app.output import EventOutput, say
from streamkl.detect.event import DriftEvent

MOST_IDS = 100_000


class Seen:
    """The ids of the newest events; a repeat comes soon after its original, as it is a replay's."""

    def __init__(self, most: int = MOST_IDS) -> None:
        self._ids: dict[str, None] = {}
        self._most = most

    def new(self, events: Iterable[DriftEvent]) -> list[DriftEvent]:
        """Return those that were not there before, and keep them in mind."""
        found = []
        for event in events:
            if event.id not in self._ids:
                found.append(event)
                self._ids[event.id] = None
                if len(self._ids) > self._most:
                    del self._ids[next(iter(self._ids))]
        return found


def events(url: str, is_following: bool, is_json: bool, config: str | None = None) -> int:
    """Write the events of a URL and return the exit code. config: path of the configuration whose security settings the broker wants.

    Raises ConfigError for a wrong URL, Unavailable where it cannot be read; KeyboardInterrupt where it is stopped.
    """
    reader = build.event_reader(url, config)
    output, seen = EventOutput(is_json), Seen()
    try:
        for batch in reader.batches(is_following):
            output.write(output.lines(seen.new(batch)))
            if not output.is_read:
                break
    finally:
        reader.close()
        if reader.foreign:
            messages = "1 message is" if reader.foreign == 1 else f"{reader.foreign:,} messages are"
            say(f"streamkl: {label(reader.name)}: {messages} no drift event of ours, and left out")
    return 0
