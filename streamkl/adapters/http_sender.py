"""HTTP sender: one POST to a receiver, and what its answer means for whoever sent it.

Rule 1: within the deadline it has ended, whatever the receiver does: names, connecting, handshake, a drip of bytes, redirects, all of it together.
Rule 2: the address of the operator may be private; a redirect leads to public addresses only, three times at most, never from https to http.
Rule 3: secrets go to the configured origin alone, and no error shows one, nor a path or a query.
Rule 4: 2xx is fine, however its body ends; 408, 425, 429 and 5xx, and no answer at all, are Unavailable; everything else is RecordError.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from io import BufferedReader
from typing import Final

from urllib3 import Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from streamkl.adapters.public_address import addresses, is_public
from streamkl.errors import ConfigError, RecordError, Unavailable
from streamkl.service.web_url import WebUrl, web_url

REDIRECTS: Final = (301, 302, 307, 308)
REDIRECTS_MAX: Final = 3
AGAIN: Final = (408, 425, 429)
ANSWER_BYTES_MAX: Final = 65_536
SHOWN: Final = 200
RETRY_AFTER_MAX_SECONDS: Final = 600.0
AGENT: Final = "streamkl"

Resolver = Callable[[str, int, float], list[str]]


class HttpSender:
    """Posts to one URL. timeout_seconds: for all of one `post`. ca_file: PEM file of who may sign the receiver's certificate, None: the system's.

    secrets: headers that only the configured origin gets. hidden: more texts that no error may show. resolve, is_public: how a name becomes
    addresses, and which of them a redirect may lead to.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 10.0,
        ca_file: str | None = None,
        secrets: Mapping[str, str] | None = None,
        resolve: Resolver = addresses,
        is_public: Callable[[str], bool] = is_public,
    ) -> None:
        self._url = web_url(url)
        if not 0 < timeout_seconds <= 3600:
            raise ConfigError(f"timeout_seconds={timeout_seconds:g} must be above 0 and at most 3600; correct it")
        self._timeout_seconds = timeout_seconds
        self._secrets = dict(secrets or {})
        self._resolve, self._is_public = resolve, is_public
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file={ca_file!r} cannot be used: {error.strerror or 'it is no PEM file'}; correct the path") from None

    @property
    def origin(self) -> str:
        """Where it sends: scheme, host and port."""
        return self._url.origin

    def post(self, body: bytes, headers: Mapping[str, str], path: str = "") -> None:
        """Send; returning means that the receiver took it. path: below the configured URL.

        Raises Unavailable where it may be tried again - with `retry_after_seconds` if the receiver says when -, RecordError where never.
        """
        url = self._url.below(path) if path else self._url
        with _Deadline(self._timeout_seconds) as deadline:
            for hop in range(REDIRECTS_MAX + 1):
                location = self._sent(url, body, headers, deadline, is_redirected=hop > 0)
                if location is None:
                    return
                url = _followed(url, location)
        raise RecordError(f"{self.origin} redirects more than {REDIRECTS_MAX} times; configure the URL that it leads to")

    def _sent(self, url: WebUrl, body: bytes, headers: Mapping[str, str], deadline: _Deadline, *, is_redirected: bool) -> str | None:
        """Send once, and return where it is to be sent instead, None if it was taken."""
        secrets = self._secrets if url.origin == self.origin else {}
        try:
            connection = _connection(url, self._addresses(url, deadline, is_redirected), deadline, self._tls)
            try:
                sent = {"User-Agent": AGENT, "Connection": "close", "Content-Type": "application/json", **headers, **secrets}
                connection.request("POST", url.target, body, sent, preload_content=False, decode_content=False)
                with contextlib.closing(connection.getresponse()) as answer:
                    return self._judged(url, answer.status, answer.headers, _body(answer))
            finally:
                connection.close()
        except (HTTPError, HTTPException, OSError) as error:
            said = f"no answer within {self._timeout_seconds:g} s" if deadline.is_over else _reason(error)
            raise Unavailable(f"{url.origin}: {said}") from error

    def _addresses(self, url: WebUrl, deadline: _Deadline, is_redirected: bool) -> list[str]:
        found = self._resolve(url.host, url.port, deadline.seconds)
        if is_redirected and not all(map(self._is_public, found)):
            raise RecordError(f"{self.origin} redirects to {url.origin}, an address that is not public; configure the URL that is meant")
        return found

    def _judged(self, url: WebUrl, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
        if 200 <= status < 300:
            return None
        if status in REDIRECTS and headers.get("Location"):
            return headers["Location"]
        said = f"{url.origin} answers {status}{self._shown(body)}"
        if status in AGAIN or status >= 500:
            raise Unavailable(f"{said}", _retry_after(headers.get("Retry-After")))
        raise RecordError(f"{said}; it is not tried again, correct what is sent, or where to")

    def _shown(self, body: bytes) -> str:
        """Return the beginning of an answer on one line, without what was sent in secret."""
        text = body[: 4 * SHOWN].decode("utf-8", "replace")
        for secret in (*self._secrets.values(), *(value.partition(" ")[2] for value in self._secrets.values()), self._url.target):
            text = text.replace(secret, "***") if len(secret) > 1 else text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return f": {text[:SHOWN]}" if text else ""


class _Answer(HTTPResponse):
    """An answer whose head came whole: the library takes any end for its end. What it would warn of in a header, with the URL, is let be."""

    def begin(self) -> None:
        lines = _Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = lines.file
        if lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(lines.last)
        self.msg.defects.clear()
        self.msg.set_payload("")


class _Lines:
    """A file that remembers the last line that was read."""

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self.file.readline(limit)
        return self.last

    def close(self) -> None:
        self.file.close()


class _Deadline:
    """Ends what a connection waits for when time is over: a timeout alone begins anew with each byte."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    @property
    def seconds(self) -> float:
        """What is left. Raises TimeoutError if nothing is."""
        if self.is_over:
            raise TimeoutError
        return self._ends_at - time.monotonic()

    def watch(self, connected: socket.socket) -> None:
        """End this one too; by a handle of our own, as TLS takes the connection's."""
        with self._lock:
            self._sockets.append(connected.dup())

    def _cut(self) -> None:
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def _connection(url: WebUrl, found: list[str], deadline: _Deadline, tls: ssl.SSLContext) -> HTTPConnection:
    """Return a connection that goes to one of these addresses, while Host and certificate are of the URL's host."""

    class Judged(HTTPConnection):
        response_class = _Answer

        def _new_conn(self) -> socket.socket:
            return _connected(found, url.port, deadline)

    class JudgedTls(HTTPSConnection):
        response_class = _Answer

        def _new_conn(self) -> socket.socket:
            return _connected(found, url.port, deadline)

    if url.scheme == "http":
        return Judged(url.host, url.port, timeout=deadline.seconds)
    return JudgedTls(url.host, url.port, timeout=deadline.seconds, ssl_context=tls)


def _connected(found: list[str], port: int, deadline: _Deadline) -> socket.socket:
    """Return a socket to the first address that answers; each has its share of the time that is left."""
    for place, address in enumerate(found, 1):
        try:
            made = socket.create_connection((address, port), deadline.seconds / (len(found) - place + 1))
            deadline.watch(made)
            made.settimeout(deadline.seconds)
            return made
        except OSError as error:
            if place == len(found):
                raise
            last = error
    raise last


def _body(answer: BaseHTTPResponse) -> bytes:
    """Read what was answered, up to a bound: who is cut off in the middle of it may think that he failed. How it ends says nothing."""
    parts, size = [], 0
    with contextlib.suppress(HTTPError, HTTPException, OSError):
        while size < ANSWER_BYTES_MAX and (part := answer.read(8192, decode_content=False)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def _followed(url: WebUrl, location: str) -> WebUrl:
    try:
        there = url.redirect(location)
    except ConfigError:
        raise RecordError(f"{url.origin} redirects to what is no URL of HTTP; configure the URL that is meant") from None
    if url.scheme == "https" and there.scheme == "http":
        raise RecordError(f"{url.origin} redirects to {there.origin}, from https to http; configure the URL that is meant")
    return there


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, number or date, within bounds; None where there is none that can be read."""
    if not text:
        return None
    try:
        return min(max(float(Retry().parse_retry_after(text)), 0.0), RETRY_AFTER_MAX_SECONDS)
    except (HTTPError, ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it: {(error.reason or type(error).__name__).lower().replace('_', ' ')}"
    return (error.strerror if isinstance(error, OSError) else None) or f"the connection ended before its answer ({type(error).__name__})"
