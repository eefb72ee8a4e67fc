"""Build correctors: the section `correctors` of a configuration -> what each does, and the subscriptions that call it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from streamkl.app import build, build_subscription
from streamkl.app.config_correctors import (
    AlertmanagerCorrector,
    ChatCorrector,
    CommandCorrector,
    Corrector,
    CustomCorrector,
    LogCorrector,
    RebaselineCorrector,
    WebhookCorrector,
)  # fmt: skip
from streamkl.app.config_fault import did_you_mean
from streamkl.app.config_source import KafkaSource
from streamkl.errors import ConfigError
from streamkl.service.delivery import Corrector as Call
from streamkl.service.health import LIVE_WITHIN_SECONDS, Health, Loop
from streamkl.service.subscription import Subscription

if TYPE_CHECKING:
    from streamkl.app.build_service import Listening
    from streamkl.app.config import Config
    from streamkl.service.metrics import Meter
    from streamkl.service.secret import Secret


class Correcting(NamedTuple):
    """One corrector: its name, what it does with an event, and the subscription that calls it."""

    name: str
    call: Call
    subscription: Subscription


def correctors(config: Config, names: Sequence[str], meter: Meter) -> list[Correcting]:
    """Return the correctors of a configuration. names: of those that are wanted; none: all.

    Raises ConfigError for what only shows when they are made, StateError or Unavailable where a store cannot be used.
    """
    calls = [(entry, corrector(entry, config)) for entry in chosen(config, names)]
    found: list[Correcting] = []
    with ExitStack() as closed_on_error:
        for entry, call in calls:
            found.append(Correcting(entry.name, call, _subscription(config, entry, call, meter)))
            closed_on_error.callback(found[-1].subscription.close)
        closed_on_error.pop_all()
    return found


def chosen(config: Config, names: Sequence[str]) -> list[Corrector]:
    """Return the entries of some names, or all. Raises ConfigError for a name that is not there, and where there is none."""
    known = [entry.name for entry in config.correctors]
    if not known:
        raise ConfigError("there are no correctors in this configuration; add a section correctors, with name and kind of each")
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no corrector {name!r} in this configuration; {did_you_mean(name, known)}")
    return [entry for entry in config.correctors if not names or entry.name in names]


def corrector(entry: Corrector, config: Config) -> Call:
    """Return what an entry does with an event. Raises ConfigError for what only shows when it is made."""
    match entry:
        case WebhookCorrector():
            from streamkl.adapters.webhook import Webhook

            secrets = [secret.reveal() for secret in entry.secrets]
            return Webhook(entry.url, secrets, timeout_seconds=entry.timeout_seconds, ca_file=entry.ca_file, authorization=_text(entry.authorization))
        case AlertmanagerCorrector():
            from streamkl.adapters.alertmanager import Alertmanager

            return Alertmanager(
                entry.url, application=config.application, alertname=entry.alertname, severity=entry.severity, labels=entry.labels,
                ends_after_hours=entry.ends_after_hours, timeout_seconds=entry.timeout_seconds, ca_file=entry.ca_file,
                authorization=_text(entry.authorization), is_silenced_too=entry.is_silenced_too,
            )  # fmt: skip
        case ChatCorrector():
            from streamkl.adapters.chat import Chat

            return Chat(entry.url.reveal(), timeout_seconds=entry.timeout_seconds, ca_file=entry.ca_file)
        case CommandCorrector():
            from streamkl.adapters.command import Command

            given = {"timeout_seconds": entry.timeout_seconds, "never_again": entry.never_again}
            return Command(entry.arguments, **given, environment=entry.environment, folder=entry.folder)  # type: ignore[arg-type]
        case LogCorrector():
            from streamkl.adapters.log import Log

            return Log()
        case RebaselineCorrector():
            from streamkl.adapters.rebaseline import Rebaseline
            from streamkl.app.build_control import LateSender

            return Rebaseline(
                LateSender(config), by=config.group_of(entry), after_seconds=entry.after_seconds, per_day=entry.per_day,
                per_stream_per_day=entry.per_stream_per_day, reason=entry.reason,
            )  # fmt: skip
        case CustomCorrector():
            return _own(entry)
    raise AssertionError(entry.kind)


def server(config: Config, meter: object, loop: Loop) -> Listening | None:
    """Return what answers on the port of the correctors, None: nothing does. Raises ConfigError where the port is taken."""
    from streamkl.adapters.prometheus import MetricsServer, PrometheusMeter

    monitoring = config.monitoring
    if monitoring.correctors_port is None:
        return None
    assert isinstance(meter, PrometheusMeter)
    return MetricsServer(meter, Health(loop, LIVE_WITHIN_SECONDS), monitoring.host, monitoring.correctors_port)


def meter() -> Meter:
    """Return what counts."""
    from streamkl.adapters.prometheus import PrometheusMeter

    return PrometheusMeter()


def _subscription(config: Config, entry: Corrector, call: Call, meter: Meter) -> Subscription:
    settings = {name: getattr(entry, name) for name in ("attempts", "retry_seconds", "first_wait_seconds", "store", "dead_letters", "start_at")}
    security = build.security_of(config.source) if isinstance(config.source, KafkaSource) else None
    is_silenced_too = entry.is_silenced_too or isinstance(entry, AlertmanagerCorrector)  # which has to end what it raised
    return build_subscription.subscription(
        config.events_url, config.group_of(entry), call, streams=entry.streams, kinds=entry.kinds, min_divergence=entry.min_divergence,
        is_silenced_too=is_silenced_too, timeout_seconds=entry.hang_seconds, security=security, meter=meter, **settings,
    )  # fmt: skip


def _own(entry: CustomCorrector) -> Call:
    """Return the operator's own corrector: the class that has its module's name, made with its settings."""
    name = "".join(part.capitalize() for part in entry.kind.rsplit(".", 1)[-1].split("_"))
    try:
        made = getattr(importlib.import_module(entry.kind), name)
    except (ImportError, AttributeError) as error:
        why = f"there is no class {name} in the module {entry.kind} ({error})"
        raise ConfigError(f"corrector {entry.name}: {why}; correct kind, or the module") from None
    secrets = {key: secret.reveal() for key, secret in entry.secrets.items()}
    try:
        call: Call = made(**entry.settings, **secrets)
    except TypeError as error:
        raise ConfigError(f"corrector {entry.name}: {entry.kind} does not take these settings: {error}; correct settings") from None
    return call


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
