"""Chat: a drift event as a sentence in a channel, by the incoming webhook of Slack, Mattermost, Teams and what takes {"text": ...} too.

Rule 1: what comes from records or people - names, bins, reasons - is quoted, and can neither mention anybody nor be a link or markup.
Rule 2: the URL is a password: who knows it may write. It is never shown.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Final

from streamkl.adapters.http_sender import HttpSender
from streamkl.detect.event import BinChange, DriftEvent
from streamkl.service.cloud_events import rfc3339

QUOTED_MAX: Final = 120
CHANGES_SHOWN: Final = 2
APART: Final = "\u2060"                                     # word joiner: nothing to see, and what was one word for a chat no longer is
HARMLESS: Final = str.maketrans({"<": "\u2039", ">": "\u203a", "`": "'", "@": f"@{APART}", "[": f"[{APART}", "]": f"]{APART}", "&": f"&{APART}"})
LINK: Final = re.compile(r"(?i)(:)(?=//)|(www)(?=\.)|(mailto)(?=:)|(?<=[^\W_])(\.)(?=[^\W\d_])")


class Chat:
    """Posts each event as a text. url: of the incoming webhook.

    >>> Chat("https://chat.example.com/hooks/very-secret")
    Chat('https://chat.example.com')
    """

    def __init__(self, url: str, *, timeout_seconds: float = 10.0, ca_file: str | None = None) -> None:
        self._sender = HttpSender("".join(url), timeout_seconds=timeout_seconds, ca_file=ca_file)

    def __call__(self, event: DriftEvent) -> None:
        """Post one event."""
        self._sender.post(json.dumps({"text": text_of(event)}).encode(), {})

    def __repr__(self) -> str:
        return f"Chat({self._sender.origin!r})"


def text_of(event: DriftEvent) -> str:
    """Return an event in words, one line."""
    stream = quoted(event.stream) + (f" of {quoted(event.group)}" if event.group else "")
    words = {
        "drift.raised": f"Drift in {stream}: {_far(event)}",
        "drift.resolved": f"{stream} is back at its reference.",
        "reference.rebaselined": f"{stream} has a new reference, of {event.reference_n:,} values.",
        "reference.learned": f"{stream} has learnt its reference, of {event.reference_n:,} values.",
        "stream.silenced": f"{stream} is silenced.",
        "stream.unsilenced": f"{stream} is no longer silenced.",
        "stream.forgotten": f"{stream} is forgotten.",
    }
    said = [words.get(event.kind) or f"{quoted(event.kind)} of {stream}."]
    said += [f"Asked by {quoted(event.by)}."] if event.by else []
    said += [f"Reason: {quoted(event.reason)}."] if event.reason else []
    place = ", ".join(filter(None, (rfc3339(event.at), f"episode {event.episode}" if event.episode else "")))
    return " ".join([*said, *([f"({place})"] if place else [])])


def quoted(text: str) -> str:
    """Return foreign text as code: on one line, shortened, and without anything that a chat makes a mention, a link or markup of.

    >>> quoted("payments/EU"), quoted("<!channel>") == "`\u2039!channel\u203a`"
    ('`payments/EU`', True)
    """
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = shown if len(shown) <= QUOTED_MAX else f"{shown[:QUOTED_MAX]}..."
    return f"`{LINK.sub(lambda found: found[0] + APART, shown.translate(HARMLESS)).strip() or '?'}`"


def _far(event: DriftEvent) -> str:
    far = event.farthest
    kl = event.divergence.get("kl")
    if far is not None:
        how = f"the last {far.window:,} values are {far.kl:.3g} nats (KL) away from the reference, {far.limit:.3g} would still be usual."
    elif kl is not None and isfinite(kl.value):
        how = f"the last {event.window_n:,} values are {kl.value:.3g} nats (KL) away from the reference."
    else:
        how = "its values are no longer those of its reference."
    changes = ", ".join(map(_change, event.changed[:CHANGES_SHOWN]))
    return f"{how} Changed most: {changes}." if changes else how


def _change(bin: BinChange) -> str:
    return f"{quoted(bin.label)} from {bin.reference_share:.2%} to {bin.window_share:.2%}"
