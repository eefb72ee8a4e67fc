"""Alertmanager: an episode of a stream as one alert of Prometheus' Alertmanager, raised and ended through its v2 API.

Rule 1: labels are of the stream, never of an event: those at the end are those at the beginning, or the alert would never end.
Rule 2: nobody sends an alert again and again as Prometheus does, so it ends when the episode does, or after `ends_after_hours`.
Rule 3: a silence ends the alert; where the episode is still open when the silence is over, it is raised again.
Rule 4: joining is Alertmanager's: with group_by [alertname, application, group] a fault in 500 streams is one notification.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Final

from streamkl.adapters.http_sender import HttpSender
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, StreamklError
from streamkl.service.alert_labels import label_fault
from streamkl.service.cloud_events import rfc3339

PATH: Final = "/api/v2/alerts"
BEGINS: Final = "drift.raised"
SPOKEN: Final = "stream.unsilenced"
ENDS: Final = ("drift.resolved", "reference.rebaselined", "stream.silenced", "stream.forgotten")
LATE_SECONDS: Final = 20.0
"""An alert that began longer ago is told to begin now: what began before `group_wait` (30 s) is notified at once, before the rest of its group."""


class Alertmanager:
    """Raises and ends alerts. urls: of one Alertmanager, or of all that form a cluster: each gets every alert, one that takes it is enough.

    application, severity, alertname, labels: labels of every alert. ends_after_hours: an alert whose end never comes ends then; an
    Alertmanager that is started anew has lost it. is_silenced_too: raise alerts of silenced streams; those that were raised end in any case. The
    beginning is the event's own time, unless that is later than now or older than 20 s.
    >>> Alertmanager("http://127.0.0.1:9093", application="payments")
    Alertmanager('http://127.0.0.1:9093')
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        application: str = "streamkl",
        alertname: str = "StreamDrift",
        severity: str = "warning",
        labels: Mapping[str, str] | None = None,
        ends_after_hours: float = 720.0,
        timeout_seconds: float = 10.0,
        ca_file: str | None = None,
        authorization: str | None = None,
        is_silenced_too: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._labels = {"alertname": alertname, "application": application, "severity": severity, **_extra(labels or {})}
        if not 0 < ends_after_hours <= 87_600:
            raise ConfigError(f"ends_after_hours={ends_after_hours:g} must be above 0 and at most 87600; correct it")
        self._lasts_ms = round(ends_after_hours * 3_600_000)
        private = {} if authorization is None else {"Authorization": "".join(authorization)}
        given = [urls] if isinstance(urls, str) else list(urls)
        if not given:
            raise ConfigError("urls is empty; name an Alertmanager, e.g. http://127.0.0.1:9093")
        self._senders = [HttpSender(url, timeout_seconds=timeout_seconds / len(given), ca_file=ca_file, secrets=private) for url in given]
        self._clock = clock
        self._is_silenced_too = is_silenced_too

    def __call__(self, event: DriftEvent) -> None:
        """Raise or end the alert of the event's stream; other kinds are left alone."""
        if not (self._begins(event) or event.kind in ENDS):
            return
        body = json.dumps([self._alert(event, round(self._clock() * 1000))]).encode()
        errors: list[StreamklError] = []
        for sender in self._senders:
            try:
                sender.post(body, {}, PATH)
            except StreamklError as error:
                errors.append(error)
        if len(errors) == len(self._senders):
            raise errors[-1]

    def __repr__(self) -> str:
        return f"Alertmanager({', '.join(repr(sender.origin) for sender in self._senders)})"

    def _begins(self, event: DriftEvent) -> bool:
        """Return whether an episode is open from now on, for whoever is told of it."""
        if event.kind == SPOKEN:
            return event.evidence >= event.budget       # so it says that an episode is open
        return event.kind == BEGINS and (not event.silenced or self._is_silenced_too)

    def _alert(self, event: DriftEvent, now_ms: int) -> dict[str, object]:
        labels = {**self._labels, "group": event.group, "stream": event.stream}
        at = now_ms if event.at is None or event.at > now_ms or rfc3339(event.at) is None else event.at
        alert = {"labels": {name: value for name, value in labels.items() if value}, "annotations": _annotations(event)}
        if not self._begins(event):  # without a beginning: the one that it has stays
            return {**alert, "endsAt": rfc3339(at)}
        began = at if now_ms - at <= LATE_SECONDS * 1000 else now_ms
        return {**alert, "startsAt": rfc3339(began), "endsAt": rfc3339(now_ms + self._lasts_ms)}


def _annotations(event: DriftEvent) -> dict[str, str]:
    """Return what is told of an alert. A number is told with four digits; what is empty is left out."""
    far = event.farthest
    kl = event.divergence.get("kl")
    told = {
        "summary": f"Drift in {event.stream}" if event.kind in (BEGINS, SPOKEN) else f"{event.stream}: {event.kind}",
        "at": rfc3339(event.at) or "",
        "kl_nats": f"{far.kl:.4g}" if far else f"{kl.value:.4g}" if kl and isfinite(kl.value) else "",
        "limit_nats": f"{far.limit:.4g}" if far else "",
        "window": f"{far.window if far else event.window_n}",
        "changed": ", ".join(f"{bin.label}: {bin.reference_share:.3g} -> {bin.window_share:.3g}" for bin in event.changed[:3]),
        "guarantee": event.guarantee,
        "reason": event.reason,
        "by": event.by,
        "episode": f"{event.episode}",
        "event_id": event.id,
    }
    return {name: text for name, text in told.items() if text}


def _extra(labels: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in labels.items():
        if sentence := label_fault(name):
            raise ConfigError(f"labels: {name!r} {sentence}")
        if not isinstance(value, str):
            raise ConfigError(f"labels: {name} must be text; put it into quotes")
    return labels
