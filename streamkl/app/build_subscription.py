"""Build subscription: a URL, a group and a corrector -> a Subscription.

Rule 1: a wrong setting is refused before a file is opened or a broker is reached.
Rule 2: unless `store` says where, the store lies beside the file that is read; for Kafka below $XDG_STATE_HOME, or ~/.local/state.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from streamkl.app import build
from streamkl.app.event_place import EventPlace, event_place
from streamkl.errors import ConfigError
from streamkl.service.delivery import Corrector, Delivery, Retry, refusal
from streamkl.service.delivery_telemetry import DeliveryTelemetry
from streamkl.service.event_filter import EventFilter, event_filter
from streamkl.service.subscription import Subscription

if TYPE_CHECKING:
    from streamkl.adapters.kafka_client import Security
    from streamkl.service.metrics import Meter
    from streamkl.service.ports import DeadLetters, EventFeed

GROUP: Final = re.compile(r"[a-zA-Z0-9._-]{1,100}")
TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
NAME_MAX: Final = 200
LONGEST_SECONDS: Final = 86_400.0


class Wanted(NamedTuple):
    """A subscription before it is made: all of it is checked, nothing is open."""

    place: EventPlace
    group: str
    corrector: Corrector | None
    filter: EventFilter
    retry: Retry
    timeout_seconds: float
    store: str
    dead_letters: str | None
    start_at: Literal["earliest", "latest"]
    instance: str
    security: Security | None
    meter: Meter | None


def subscription(url: str, group: str, corrector: Corrector | None = None, **settings: Any) -> Subscription:
    """Return a subscription to the drift events of a URL: kafka://HOST:PORT[,HOST:PORT]/TOPIC, sqlite:///PATH or file:///PATH.

    group: its name; each group has a position of its own. corrector: is called with each event, one after the other; None: use `poll` and `ack`.
    settings: of `wanted`. Raises ConfigError for a wrong setting, StateError where the store is damaged or in use, Unavailable where it cannot
    be written. Close it when it is not needed any more.
    """
    return made(wanted(url, group, corrector, **settings))


def wanted(
    url: str,
    group: str,
    corrector: Corrector | None = None,
    *,
    streams: str | Sequence[str] = "*",
    kinds: str | Sequence[str] | None = None,
    min_divergence: float | Mapping[str, float] | None = None,
    is_silenced_too: bool = False,
    attempts: int = 8,
    retry_seconds: float = 60.0,
    first_wait_seconds: float = 0.1,
    timeout_seconds: float = 60.0,
    store: str | os.PathLike[str] | None = None,
    dead_letters: str | None = None,
    start_at: Literal["earliest", "latest"] = "earliest",
    instance: str = "",
    config: str | os.PathLike[str] | None = None,
    security: Security | None = None,
    meter: Meter | None = None,
) -> Wanted:
    """Return what is asked for, checked. Raises ConfigError.

    streams: a glob or some, of which one matches. kinds: those of drift events; None: all. min_divergence: least KL in nats of an alarm, or measure
    -> least; see `event_filter.py`. attempts, retry_seconds: how often, and for how long, one event is tried before it is a dead letter; pauses
    begin with first_wait_seconds and double. timeout_seconds: a call of the corrector that takes longer is left alone. store: path of the store.
    dead_letters: a topic of Kafka; None: `<topic>.<group>.dead-letters` where that is there, else the store. start_at: where a new group
    begins. instance: name of this process among those of its group: when it starts anew it takes the place of the one that was killed at once,
    and not after ten seconds. config: path of a configuration, for its security settings; security: those themselves. meter: what counts.
    """
    place = event_place(url)
    if not isinstance(group, str) or not GROUP.fullmatch(group):
        raise ConfigError(f"group={group!r}: give it a name of letters, digits, dots, dashes and underscores, at most 100")
    if corrector is not None and (why := refusal(corrector)):
        raise ConfigError(f"the corrector of group {group}: {why}")
    retry = Retry(_attempts(attempts), _seconds("retry_seconds", retry_seconds), _seconds("first_wait_seconds", first_wait_seconds, 0.0))
    retry = retry._replace(jitter_seconds=min(retry.jitter_seconds, 10 * retry.first_wait_seconds))
    if start_at not in ("earliest", "latest"):
        raise ConfigError(f'start_at={start_at!r}: use "earliest" or "latest"')
    if place.kind != "kafka" and (dead_letters or config or security or instance):
        raise ConfigError(f"dead_letters, instance, config and security are for Kafka; leave them out of a subscription to {url}")
    if instance and not (isinstance(instance, str) and GROUP.fullmatch(instance)):
        raise ConfigError(f"instance={instance!r}: give it a name of letters, digits, dots, dashes and underscores, at most 100")
    if dead_letters is not None and not (isinstance(dead_letters, str) and TOPIC.fullmatch(dead_letters)):
        raise ConfigError(f"dead_letters={dead_letters!r} is no name of a topic")
    if store is not None and not isinstance(store, str | os.PathLike):
        raise ConfigError(f"store={store!r}: give the path of a file")
    if config is not None:
        security = build.security(os.fspath(config))
    return Wanted(
        place, group, corrector, event_filter(streams, kinds, min_divergence, is_silenced_too), retry, _seconds("timeout_seconds", timeout_seconds),
        os.fspath(store) if store is not None else default_store(place, group), dead_letters, start_at, instance, security, meter,
    )  # fmt: skip


def made(given: Wanted) -> Subscription:
    """Return the subscription; its store is opened, and nothing else."""
    from streamkl.adapters.delivery_store import DeliveryFile

    place = given.place
    where = f"{','.join(place.servers)}/{place.topic}" if place.kind == "kafka" else os.path.realpath(place.path)
    store = DeliveryFile(given.store, given.group, where, is_shared=place.kind == "kafka")
    feed: EventFeed
    letters: DeadLetters = store
    if place.kind == "sqlite":
        from streamkl.adapters.sqlite_subscription import SqliteFeed

        feed = SqliteFeed(where, store, is_latest=given.start_at == "latest")
    elif place.kind == "file":
        from streamkl.adapters.file_subscription import FileFeed

        feed = FileFeed(where, store, is_latest=given.start_at == "latest")
    else:
        from streamkl.adapters.kafka_client import NO_SECURITY, client_settings
        from streamkl.adapters.kafka_subscription import KafkaFeed
        from streamkl.adapters.kafka_undelivered import KafkaUndelivered

        settings = client_settings(place.servers, given.security or NO_SECURITY, f"streamkl-{given.group}")
        feed = KafkaFeed(settings, place.topic, given.group, start_at=given.start_at, instance=given.instance)
        default = f"{place.topic}.{given.group}.dead-letters"
        letters = KafkaUndelivered(settings, given.dead_letters or default, None if given.dead_letters else store)
    delivery = None if given.corrector is None else Delivery(given.corrector, given.retry, given.timeout_seconds)
    return Subscription(given.group, feed, store, letters, given.filter, delivery, DeliveryTelemetry(given.group, given.meter))


def default_store(place: EventPlace, group: str) -> str:
    """Return where the store of a group lies.

    >>> default_store(EventPlace("sqlite", path="/data/state.db"), "retrainer")
    '/data/state.db.retrainer.subscription'
    """
    if place.kind != "kafka":
        return f"{place.path}.{group}.subscription"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    servers = ",".join(place.servers)
    name = f"{re.sub('[^a-zA-Z0-9._-]', '_', servers)}-{place.topic}"
    if len(name) > NAME_MAX - len(group):
        name = f"{place.topic[: NAME_MAX - len(group) - 17]}-{hashlib.sha256(f'{servers}/{place.topic}'.encode()).hexdigest()[:16]}"
    return os.path.join(state, "streamkl", f"{name}.{group}.subscription")


def _attempts(given: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ConfigError(f"attempts={given!r}: give a whole number of at least 1")
    return given


def _seconds(name: str, given: float, least: float = 0.001) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= LONGEST_SECONDS:
        raise ConfigError(f"{name}={given!r}: give seconds from {least:g} to {LONGEST_SECONDS:g}")
    return float(given)
