"""Correctors settings: who is told of which drift events, and what he does about them.

Rule 1: an entry is a subscription and what it calls; `kind` is the module of that in `adapters/`, a dotted one is the operator's own.
Rule 2: a secret stands in the environment or in a file; the process that detects needs none of them, and never reads this section.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from streamkl.app.config_fault import Fault, Path
from streamkl.app.config_model import Model, PlainName, Text, Topic, is_file
from streamkl.app.config_secret import SecretSetting
from streamkl.errors import ConfigError
from streamkl.service.alert_labels import label_fault
from streamkl.service.event_filter import event_filter
from streamkl.service.secret import Secret
from streamkl.service.web_url import web_url
from streamkl.service.webhook_signature import key_of

EPISODES: Final = ("drift.raised", "drift.resolved", "reference.rebaselined")
ALERTS: Final = (*EPISODES, "stream.silenced", "stream.unsilenced", "stream.forgotten")
CUSTOM: Final = "custom"
HANG_SECONDS: Final = 15.0
"""A corrector that keeps a deadline of its own is given up so much later."""

Kind = Literal[
    "drift.raised", "drift.resolved", "reference.learned", "reference.rebaselined", "stream.silenced", "stream.unsilenced", "stream.forgotten"
]  # fmt: skip


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _url(text: str) -> str:
    web_url(text)
    return text


Names = Annotated[list[Text], BeforeValidator(_listed, json_schema_input_type=list[str] | str)]
Url = Annotated[str, AfterValidator(_url)]
Urls = Annotated[list[Url], BeforeValidator(_listed, json_schema_input_type=list[str] | str)]


class Corrector(Model):
    """What every corrector has: a subscription of its own."""

    name: PlainName = Field(description="Names it: its group is application.name, and has a position of its own.")
    kind: str = Field(description="webhook, alertmanager, chat, command, rebaseline, log, or the dotted name of your own module.")
    streams: Names = Field(["*"], min_length=1, description="Streams by name; * stands for anything.")
    kinds: list[Kind] = Field(list(EPISODES), min_length=1, description="Kinds of drift events.")
    min_divergence: float | Mapping[str, float] | None = Field(
        None, description="Least KL in nats that an alarm must have, or measure: least value. Ends of episodes come whatever they have."
    )
    is_silenced_too: bool = Field(False, description="Also events of streams that somebody silenced.")
    attempts: int = Field(8, ge=1, le=1000, description="So often one event is tried before it is a dead letter.")
    retry_seconds: float = Field(60, ge=0.001, le=86_400, description="So long one event is tried before it is a dead letter.")
    first_wait_seconds: float = Field(0.1, ge=0, le=3600, description="The pause after the first attempt; it doubles with each.")
    timeout_seconds: float = Field(60, gt=0, le=3600, description="So long one attempt may take.")
    start_at: Literal["earliest", "latest"] = Field("earliest", description="Where a new corrector begins: at the oldest event, or at the next one.")
    dead_letters: Topic | None = Field(None, description="Of Kafka. Default: TOPIC.APPLICATION.NAME.dead-letters, if it exists, else the store.")
    store: Text | None = Field(None, description="File of what was dealt with. Default: beside a SQLite state, else below $XDG_STATE_HOME/streamkl.")

    @property
    def hang_seconds(self) -> float:
        """How long a call may take before it is left alone."""
        return self.timeout_seconds + HANG_SECONDS

    def secrets_of(self) -> Iterator[Secret]:
        """Yield every secret below this entry."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            yield from (one for one in inner if isinstance(one, Secret))

    def faults(self) -> Iterator[Fault]:
        """Yield what the parts of an entry cannot be together."""
        try:
            event_filter(self.streams, self.kinds, self.min_divergence)
        except ConfigError as error:
            yield Fault(("min_divergence",), str(error).removeprefix("min_divergence: "))
        for name, path in (("ca_file", getattr(self, "ca_file", None)),):
            if path is not None and not is_file(path):
                yield Fault((name,), "is no file that can be read; correct the path, or its rights")
        if self.store is not None and not os.path.isdir(os.path.dirname(self.store) or "."):
            yield Fault(("store",), f"{self.store!r} cannot be a file there; give one in a folder that exists")


