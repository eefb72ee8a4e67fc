"""Source settings: where records come from, and how its client proves who it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from streamkl.app.config_fault import Fault
from streamkl.app.config_model import Model, PlainName, Text, is_file
from streamkl.app.config_secret import SecretSetting

STANDARD_INPUT = "-"
SASL_KEYS = ("mechanism", "username", "password")
TLS_KEYS = ("ca_file", "certificate_file", "key_file", "key_password", "check_hostname")


class Security(Model):
    """How the Kafka client encrypts, and proves who it is."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="ssl: TLS, sasl: user and password. sasl_plaintext sends what PLAIN proves with unencrypted; prefer sasl_ssl."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(None, description="How user and password are sent, with sasl.")
    username: Text | None = Field(None, description="The user, with sasl.")
    password: SecretSetting | None = Field(None, description="The user's password: {env: NAME} or {file: PATH}.")
    ca_file: Text | None = Field(None, description="PEM file of who may sign the broker's certificate. Default: the system's.")
    certificate_file: Text | None = Field(None, description="PEM file of our own certificate, where the broker asks for one.")
    key_file: Text | None = Field(None, description="PEM file of the private key of our certificate.")
    key_password: SecretSetting | None = Field(None, description="What the private key is encrypted with: {env: NAME} or {file: PATH}.")
    check_hostname: bool = Field(True, description="Whether the broker's certificate must be of the host that is asked.")

    def faults(self) -> Iterator[Fault]:
        """Yield settings that do not fit the protocol, and files that are not there."""
        has_sasl, has_tls = self.protocol.startswith("sasl"), self.protocol.endswith("ssl")
        for name in SASL_KEYS:
            if has_sasl and getattr(self, name) is None:
                yield Fault((name,), f"is missing; protocol {self.protocol} proves who we are with mechanism, username and password")
            if not has_sasl and name in self.model_fields_set:
                yield Fault((name,), f"is never sent with protocol {self.protocol}; set protocol to sasl_ssl, or leave it out")
        for name in TLS_KEYS:
            if not has_tls and name in self.model_fields_set:
                yield Fault((name,), f"has no meaning without TLS, protocol is {self.protocol}; set protocol to ssl or sasl_ssl, or leave it out")
        yield from self._files()

    def _files(self) -> Iterator[Fault]:
        if self.key_file is not None and self.certificate_file is None:
            yield Fault(("certificate_file",), "is missing; the key of key_file proves nothing without its certificate")
        if self.certificate_file is not None and self.key_file is None:
            yield Fault(("key_file",), "is missing; a certificate needs its private key")
        if self.key_password is not None and self.key_file is None:
            yield Fault(("key_password",), "opens no key: key_file is missing; set it, or leave key_password out")
        for name in ("ca_file", "certificate_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not is_file(path):
                yield Fault((name,), "is no file that can be read; correct the path, or its rights")


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _server(text: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+):([0-9]{1,5})", text)
    if match is None or not 0 < int(match[2]) < 65_536:
        raise ValueError("must be host:port, e.g. broker:9092; user and password stand under security")
    return text


Servers = Annotated[list[Annotated[str, AfterValidator(_server)]], BeforeValidator(_servers, json_schema_input_type=list[str] | str)]


class KafkaSource(Model):
    """Topics of a Kafka cluster, read as a member of a group."""

    kind: Literal["kafka"] = Field(description="kafka: topics of a Kafka cluster.")
    bootstrap_servers: Servers = Field(min_length=1, description="Brokers to ask first, host:port each.")
    group: PlainName | None = Field(None, description="Consumer group; its members share the partitions. Default: application.")
    instance: PlainName | None = Field(
        None, description="Name of this process within the application, always the same on the same place: the transactional id is "
        "application.instance, and a second process of that name takes the first one's place. Default: the host's name."
    )
    start_at: Literal["earliest", "latest"] = Field("earliest", description="Where a partition begins that the group has no position in.")
    security: Security = Field(default_factory=Security, description="Encryption, user and password.")
    session_timeout_seconds: float = Field(15, ge=1, le=1800, description="A member that was silent for so long has lost its partitions.")
    max_poll_interval_seconds: float = Field(300, ge=10, le=86_400, description="A member that did not poll for so long has lost its partitions.")
    request_timeout_seconds: float = Field(30, ge=1, le=600, description="A request that is not answered for so long has failed.")
    transaction_timeout_seconds: float = Field(
        30, ge=1, le=900, description="The broker ends a unit of work that takes longer. After a crash readers, and who takes over, wait so long."
    )
    poll_records_max: int = Field(2000, ge=1, le=100_000, description="Records that one poll brings at most.")

    def faults(self) -> Iterator[Fault]:
        """Yield time limits that defeat each other."""
        if self.session_timeout_seconds > self.max_poll_interval_seconds:
            yield Fault(("session_timeout_seconds",), f"{self.session_timeout_seconds:g} must not exceed max_poll_interval_seconds "
                        f"{self.max_poll_interval_seconds:g}, else a stuck member is never noticed; lower it")


class FileSource(Model):
    """A file of JSON Lines or CSV, or standard input: one topic with one partition."""

    kind: Literal["file"] = Field(description="file: a file, or standard input.")
    path: Text = Field(description="A file, as seen from where streamkl is started, or - for standard input.")
    format: Literal["jsonl", "csv"] = Field(
        "jsonl", description="jsonl: one JSON object a line; csv: the first line names the columns; gzip of either is recognised."
    )

    @property
    def decoder(self) -> str:
        """What reads its records, unless a module of the operator's own does."""
        return "csv" if self.format == "csv" else "json"

    @property
    def topic(self) -> str:
        """The topic that the file stands for: its name without endings."""
        if self.path == STANDARD_INPUT:
            return "stdin"
        name = os.path.basename(self.path)
        for ending in (".gz", ".jsonl", ".json", ".ndjson", ".csv"):
            name = name.removesuffix(ending)
        return re.sub(r"[^a-zA-Z0-9._-]", "-", name)[:200].strip(".") or "file"

    def faults(self) -> Iterator[Fault]:
        """Yield a file that is not there."""
        if self.path != STANDARD_INPUT and not os.path.exists(self.path):
            yield Fault(("path",), f"{self.path!r} does not exist; correct it, or - for standard input")
        elif self.path != STANDARD_INPUT and (os.path.isdir(self.path) or not os.access(self.path, os.R_OK)):
            yield Fault(("path",), f"{self.path!r} cannot be read; give a file, and the right to read it")


def _kind(source: object) -> object:
    return source.get("kind") if isinstance(source, Mapping) else getattr(source, "kind", None)


Source = Annotated[Annotated[KafkaSource, Tag("kafka")] | Annotated[FileSource, Tag("file")], Discriminator(_kind)]
