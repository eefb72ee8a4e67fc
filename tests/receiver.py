"""A receiver of webhooks for tests: a real HTTP server on a free port of loopback, which answers as it is told and keeps what came.

Rule: an answer is what a test writes to the socket, byte by byte if it likes; nothing is mended by a library.
"""

from __future__ import annotations

import dataclasses
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

from streamkl.detect.event import BinChange, CriterionReading, DriftEvent
from streamkl.divergence import Estimate

AT_MS = 1_760_000_000_000
Answer = bytes | Callable[[socket.socket], None]
RAISED = DriftEvent(
    "drift.raised", "payments/EU/amount", 900, 900, AT_MS, 3, 2e6, 1e6, "exact", {"kl": Estimate(0.4, 0.3, 0.5, 0.42, "nats")},
    (CriterionReading(150, 0.377, 0.361, "natural variability", True, (1, 2), (3.0, 4.0)),), (), 500, 600,
    changed=(BinChange("(15, inf)", 0.0083, 0.16, 0.3),), group="payments", source={"topic": "payments.events", "partition": 1}, id="8d6f" * 8,
)  # fmt: skip


def event(kind: str = "drift.raised", **changes: object) -> DriftEvent:
    return dataclasses.replace(RAISED, kind=kind, **changes)


def status(code: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer of HTTP/1.1; _ in the name of a header is a dash."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {code} Words", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


class Request:
    """What came: method, target, headers by lower-case name, body."""

    def __init__(self, raw: bytes, body: bytes) -> None:
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body


class Receiver:
    """Serves until it is closed. answers: for one request after the other; the last one for all that follow."""

    def __init__(self, *answers: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.answers: Sequence[Answer] = answers or (status(200),)
        self.requests: list[Request] = []
        self.ended = threading.Event()
        self._tls = tls
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def close(self) -> None:
        self.ended.set()
        socket.create_connection((self.host, self.port)).close()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self.ended.is_set():
                connection.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                spoken = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
                with spoken:
                    spoken.settimeout(20)
                    self._answer(spoken)
        except OSError:                       # whoever asked has gone
            pass

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (block := connection.recv(65_536)):
                return
            head += block
        raw, _, body = head.partition(b"\r\n\r\n")
        length = int(Request(raw, b"").headers.get("content-length", "0"))
        while len(body) < length:
            body += connection.recv(65_536)
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(Request(raw, body))
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer)