class WebhookCorrector(Corrector):
    """Posts each event to a URL, signed as Standard Webhooks say."""

    kind: Literal["webhook"] = Field(description="webhook: a signed POST.")
    url: Url = Field(description="Where to post: http or https, without user and password.")
    secrets: list[SecretSetting] = Field(min_length=1, max_length=5, description="whsec_<base64> each, newest first: {env: NAME} or {file: PATH}.")
    authorization: SecretSetting | None = Field(None, description="A whole Authorization header: {env: NAME} or {file: PATH}.")
    ca_file: Text | None = Field(None, description="PEM file of who may sign the receiver's certificate. Default: the system's.")
    timeout_seconds: float = Field(10, gt=0, le=3600, description="So long one attempt may take, redirects and all.")

    def faults(self) -> Iterator[Fault]:
        """Yield secrets that cannot sign."""
        yield from super().faults()
        for number, secret in enumerate(self.secrets):
            yield from _refused(("secrets", number), lambda secret=secret: key_of(secret.reveal()))


class AlertmanagerCorrector(Corrector):
    """Raises and ends alerts of Prometheus' Alertmanager: one for each stream that drifts."""

    kind: Literal["alertmanager"] = Field(description="alertmanager: Prometheus' Alertmanager, by its v2 API.")
    url: Urls = Field(min_length=1, max_length=10, description="Of one Alertmanager, or a list of all that form a cluster.")
    kinds: list[Kind] = Field(list(ALERTS), min_length=1, description="Kinds of drift events; an alert that was raised needs those that end it.")
    alertname: Text = Field("StreamDrift", description="Label alertname.")
    severity: Text = Field("warning", description="Label severity.")
    labels: Mapping[Text, Text] = Field(default_factory=dict, description="More labels, the same for all alerts.")
    ends_after_hours: float = Field(720, gt=0, le=87_600, description="An alert that nothing ended ends after so long.")
    authorization: SecretSetting | None = Field(None, description="A whole Authorization header: {env: NAME} or {file: PATH}.")
    ca_file: Text | None = Field(None, description="PEM file of who may sign its certificate. Default: the system's.")
    timeout_seconds: float = Field(10, gt=0, le=3600, description="So long one attempt may take, over all of them together.")

    def faults(self) -> Iterator[Fault]:
        """Yield labels that Alertmanager would not take, and kinds that raise what nothing ends."""
        yield from super().faults()
        for name in self.labels:
            if sentence := label_fault(name):
                yield Fault(("labels", name), sentence)
        if "drift.raised" in self.kinds and (missing := [kind for kind in EPISODES if kind not in self.kinds]):
            yield Fault(("kinds",), f"has drift.raised without {' and '.join(missing)}, so that alerts would stay when an episode ends; add that")


class ChatCorrector(Corrector):
    """Posts a sentence to a channel, by an incoming webhook of Slack, Mattermost, Teams or what takes {"text": ...} too."""

    kind: Literal["chat"] = Field(description="chat: an incoming webhook that takes a text.")
    url: SecretSetting = Field(description="Of the incoming webhook, which is a password of its own: {env: NAME} or {file: PATH}.")
    ca_file: Text | None = Field(None, description="PEM file of who may sign its certificate. Default: the system's.")
    timeout_seconds: float = Field(10, gt=0, le=3600, description="So long one attempt may take, redirects and all.")

    def faults(self) -> Iterator[Fault]:
        """Yield a secret that is no URL."""
        yield from super().faults()
        yield from _refused(("url",), lambda: web_url("".join(self.url.reveal())))


