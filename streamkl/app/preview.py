"""Preview: what a command would do to the streams that are stored, without doing it.

Rule 1: nothing is changed, and a service that runs is not disturbed.
Rule 2: what is shown is the stored state, which may lie a little behind the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from streamkl.app.control import in_short
from streamkl.app.event_line import share
from streamkl.app.label import label
from streamkl.detect.detector import Detector
from streamkl.detect.pieces import restored
from streamkl.service.cloud_events import rfc3339
from streamkl.service.command import FORGET, REBASELINE, SILENCE, UNDO, Command
from streamkl.service.entries import RowEntries
from streamkl.service.feed import Feed
from streamkl.service.orders import Standing
from streamkl.service.restoration import Policy, stock
from streamkl.sketch.reference import Reference

if TYPE_CHECKING:
    from streamkl.app.config import Config

NAMED = 100             # streams
BINS_SHOWN = 4
BIN_LENGTH = 24
LINE_LENGTH = 1000


def preview(config: Config, command: Command) -> int:
    """Print what a command would do, and return the exit code. Raises ConfigError, Unavailable, StateError where the state cannot be read."""
    from streamkl.app import build_service
    from streamkl.app.build_state import stored_state

    feeds, number = build_service.feeds(config), 0
    print(label(f"nothing is sent: {in_short(command)}", LINE_LENGTH))
    with stored_state(config) as stored:
        for partition in stored.partitions:
            entries = stock(config.application, partition, stored.restore(partition), Policy()).entries
            for (name, key), row in sorted(entries.rows.items()):
                for feed in (feed for feed in feeds if (feed.topic, feed.name) == (partition.topic, name)):
                    for lines in _row(command, feed, key, row):
                        number += 1
                        if number <= NAMED:
                            print(*(label(f"{partition}: {line}", LINE_LENGTH) for line in lines), sep="\n", flush=True)
    if number > NAMED:
        print(f"and {number - NAMED:,} more")
    print(f"in all: {number:,} stored stream{'' if number == 1 else 's'} of this name" + ("" if number else "; a glob is e.g. 'payments/*'"))
    return 0


def _row(command: Command, feed: Feed, key: str, row: RowEntries) -> Iterator[list[str]]:
    fresh = {field.name: field.fresh for field in feed.fields}
    for field in row.row.fields:
        name = feed.stream(key, field.field)
        if field.field in fresh and command.pattern.match(name):
            pieces = row.pieces[field.field]
            detector = restored(fresh[field.field].clone(name), pieces) if pieces else fresh[field.field].clone(name)
            yield [f"{name}: {_now(detector)}", f"    {_then(command, detector, field.standing or Standing())}"]


def _now(detector: Detector) -> str:
    """Return how a stream stands."""
    if detector.reference is None:
        learning = detector.life.learning
        return f"learning, {detector.n:,} observations seen" + (f" of {learning.needed:,} needed" if learning else "")
    return f"{detector.state}, reference of {_told(detector.reference)}"


def _then(command: Command, detector: Detector, standing: Standing) -> str:
    """Return what would come of the command."""
    if command.name == FORGET:
        return "-> forgotten; it begins anew with its next record"
    if command.name == SILENCE:
        return f"-> silenced until {rfc3339(command.until)}"
    if command.name == UNDO:
        former = detector.life.former
        return "-> as it is: no former reference is kept" if former is None else f"-> reference of {_told(former.checked(detector.settings))}"
    if command.name == REBASELINE:
        return _rebaselined(command, detector)
    silenced = standing.silenced_until
    return "-> as it is: it is not silenced" if silenced is None else f"-> no longer silenced (it was until {rfc3339(silenced)})"


def _rebaselined(command: Command, detector: Detector) -> str:
    life = detector.life
    if life.learning:
        return "-> as it is: it learns already"
    if command.for_ms is not None:
        when = f"once episode {life.episode_number} is still open at {rfc3339(command.until)}"
        return f"-> accepted {when}" if life.episode else "-> as it is: it does not drift"
    needed = life.episode.needed if life.episode else life.watching.base if life.watching else 0
    event = detector.rebaseline(command.reason, command.by)         # of this copy
    if event is not None and detector.reference is not None:
        return f"-> reference of {_told(detector.reference)}: the newest since the alarm"
    seen = life.episode.since if life.episode else 0
    return f"-> learns anew: {needed:,} observations, {'of which it has ' + format(seen, ',') if seen else 'from its next record on'}"


def _told(reference: Reference) -> str:
    """Return a reference in short: its size, and its largest bins."""
    shares: Sequence[float] = (reference.bins.counts / reference.m).tolist()
    largest = sorted(zip(shares, reference.bins.labels(), strict=True), key=lambda one: -one[0])[:BINS_SHOWN]
    return f"{reference.m:,.0f} observations ({', '.join(f'{label(name, BIN_LENGTH)} {share(part)}' for part, name in largest)})"
