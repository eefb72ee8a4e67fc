"""Webhook: a drift event to somebody's URL, signed as Standard Webhooks say, and how a receiver verifies that.

Rule 1: id and body follow from the event alone, so that a repeat is recognisable: webhook-id and Idempotency-Key are the event's id.
Rule 2: each secret signs, so that one can be exchanged for another while nothing is lost: add the new one first, take the old one away later.
Rule 3: a secret is never sent and never shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from streamkl.adapters.http_sender import HttpSender
from streamkl.detect.event import DriftEvent
from streamkl.errors import ConfigError, RecordError
from streamkl.service.cloud_events import rfc3339
from streamkl.service.webhook_signature import ID, key_of, signature, verify

__all__ = ["Webhook", "body_of", "verify"]


class Webhook:
    """Posts each event to a URL. secrets: one or more whsec_<base64>, the newest first. For the rest see `HttpSender`.

    Raises, as every corrector: Unavailable where the event may be sent again, RecordError where never.
    >>> Webhook("https://example.com/hooks/drift?token=x", secrets=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])
    Webhook('https://example.com')
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        *,
        timeout_seconds: float = 10.0,
        ca_file: str | None = None,
        authorization: str | None = None,
        clock: Callable[[], float] = time.time,
        sender: HttpSender | None = None,
    ) -> None:
        if isinstance(secrets, str) or not secrets:
            raise ConfigError('secrets must be a list of one or more, e.g. secrets=[os.environ["HOOK_SECRET"]]')
        self._keys = [key_of(secret) for secret in secrets]
        private = {} if authorization is None else {"Authorization": "".join(authorization)}
        self._sender = sender or HttpSender(url, timeout_seconds=timeout_seconds, ca_file=ca_file, secrets=private)
        self._clock = clock

    def __call__(self, event: DriftEvent) -> None:
        """Send one event."""
        if not ID.fullmatch(event.id):
            raise RecordError(f"the id {event.id[:100]!r} cannot be that of a webhook: printable ASCII without dots is needed")
        body, timestamp = body_of(event), int(self._clock())
        signatures = " ".join(signature(key, event.id, timestamp, body) for key in self._keys)
        headers = {"webhook-id": event.id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures, "Idempotency-Key": event.id}
        self._sender.post(body, headers)

    def __repr__(self) -> str:
        return f"Webhook({self._sender.origin!r})"


def body_of(event: DriftEvent) -> bytes:
    """Return what is sent: type, timestamp (the event's own time, if it has one) and data, which is `DriftEvent.to_dict()`."""
    at = rfc3339(event.at)
    when = {} if at is None else {"timestamp": at}
    told = {"type": event.kind, **when, "data": event.to_dict()}
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