class CommandCorrector(Corrector):
    """Runs a program for each event, which reads it from standard input as JSON."""

    kind: Literal["command"] = Field(description="command: a program of yours.")
    arguments: list[Annotated[str, Field(max_length=10_000)]] = Field(min_length=1, description="The program and its arguments; no shell reads them.")
    never_again: Annotated[int, Field(ge=1, le=255)] | None = Field(65, description="Exit code that refuses an event for good; null: none does.")
    environment: list[Text] = Field(default_factory=list, description="Names of variables that it gets besides PATH, HOME, LANG, LC_*, TZ, TMPDIR.")
    folder: Text | None = Field(None, description="Where it is started. Default: where streamkl was.")

    def faults(self) -> Iterator[Fault]:
        """Yield a program or a folder that is not there."""
        yield from super().faults()
        if self.folder is not None and not os.path.isdir(self.folder):
            yield Fault(("folder",), f"{self.folder!r} is no folder; correct it")
        elif shutil.which(os.path.join(self.folder or "", self.arguments[0]) if os.sep in self.arguments[0] else self.arguments[0]) is None:
            yield Fault(("arguments", 0), "is no program that can be run; give its path")


class RebaselineCorrector(Corrector):
    """Accepts the new normal of streams whose drift lasts, within limits."""

    kind: Literal["rebaseline"] = Field(description="rebaseline: accepts the new normal of what drifts on, by the control topic.")
    kinds: list[Kind] = Field(["drift.raised"], min_length=1, description="It acts on drift.raised alone.")
    after_seconds: float = Field(86_400, ge=0, le=31_622_400, description="Only where the episode is still open so long after the alarm.")
    per_day: int = Field(20, ge=1, le=100_000, description="New normals of all streams within a day; beyond it the alarm becomes a dead letter.")
    per_stream_per_day: int = Field(1, ge=1, le=1000, description="New normals of one stream within a day.")
    reason: Text = Field("the drift lasts, and is accepted as the new normal", description="Why; it stands in the events.")


class LogCorrector(Corrector):
    """Logs each event."""

    kind: Literal["log"] = Field(description="log: a line of the log.")


class CustomCorrector(Corrector):
    """Calls the operator's own."""

    kind: str = Field(
        pattern=r"\.", description="A module of yours, my_package.my_corrector: its class MyCorrector is made with settings and secrets as keywords."
    )
    settings: Mapping[str, Any] = Field(default_factory=dict, description="Keywords of your class.")
    secrets: Mapping[str, SecretSetting] = Field(default_factory=dict, description="More keywords that never show: {env: NAME} or {file: PATH}.")

    def faults(self) -> Iterator[Fault]:
        """Yield a module that is not there, and a keyword that is given twice."""
        yield from super().faults()
        if not _is_module(self.kind):
            yield Fault(("kind",), f"there is no module {self.kind!r}; correct it, or install what brings it")
        for name in self.settings:
            if name in self.secrets:
                yield Fault(("settings", name), "stands under secrets too; remove one")


def kind_of(entry: object) -> object:
    """Return which model an entry is of; a dotted kind is the operator's own."""
    kind = entry.get("kind") if isinstance(entry, Mapping) else getattr(entry, "kind", None)
    return CUSTOM if isinstance(kind, str) and "." in kind else kind


CorrectorEntry = Annotated[
    Annotated[WebhookCorrector, Tag("webhook")] | Annotated[AlertmanagerCorrector, Tag("alertmanager")] | Annotated[ChatCorrector, Tag("chat")]
    | Annotated[CommandCorrector, Tag("command")] | Annotated[LogCorrector, Tag("log")]
    | Annotated[RebaselineCorrector, Tag("rebaseline")] | Annotated[CustomCorrector, Tag(CUSTOM)],
    Discriminator(kind_of),
]  # fmt: skip


def _refused(path: Path, check: Any) -> Iterator[Fault]:
    try:
        check()
    except ConfigError as error:
        yield Fault(path, str(error))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
