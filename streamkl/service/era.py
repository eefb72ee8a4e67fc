"""Era: which values the settings that may change under a stored state have in one partition, and until where.

Rule 1: changed settings take hold where nothing is to be replayed: until there a replay runs under the stored ones, and repeats what was told.
Rule 2: what is not stored is as configured: a field, a setting, or all of it in a state that an older release wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamkl.detect.pieces import Value, changed, kept, under
from streamkl.service.entries import SETTINGS_KEY, VERSION, FieldSettings, StoredSettings, encoded
from streamkl.service.feed import Feed, Field


class Era(NamedTuple):
    """feeds: with the settings that are in force. changes: how the configured ones differ, "feed/field: what"; none: these are in force."""

    feeds: Sequence[Feed]
    changes: Sequence[str] = ()

    @property
    def is_former(self) -> bool:
        """Whether other settings take hold once the replay is over."""
        return bool(self.changes)


def era(feeds: Sequence[Feed], stored: StoredSettings | None, is_replaying: bool) -> Era:
    """Return what is in force at a restart. stored: what was in force before; is_replaying: whether records of then come again."""
    if stored is None or not is_replaying:
        return Era(feeds)
    values = {(field.feed, field.field): field.values for field in stored.fields}
    former = [feed._replace(fields=tuple(_under(field, values.get((feed.name, field.name), {})) for field in feed.fields)) for feed in feeds]
    changes = [
        f"{feed.name}/{now.name}: {', '.join(differences)}"
        for feed, before in zip(feeds, former, strict=True) for now, then in zip(feed.fields, before.fields, strict=True)
        if (differences := changed(now.fresh.settings, then.fresh.settings))
    ]
    return Era(former, changes) if changes else Era(feeds)


def entry_of(feeds: Sequence[Feed]) -> bytes:
    """Return the entry that tells what is in force with these feeds: the same bytes for the same settings, in whatever order."""
    fields = (FieldSettings(feed.name, field.name, kept(field.fresh.settings)) for feed in feeds for field in feed.fields)
    return encoded(SETTINGS_KEY, StoredSettings(VERSION, sorted(fields, key=lambda field: (field.feed, field.field))))


def _under(field: Field, values: Mapping[str, Value]) -> Field:
    return field._replace(fresh=under(field.fresh, values))
