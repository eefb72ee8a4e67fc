"""A Kafka broker that asks who you are and what you may: SASL, TLS and client certificates, access control lists.

Rule 1: keys, certificates and passwords are made for one session, and are worth nothing after it.
Rule 2: `admin` may do all; everybody else, ANONYMOUS too, only what a test has allowed him.

listener  protocol        who the client is
SASL      SASL_PLAINTEXT  user of PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
TLS       SSL             ANONYMOUS
MTLS      SSL             common name of the client's certificate
SASL_TLS  SASL_SSL        user, as of SASL
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker import Broker, refuse, started
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from kafka_cluster import Cluster

LISTENERS = {"SASL": "SASL_PLAINTEXT", "TLS": "SSL", "MTLS": "SSL", "SASL_TLS": "SASL_SSL"}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
USERS = ("admin", "limited")
FRESH = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Keys:
    """A certificate authority, the broker's certificate for 127.0.0.1 and localhost, and a client's for `client` - all files of PEM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = folder / "authority.pem"
        self._openssl("req", "-x509", "-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem", "-days", "2", *FRESH)
        self._signed("broker", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._signed("client", "extendedKeyUsage=clientAuth")
        joined = (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
        (folder / "broker.both").write_text(joined)

    def _signed(self, name: str, extension: str) -> None:
        self._openssl("req", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.request", *FRESH)
        (self.folder / f"{name}.extension").write_text(extension + "\n")
        by = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.extension")
        self._openssl("x509", "-req", "-in", f"{name}.request", "-out", f"{name}.pem", *by)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


class SecureBroker(Broker):
    """`bootstrap` and the clients of `admin()`, `producer()`, `consumer()` are those of user admin over SASL PLAIN.

    `passwords`: user -> password, for `admin` and `limited`. `address(listener)` and `security_of(...)`: for other clients.
    """

    def __init__(self, cluster: Cluster, keys: Keys, passwords: Mapping[str, str]) -> None:
        self.keys = keys
        self.passwords = dict(passwords)
        self._listeners = cluster
        super().__init__(cluster.bootstrap, cluster, self.security_of("SASL", "admin"))

    def address(self, listener: str) -> str:
        """Return host:port of SASL, TLS, MTLS or SASL_TLS."""
        return self._listeners.address(listener)

    def security_of(self, listener: str, user: str = "limited", mechanism: str = "PLAIN", password: str | None = None) -> dict[str, Any]:
        """Return the security arguments of a kafka-python client for a listener."""
        found: dict[str, Any] = {"security_protocol": LISTENERS[listener]}
        if "SASL" in listener:
            given = self.passwords[user] if password is None else password
            found |= {"sasl_mechanism": mechanism, "sasl_plain_username": user, "sasl_plain_password": given}
        if "TLS" in listener:
            found["ssl_cafile"] = str(self.keys.authority)
        if listener == "MTLS":
            found |= {"ssl_certfile": str(self.keys.folder / "client.pem"), "ssl_keyfile": str(self.keys.folder / "client.key")}
        return found

    def allow(self, user: str, resource: str, name: str, *operations: str, is_prefix: bool = False) -> None:
        """Grant: `allow("limited", "topic", "events", "READ", "DESCRIBE")`; resource: topic, group, transactional_id or cluster."""
        pattern = ACLResourcePatternType.PREFIXED if is_prefix else ACLResourcePatternType.LITERAL
        at = ResourcePattern(ResourceType[resource.upper()], name, pattern)
        wanted = [ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, at) for operation in operations]
        failed = self.admin().create_acls(wanted)["failed"]
        assert not failed, failed

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.keys.folder, ignore_errors=True)


def secured_broker() -> SecureBroker:
    if shutil.which("openssl") is None:
        refuse("no openssl was found on PATH, which makes the keys of the secure broker: apt-get install openssl")
    folder = Path(tempfile.mkdtemp(prefix="keys-"))
    try:
        keys = Keys(folder)
        passwords = {user: secrets.token_hex(12) for user in USERS}
        cluster = started(lambda: Cluster(listeners=LISTENERS, settings=_settings(keys, passwords), format_arguments=_scram(passwords)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return SecureBroker(cluster, keys, passwords)


def _settings(keys: Keys, passwords: Mapping[str, str]) -> dict[str, str]:
    module = "org.apache.kafka.common.security"
    users = " ".join(f'user_{user}="{password}"' for user, password in passwords.items())
    own = f'username="admin" password="{passwords["admin"]}"'
    plain = f"{module}.plain.PlainLoginModule required {own} {users};"
    scram = f"{module}.scram.ScramLoginModule required;"
    found = {
        "listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in {"CONTROLLER": "SASL_PLAINTEXT", **LISTENERS}.items()),
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": plain,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keys.folder / "broker.both"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(keys.authority),
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]*).*$/$1/",
        "listener.name.mtls.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin",
    }
    for listener in ("sasl", "sasl_tls"):
        for mechanism in MECHANISMS:
            found[f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config"] = plain if mechanism == "PLAIN" else scram
    return found


def _scram(passwords: Mapping[str, str]) -> list[str]:
    pairs = [(mechanism, user) for mechanism in MECHANISMS if mechanism != "PLAIN" for user in passwords]
    return [part for mechanism, user in pairs for part in ("--add-scram", f"{mechanism}=[name={user},password={passwords[user]}]")]
