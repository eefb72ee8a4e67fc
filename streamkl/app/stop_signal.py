"""Stop signal: the first SIGTERM or Ctrl-C asks for an end in order, a second one ends at once.

Rule: one that comes within ONCE_SECONDS of the first is the first once more: `timeout` and some supervisors send it to the process and to its group.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Final

from streamkl.app.exit_code import Terminated

ONCE_SECONDS: Final = 1.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Let signals call `stop` with their name; outside of the main thread they are somebody else's. A second one: Terminated, KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    first_at: list[float] = []

    def take(number: int, frame: FrameType | None) -> None:
        if not first_at:
            first_at.append(monotonic())
            stop(signal.Signals(number).name)
        elif monotonic() - first_at[0] > ONCE_SECONDS:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    for number in SIGNALS:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
