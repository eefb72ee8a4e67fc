"""Subscribe: a function of yours that is called with each drift event it asked for.

Rule 1: the function stays a function; settings are checked where it is decorated, and nothing is opened before its first run.
Rule 2: `run` in the main thread ends in order on the first SIGTERM or Ctrl-C: what is on its way is finished; the second one ends at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from streamkl.app import build_subscription
from streamkl.app.build_subscription import Wanted
from streamkl.app.stop_signal import stopped_by_signals
from streamkl.detect.event import DriftEvent
from streamkl.service.subscription import Subscription

Result = TypeVar("Result")


class Subscribed(Generic[Result]):
    """A function with a subscription of its own."""

    def __init__(self, function: Callable[[DriftEvent], Result], wanted: Wanted) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._wanted = wanted
        self._subscription: Subscription | None = None

    def __call__(self, event: DriftEvent) -> Result:
        """Call the function, and nothing else."""
        return self._function(event)

    @property
    def subscription(self) -> Subscription:
        """The subscription; it is made by the first look at it, and again after `close`."""
        if self._subscription is None:
            self._subscription = build_subscription.made(self._wanted)
        return self._subscription

    def run(self) -> None:
        """Call the function with each event that comes, until `stop`, SIGTERM or Ctrl-C; then close."""
        subscription = self.subscription
        try:
            with stopped_by_signals(lambda _: subscription.stop()):
                subscription.run()
        finally:
            self.close()

    def run_once(self, timeout_seconds: float = 1.0) -> int:
        """Call the function with each event that is there now, and return how many were dealt with. See `Subscription.run_once`."""
        return self.subscription.run_once(timeout_seconds)

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        if self._subscription is not None:
            self._subscription.stop()

    def close(self) -> None:
        """Let go of what is held open; the next run goes on where this one ended."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()


def subscribe(url: str, *, group: str, **settings: Any) -> Callable[[Callable[[DriftEvent], Result]], Subscribed[Result]]:
    """Subscribe a function to the drift events of a URL: kafka://HOST:PORT/TOPIC, sqlite:///PATH or file:///PATH.

    group: whose position it is; two functions of one group share its events, those of two groups each get all. Each event comes at least once, in
    order per stream; one that was dealt with does not come again. A function that raises is called again, with growing pauses; after `attempts` or
    `retry_seconds`, or at once where it raises RecordError, the event is a dead letter and the next one comes.
    settings: streams, kinds, min_divergence, attempts, timeout_seconds and others: see `build_subscription.wanted`. Raises ConfigError.

    >>> import os, tempfile, streamkl
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "events.jsonl")
    >>> detector = streamkl.Detector(reference=list(range(1000)), name="payments/amount", false_alarms="1 per 1000 events")
    >>> with open(path, "w") as file:
    ...     _ = file.writelines(event.to_json() + "\\n" for event in detector.update_many(list(range(500, 1000)) * 2))
    >>> @streamkl.subscribe(f"file://{path}", group="retrainer", streams="payments/*", kinds=["drift.raised"])
    ... def retrain(event):
    ...     print(event.kind, event.stream)
    >>> retrain.run_once()
    drift.raised payments/amount
    1
    >>> retrain.run_once(timeout_seconds=0)
    0
    >>> retrain.close(); folder.cleanup()
    """

    def subscribed(function: Callable[[DriftEvent], Result]) -> Subscribed[Result]:
        return Subscribed(function, build_subscription.wanted(url, group, function, **settings))

    build_subscription.wanted(url, group, None, **settings)      # refused at the line that is wrong
    return subscribed
