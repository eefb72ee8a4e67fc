"""Webhook signature: that a message came from who knows the secret, and lately. Standard Webhooks, version 1.

Rule 1: what is signed is id.timestamp.body: none of the three can be changed, or taken from another message.
Rule 2: signatures are compared in constant time, all of them, and no error holds a secret or a signature.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from streamkl.errors import ConfigError, RecordError

PREFIX: Final = "whsec_"
KEY_BYTES: Final = (24, 64)
ID: Final = re.compile(r"[!-\-/-~]{1,256}")         # a dot would let an id end elsewhere than its writer meant
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
TOLERANCE_SECONDS: Final = 300.0
SIGNATURES_MAX: Final = 32


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret, whsec_<base64>. Raises ConfigError, without the secret, for any other text.

    >>> len(key_of("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))
    24
    """
    text = "".join(secret).removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
        raise ConfigError(f"the secret of a webhook must be {PREFIX} and {KEY_BYTES[0]} to {KEY_BYTES[1]} random bytes in base64; make one with: "
                          f'echo {PREFIX}$(openssl rand -base64 32)')
    return key


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return one signature, v1,<base64>. id: without a dot."""
    signed = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def verify(
    body: bytes, headers: Mapping[str, str], secrets: Sequence[str], *, tolerance_seconds: float = TOLERANCE_SECONDS, now: float | None = None
) -> str:
    """Return the id of a webhook that was signed with one of our secrets, lately; a receiver acts once on an id.

    body: as it came, before anything reads it. headers: of the request; case tells nothing apart. secrets: the new one, and while they are
    exchanged the old one. now: seconds since the epoch, None: the clock. Raises RecordError, whose sentence may be shown to the sender.
    """
    found = {name.lower(): value for name, value in headers.items()}
    id, sent, signatures = (found.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not ID.fullmatch(id) or not TIMESTAMP.fullmatch(sent) or not signatures:
        raise RecordError("not signed: webhook-id, webhook-timestamp or webhook-signature is missing or malformed; sign as Standard Webhooks says")
    age = (time.time() if now is None else now) - int(sent)
    if not abs(age) <= tolerance_seconds:
        raise RecordError(f"signed {abs(age):.0f} s {'ago' if age > 0 else 'ahead'}, {tolerance_seconds:g} s are accepted; correct the clocks")
    given = [one.encode("utf-8", "backslashreplace") for one in signatures.split(" ")[:SIGNATURES_MAX]]
    is_known = False
    for key in map(key_of, secrets):
        expected = signature(key, id, int(sent), body).encode()
        for one in given:
            is_known |= hmac.compare_digest(one, expected)
    if not is_known:
        raise RecordError("no signature fits; compare the secrets of sender and receiver, and verify the body as it came")
    return id
