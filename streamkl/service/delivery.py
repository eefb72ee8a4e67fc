"""Delivery: one event to one corrector, tried again with growing pauses until it is taken or given up.

Rule 1: a corrector is somebody else's code and may raise anything: here alone, beside the command line, everything is caught. It runs on a thread of
its own, so that whoever waits stays in its group, hears a stop, and sees that a call hangs.
Rule 2: RecordError is never tried again, whatever else is raised is, within attempts and seconds. A call that hangs is not tried again, as it
may act still: it is left alone, and a new thread takes the next event.
Rule 3: news comes back as values; nothing here logs, counts or stores.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final, Literal, NamedTuple

import stamina
from stamina.instrumentation import RetryDetails, RetryHook, get_on_retry_hooks, set_on_retry_hooks

from streamkl.detect.event import DriftEvent
from streamkl.errors import RecordError, StreamklError, Unavailable

Corrector = Callable[[DriftEvent], object]
MOST_HANGING: Final = 8
REASON_CHARACTERS: Final = 500


class Retry(NamedTuple):
    """How often and how long one event is tried: attempts in all; seconds in which a new attempt may begin; pauses double from the first to the
    longest, and random seconds, at most `jitter_seconds`, are added, so that many who failed together do not come back together."""

    attempts: int = 8
    seconds: float = 60.0
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 10.0
    jitter_seconds: float = 1.0


class News(NamedTuple):
    """What became of an attempt. "failed": another one follows. "delivered", "refused" (never to be tried again), "exhausted" and "hung" are the end,
    and so is "given_up": nothing is known but that the event is not delivered. where: the line that raised. returned: type of a useless result."""

    kind: Literal["failed", "delivered", "refused", "exhausted", "hung", "given_up"]
    attempts: int
    seconds: float = 0.0
    reason: str = ""
    where: str = ""
    returned: str = ""


class _GivenUp(Exception):
    """No further attempt is wanted."""


class _Ended(Exception):
    """The corrector wanted to end the process; reason: in which words."""


class _Job:
    """One event on its way; written by the worker, read by who waits."""

    def __init__(self, event: DriftEvent) -> None:
        self.event = event
        self.news: SimpleQueue[News] = SimpleQueue()
        self.attempts = 0
        self.began_at: float | None = None        # monotonic seconds of the attempt that runs
        self.is_given_up = False


class Delivery:
    """Delivers one event at a time. timeout_seconds: after which a call hangs.

    >>> event = DriftEvent("drift.raised", "a", 7, 7, None, 1, 2e6, 1e6, "exact", {}, (), (), 100, 600)
    >>> seen = []
    >>> delivery = Delivery(seen.append, Retry(), timeout_seconds=60.0)
    >>> delivery.begin(event)
    >>> delivery.news(10.0).kind, seen == [event]
    ('delivered', True)
    >>> delivery.close()
    """

    def __init__(self, corrector: Corrector, retry: Retry, timeout_seconds: float) -> None:
        self._corrector = corrector
        self._retry = retry
        self._timeout_seconds = timeout_seconds
        self._job: _Job | None = None
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hanging: list[threading.Thread] = []
        _leave_to_others()

    @property
    def is_running(self) -> bool:
        """Whether the corrector is at work at this moment, and not waiting for its next attempt."""
        return self._job is not None and self._job.began_at is not None

    @property
    def has_news(self) -> bool:
        """Whether `news` has something to tell at once."""
        return self._job is not None and not self._job.news.empty()

    def begin(self, event: DriftEvent) -> None:
        """Hand over an event; the one before must have come to an end. Raises Unavailable while too many calls hang."""
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= MOST_HANGING:
            raise Unavailable(
                f"{len(self._hanging)} calls of the corrector hang, each for more than {self._timeout_seconds:g} s; "
                "no event is delivered until one of them ends: give the corrector timeouts of its own, or start it anew"
            )
        if self._thread is None:
            self._inbox = SimpleQueue()
            self._thread = threading.Thread(target=self._work, args=(self._inbox,), name="delivery", daemon=True)
            self._thread.start()
        self._job = _Job(event)
        self._inbox.put(self._job)

    def news(self, timeout_seconds: float) -> News | None:
        """Return what became of an attempt, None: nothing yet. Waits at most so long."""
        job = self._job
        assert job is not None, "nothing was begun"
        found: News | None
        try:
            found = job.news.get(timeout=timeout_seconds)
        except Empty:
            found = self._hung(job)
        if found is not None and found.kind != "failed":
            self._job = None
        return found

    def give_up(self) -> None:
        """Let no further attempt begin; a call that runs goes on, and `news` tells its end."""
        if self._job is not None:
            self._job.is_given_up = True

    def leave(self) -> None:
        """Wait no longer for what runs: its thread is left alone, as if it hung."""
        self.give_up()
        if self._job is not None and self._thread is not None:
            self._inbox.put(None)
            self._hanging.append(self._thread)
            self._job, self._thread = None, None

    def close(self) -> None:
        """End the thread, at once where nothing runs; a call that runs is left alone."""
        self.leave()
        if self._thread is not None:
            self._inbox.put(None)
            self._thread = None

    def _hung(self, job: _Job) -> News | None:
        began_at = job.began_at
        if began_at is None or (seconds := monotonic() - began_at) < self._timeout_seconds:
            return None
        attempts = job.attempts
        self.leave()
        reason = f"the call did not return within {self._timeout_seconds:g} s (timeout_seconds); it is not tried again, as it may act still"
        return News("hung", attempts, seconds, reason)

    def _work(self, inbox: SimpleQueue[_Job | None]) -> None:
        """The thread: one job after the other, until there is None."""
        while (job := inbox.get()) is not None:
            job.news.put(self._outcome(job))

    def _outcome(self, job: _Job) -> News:
        """Try until it is over."""
        began_at = monotonic()
        retry = self._retry
        tried = stamina.retry(
            on=lambda error: self._again(job, error), attempts=retry.attempts, timeout=retry.seconds,
            wait_initial=retry.first_wait_seconds, wait_max=retry.longest_wait_seconds, wait_jitter=retry.jitter_seconds,
        )(_attempt)  # fmt: skip
        try:
            returned = tried(self._corrector, job)
        except _GivenUp:
            return News("given_up", job.attempts)
        except Exception as error:
            kind: Literal["refused", "exhausted"] = "refused" if isinstance(error, RecordError) else "exhausted"
            return News(kind, job.attempts, monotonic() - began_at, said(error), _where(error))
        return News("delivered", job.attempts, monotonic() - began_at, returned="" if returned is None else type(returned).__name__)

    def _again(self, job: _Job, error: Exception) -> bool | float:
        """Return whether an attempt follows; seconds, where what is away said when."""
        if isinstance(error, RecordError | _GivenUp):
            return False
        if job.attempts < self._retry.attempts:
            job.news.put(News("failed", job.attempts, 0.0, said(error), _where(error)))
        wait_seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
        return True if wait_seconds is None else min(float(wait_seconds), self._retry.seconds)


def refusal(corrector: object) -> str:
    """Return why something can be no corrector; empty: it can."""
    if not callable(corrector):
        return f"{corrector!r} cannot be called; give a function that takes a drift event"
    if inspect.iscoroutinefunction(corrector) or inspect.iscoroutinefunction(getattr(corrector, "__call__", None)):  # noqa: B004
        return "it is a coroutine function, so that a call would do nothing; give a function that calls asyncio.run"
    if inspect.isgeneratorfunction(corrector) or inspect.isasyncgenfunction(corrector):
        return "it is a generator function, so that a call would do nothing; give a function without yield"
    try:
        inspect.signature(corrector).bind(None)
    except TypeError as error:
        return f"it cannot be called with one drift event: {error}; give a function of one argument"
    except ValueError:                            # of some native callables nothing is known
        return ""
    return ""


def said(error: BaseException) -> str:
    """Return an error in one short text; ours say all that is needed, others are named.

    >>> said(ValueError("no")), said(Unavailable("the receiver is away"))
    ('ValueError: no', 'the receiver is away')
    """
    try:
        text = str(error)
    except Exception:                             # of an error whose text cannot be made
        text = "(its text cannot be made)"
    named = text if isinstance(error, StreamklError | _Ended) else f"{type(error).__name__}: {text}"
    return named if len(named) <= REASON_CHARACTERS else named[: REASON_CHARACTERS - 3] + "..."


def _attempt(corrector: Corrector, job: _Job) -> object:
    if job.is_given_up:
        raise _GivenUp
    job.attempts += 1
    job.began_at = monotonic()
    try:
        returned = corrector(job.event)
    except Exception:
        raise
    except BaseException as error:                # SystemExit and the like: they would end this thread, and the event with it
        raise _Ended(f"{type(error).__name__}: {error}") from error
    finally:
        job.began_at = None
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise RecordError("the corrector returned something to be awaited, so that nothing was done; let it call asyncio.run")
    return returned


def _where(error: BaseException) -> str:
    """Return the line in which an error was raised, the last one that is not ours: `train.py:12 in retrain`."""
    if isinstance(error, _Ended) and error.__cause__ is not None:
        error = error.__cause__
    trace, found = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__ and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in ("stamina", "tenacity"):
            found = f"{Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return found


class _Others:
    """A hook of stamina that is not told of our retries: the telemetry tells of those."""

    def __init__(self, hook: RetryHook) -> None:
        self._hook = hook

    def __call__(self, details: RetryDetails) -> AbstractContextManager[None] | None:
        return None if details.name.startswith(__name__) else self._hook(details)


def _leave_to_others() -> None:
    hooks = get_on_retry_hooks()
    if not all(isinstance(hook, _Others) for hook in hooks):
        set_on_retry_hooks([hook if isinstance(hook, _Others) else _Others(hook) for hook in hooks])
