"""Kafka client: how a broker is reached, in the words of the client library.

Rule 1: a secret is never part of a text: neither of `repr` nor of an error.
Rule 2: whatever connects to a broker takes its settings from `client_settings`, so that security is said once.
Rule 3: whatever connects does so by `connected`: the library only logs why a connection failed, and leaves a thread behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from streamkl.adapters.kafka_errors import explained, is_refusal
from streamkl.errors import ConfigError

Client = TypeVar("Client")

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

REQUEST_TIMEOUT_SECONDS = 10.0
BOOTSTRAP_SLICE_SECONDS = 1.0
MOST_RECONNECT_BACKOFF_MS = 2_000
"""After an outage a broker is tried again at least this often; the client's own default of 30 s is half a minute of needless lag."""


class Security(NamedTuple):
    """How we prove who we are, and how the broker does. Files are PEM.

    protocol: one of PROTOCOLS. mechanism, username, password: with SASL_*. ca_file: with *SSL; None: the system's authorities.
    certificate_file, key_file, key_password: our own certificate (mTLS).

    >>> Security("SASL_SSL", "PLAIN", "ann", "canary")
    Security(protocol='SASL_SSL', mechanism='PLAIN', username='ann', ca_file=None, certificate_file=None)
    """

    protocol: str = "PLAINTEXT"
    mechanism: str | None = None
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: str | None = None
    check_hostname: bool = True

    def __repr__(self) -> str:
        return (
            f"Security(protocol={self.protocol!r}, mechanism={self.mechanism!r}, username={self.username!r}, "
            f"ca_file={self.ca_file!r}, certificate_file={self.certificate_file!r})"
        )


NO_SECURITY = Security()


def client_settings(
    bootstrap_servers: Sequence[str], security: Security = NO_SECURITY, client_id: str = "streamkl",
    request_timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Return the keyword arguments that every client of the library takes, consumer, producer and admin alike.

    bootstrap_servers: "host:port" each. Raises ConfigError where the security settings contradict each other.

    >>> client_settings(["broker:9092"])["security_protocol"]
    'PLAINTEXT'
    >>> client_settings(["broker:9092"], Security("SASL_SSL", "PLAIN"))
    Traceback (most recent call last):
    streamkl.errors.ConfigError: security: protocol SASL_SSL with mechanism PLAIN needs a username and a password; set both
    """
    _check(security)
    settings: dict[str, Any] = {
        "bootstrap_servers": list(bootstrap_servers),
        "client_id": client_id,
        "security_protocol": security.protocol,
        "request_timeout_ms": round(request_timeout_seconds * 1000),
        "bootstrap_timeout_ms": round(REQUEST_TIMEOUT_SECONDS * 1000),
        "reconnect_backoff_max_ms": MOST_RECONNECT_BACKOFF_MS,
    }
    if security.protocol.startswith("SASL_"):
        settings |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    if security.protocol.endswith("SSL"):
        settings |= {
            "ssl_check_hostname": security.check_hostname,
            "ssl_cafile": security.ca_file,
            "ssl_certfile": security.certificate_file,
            "ssl_keyfile": security.key_file,
            "ssl_password": security.key_password,
        }
    return settings


def _check(security: Security) -> None:
    if security.protocol not in PROTOCOLS:
        raise ConfigError(f"security: unknown protocol {security.protocol!r}; use one of {', '.join(PROTOCOLS)}")
    if security.protocol.startswith("SASL_"):
        if security.mechanism not in MECHANISMS:
            raise ConfigError(f"security: unknown mechanism {security.mechanism!r}; use one of {', '.join(MECHANISMS)}")
        if not security.username or not security.password:
            what = f"protocol {security.protocol} with mechanism {security.mechanism}"
            raise ConfigError(f"security: {what} needs a username and a password; set both")
    elif security.mechanism or security.username or security.password:
        raise ConfigError(f"security: a mechanism, username or password is never sent with protocol {security.protocol}; use SASL_SSL or remove it")
    has_tls = security.ca_file or security.certificate_file or security.key_file
    if has_tls and not security.protocol.endswith("SSL"):
        raise ConfigError(f"security: certificates are not used with protocol {security.protocol}; use SSL or SASL_SSL, or remove them")
    if (security.certificate_file is None) != (security.key_file is None):
        raise ConfigError("security: a certificate and its key belong together; set both certificate_file and key_file, or neither")


def connected(make: Callable[..., Client], settings: Mapping[str, Any]) -> Client:
    """Return a client of the library (`make`) that has reached a broker.

    Raises ConfigError where a broker refuses us or we refuse its certificate, Unavailable where none answers.
    """
    _check_files(settings)
    made: list[KafkaNetClient] = []

    def client(**given: Any) -> KafkaNetClient:
        net = NetworkSelector(**given)
        made.append(KafkaNetClient(net=net, manager=_Connections(net, **given)))
        return made[-1]

    try:
        return make(**settings, kafka_client=client)
    except KafkaError as error:
        faults = [one._manager.fault for one in made]
        for one in made:
            one.close()
        cause = next((fault for fault in faults if fault is not None), error)
        raise explained(cause, f"connecting to {', '.join(settings['bootstrap_servers'])} by {settings['security_protocol']}") from error


def _check_files(settings: Mapping[str, Any]) -> None:
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        file = settings.get(name)
        if file is not None and not Path(file).is_file():
            raise ConfigError(f"security: there is no file {file}; correct ca_file, certificate_file or key_file")


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the library has no types
    """Keeps why the last connection failed, and does not go on trying where a broker refused us."""

    fault: Exception | None = None

    async def _connect(self, node: Any, conn: Any, **options: Any) -> None:
        conn.init_future.add_errback(self._note)
        await super()._connect(node, conn, **options)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        transport._sock_recv = _heard_out(transport._sock_recv)
        return transport

    def _note(self, fault: Exception) -> None:
        if self.fault is None or not is_refusal(self.fault):
            self.fault = fault

    def bootstrap(self, timeout_ms: float | None = None, refresh: bool = True) -> None:
        deadline = monotonic() + (REQUEST_TIMEOUT_SECONDS if timeout_ms is None else timeout_ms / 1000)
        while True:
            left = max(0.0, deadline - monotonic())
            try:
                return super().bootstrap(min(BOOTSTRAP_SLICE_SECONDS, left) * 1000, refresh)  # type: ignore[no-any-return]
            except KafkaTimeoutError:
                if left <= BOOTSTRAP_SLICE_SECONDS or (self.fault is not None and is_refusal(self.fault)):
                    raise


def _heard_out(receive: Callable[[], tuple[bytes, Exception | None]]) -> Callable[[], tuple[bytes, Exception | None]]:
    """Return a reader that hands on what came before the end of a connection: a broker says there why it ends it, and the library drops it."""

    def received() -> tuple[bytes, Exception | None]:
        content, end = receive()
        return content, None if content else end    # the end is met again by the next call

    return received
