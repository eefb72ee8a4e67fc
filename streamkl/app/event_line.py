"""Event line: one drift event as one readable line.

Rule: where, what, which stream, how far, what changed, how sure - in that order, so that the eye finds it at three in the morning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from streamkl.app.label import label
from streamkl.detect.event import BinChange, DriftEvent
from streamkl.divergence import Estimate

BINS_SHOWN = 3
BINS_IN_LINE = 2
BIN_LENGTH = 30
REASON_LENGTH = 200
INTERVAL: Final = re.compile(r"[(\[][-+.\deinf]+, [-+.\deinf]+[)\]]")
VERBS: Final = {
    "drift.raised": "DRIFT", "drift.resolved": "RESOLVED", "reference.rebaselined": "REBASELINED", "reference.learned": "LEARNED",
    "stream.silenced": "SILENCED", "stream.unsilenced": "UNSILENCED", "stream.forgotten": "FORGOTTEN",
}  # fmt: skip


def event_line(event: DriftEvent) -> str:
    """Return the event in words, without a line feed."""
    head = f"{place(event)}  {VERBS.get(event.kind, event.kind):<11}  {label(event.stream)}"
    if event.kind == "drift.raised":
        said = ("silenced" * event.silenced, alarm(event), changed(event.changed[:BINS_IN_LINE]))
        return f"{head}: {'; '.join(filter(None, said))}"
    if event.kind == "drift.resolved":
        kl = event.divergence.get("kl")
        how_far = f", KL {kl.value:.3g} nats" if kl else ""
        return f"{head}: back at the reference{how_far}; episode {event.episode} is over"
    if event.kind == "reference.rebaselined":
        over = f"; episode {event.episode} is over" if event.episode else ""
        if event.by and not event.window_n:
            return f"{head}: {event.reference_n:,} observations of before are the reference again{over}{asked(event)}"
        return f"{head}: the newest {event.reference_n:,} observations are the reference now{over}{asked(event)}"
    if event.kind.startswith("stream."):
        return f"{head}{asked(event) if event.by else f': {label(event.reason, REASON_LENGTH)}'}"
    return f"{head}: {event.reference_n:,} observations are the reference"


def asked(event: DriftEvent) -> str:
    """Return who asked for something and why, "" where nobody did."""
    return f"; by {label(event.by)}: {label(event.reason, REASON_LENGTH)}" if event.by else ""


def is_told(event: DriftEvent) -> bool:
    """Return whether the event begins or ends an episode: the others are for --json."""
    return event.kind != "reference.learned"


def place(event: DriftEvent) -> str:
    """Return where in its source an event is, and its time."""
    source = event.source or {}
    if "topic" in source:
        where = f"{label(str(source['topic']))}[{source.get('partition')}] offset {source.get('last_offset')}"
    else:
        where = f"observation {event.index:,}" if event.position is None else f"line {event.position:,}"
    return where + ("" if event.at is None else f" at {moment(event.at)}")


def moment(at_ms: int) -> str:
    """Return a time in UTC.

    >>> moment(1431849903120), moment(10**18)
    ('2015-05-17 08:05:03.120Z', '1000000000000000000 ms')
    """
    try:
        text = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return f"{text}.{at_ms % 1000:03d}Z" if at_ms % 1000 else f"{text}Z"


def far(estimates: Mapping[str, Estimate]) -> str:
    """Return how far the window is from the reference: KL with its 95 % interval, JS beside it."""
    parts = []
    if "kl" in estimates:
        kl = estimates["kl"]
        parts.append(f"KL {kl.value:.3g} nats (95 %: {kl.low:.3g} to {kl.high:.3g})")
    if "js" in estimates:
        parts.append(f"JS {estimates['js'].value:.3g}")
    return ", ".join(parts)


def alarm(event: DriftEvent) -> str:
    """Return what raised an alarm: the window that is farthest beyond its limit, and the evidence against the budget."""
    reading = event.farthest
    far_enough = reading and f"KL {reading.kl:.3g} nats over the last {reading.window:,}, limit {reading.limit:.3g} ({label(reading.source)})"
    void = " (void)" if event.guarantee == "void" else ""
    sure = f"evidence {event.evidence:.3g}, budget {event.budget:.3g}{void}" if event.evidence else ""
    return "; ".join(filter(None, (far_enough, sure)))


def changed_in(event: DriftEvent) -> int:
    """Return in how many observations `event.changed` was counted: the window farthest beyond its limit, else the longest one."""
    reading = event.farthest or next(iter(event.criterion), None)
    return event.window_n if reading is None else reading.window


def changed(bins: Iterable[BinChange], window: int | None = None) -> str:
    """Return what changed most: bins with their shares of the reference and of the last `window` observations; "" if none did.

    >>> changed([BinChange("x", 0.5, 0.25, 0.1), BinChange("y", 0.5, 0.5, 0.0)], 150)
    'changed most in the last 150: x 50 % -> 25 %'
    """
    largest = [bin for bin in bins if share(bin.reference_share) != share(bin.window_share)][:BINS_SHOWN]
    changes = (f"{_quoted(bin.label)} {share(bin.reference_share)} -> {share(bin.window_share)}" for bin in largest)
    span = "" if window is None else f" in the last {window:,}"
    return f"changed most{span}: {', '.join(changes)}" if largest else ""


def _quoted(text: str) -> str:
    """Return a label that cannot be taken for more than one: an interval stands as it is, text with a comma or an arrow in quotes."""
    shown = label(text, BIN_LENGTH)
    return shown if INTERVAL.fullmatch(text) or not any(mark in text for mark in (",", "->", ":", ";")) else f"'{shown}'"


def share(part: float) -> str:
    """Return a share in per cent.

    >>> share(0.25), share(0.00123), share(0.0), share(1.0)
    ('25 %', '0.12 %', '0 %', '100 %')
    """
    per_cent = 100.0 * part
    return f"{per_cent:.0f} %" if per_cent >= 9.95 or per_cent == 0 else f"{per_cent:.2g} %"
