"""Delivery telemetry: every log event and metric of a subscription, declared once.

Rule 1: a log event is `noun.verb_past`; an event is told by its id, kind and stream, never by its data.
Rule 2: what is delivered is `info`, an attempt that failed `warning`, what ends as a dead letter `error`; what is left out is `debug`.
Rule 3: where nobody has configured structlog, everything goes to the logger "streamkl" of the standard library, which is quiet below `warning`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import structlog

from streamkl.detect.event import DriftEvent
from streamkl.service.delivery import News
from streamkl.service.incoming import Undelivered
from streamkl.service.metrics import Meter
from streamkl.service.record import Partition


class DeliveryTelemetry:
    """What one subscription tells. name: of the subscription, a label of its metrics."""

    def __init__(self, name: str, meter: Meter | None = None) -> None:
        self._name = name
        self._meter = meter
        self._log: Any = _logger()
        self._returned = False
        self._foreign = 0

    # ------------------------------------------------------------ the subscription

    def started(self, feed: str, store: str) -> None:
        """It begins. feed: where events come from; store: where it keeps what it dealt with."""
        self._log.info("subscription.started", subscription=self._name, feed=feed, store=store)

    def stopped(self, reason: str) -> None:
        """It ends; what is not dealt with comes again."""
        self._log.info("subscription.stopped", subscription=self._name, reason=reason)

    def failed(self, reason: str) -> None:
        """It cannot go on."""
        self._log.error("subscription.failed", subscription=self._name, reason=reason)

    def unavailable(self, reason: str, retry_seconds: float) -> None:
        """Something outside is away: the place of events, the store, or that of dead letters."""
        if self._meter is not None:
            self._meter.count("streamkl_unavailable_total", what="subscription")
        self._log.warning("outside.failed", subscription=self._name, what="subscription", reason=reason, retry_seconds=round(retry_seconds, 3))

    def rebalanced(self, gained: Sequence[Partition], lost: Sequence[Partition]) -> None:
        """The group gave us partitions, or took some."""
        told = {"gained": list(map(str, gained)), "lost": list(map(str, lost))}
        self._log.info("subscription.rebalanced", subscription=self._name, **told)

    def replaced(self, reason: str) -> None:
        """The place of events is another one than before, and is read from its start; what was dealt with is known by its id."""
        self._log.warning("feed.replaced", subscription=self._name, reason=reason)

    # ------------------------------------------------------------ events

    def delivered(self, event: DriftEvent, news: News) -> None:
        """The corrector took an event; seconds: from the first attempt on, pauses included."""
        self._count("delivered")
        self._timed(news)
        self._log.info("event.delivered", **self._of(event), attempts=news.attempts, seconds=round(news.seconds, 4))
        if news.returned and not self._returned:
            self._returned = True
            self._log.warning("corrector.returned_something", subscription=self._name, type=news.returned, advice="what it returns is ignored")

    def acknowledged(self, event: DriftEvent) -> None:
        """Whoever polls says that an event is dealt with."""
        self._count("delivered")
        self._log.info("event.acknowledged", **self._of(event))

    def attempt_failed(self, event: DriftEvent, news: News) -> None:
        """An attempt failed, and another one follows."""
        self._count("retried")
        self._log.warning("delivery.failed", **self._of(event), attempt=news.attempts, reason=news.reason, where=news.where)

    def given_up(self, event: DriftEvent, reason: str) -> None:
        """An event was not delivered, and comes again."""
        self._log.warning("delivery.postponed", **self._of(event), reason=reason)

    def buried(self, letter: Undelivered, news: News | None, place: str, advice: str) -> None:
        """An event, or what should be one, is a dead letter now. advice: what the operator should do about the place of it."""
        self._count("dead_lettered")
        if news is not None:
            self._timed(news)
        event, record = letter.incoming.event, letter.incoming.record
        what = {"subscription": self._name, "record": f"{letter.incoming.partition} {record.offset}"} if event is None else self._of(event)
        why = {"reason": letter.reason, "attempts": letter.attempts, **({"where": news.where} if news and news.where else {})}
        self._log.error("event.dead_lettered", **what, **why, place=place, **({"advice": advice} if advice else {}))

    def repeated(self, event: DriftEvent) -> None:
        """An event came again that was dealt with: it is left out."""
        self._count("repeated")
        self._log.debug("event.repeated", **self._of(event))

    def filtered(self, event: DriftEvent) -> None:
        """An event is not what the subscription asks for."""
        self._count("filtered")
        self._log.debug("event.filtered", **self._of(event))

    def foreign(self, partition: Partition, offset: int) -> None:
        """A message is no drift event of ours; said at the 1st, 2nd, 4th, 8th ... time."""
        self._count("foreign")
        self._foreign += 1
        if self._foreign & (self._foreign - 1) == 0:
            self._log.warning("message.ignored", subscription=self._name, partition=str(partition), offset=offset, so_far=self._foreign)

    def _of(self, event: DriftEvent) -> dict[str, object]:
        return {"subscription": self._name, "id": event.id, "kind": event.kind, "stream": event.stream}

    def _count(self, outcome: str) -> None:
        if self._meter is not None:
            self._meter.count("streamkl_deliveries_total", subscription=self._name, outcome=outcome)

    def _timed(self, news: News) -> None:
        if self._meter is not None:
            self._meter.observe("streamkl_delivery_seconds", news.seconds, subscription=self._name)


def _logger() -> Any:
    if structlog.is_configured():
        return structlog.get_logger("streamkl")
    render = structlog.processors.KeyValueRenderer(key_order=["event"])
    before: list[Any] = [structlog.stdlib.filter_by_level, render]
    return structlog.wrap_logger(logging.getLogger("streamkl"), processors=before, wrapper_class=structlog.stdlib.BoundLogger)
