# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False, autotestdict=False
"""Entry: the way in of one observation at a time: native while a tracker alone takes it, else a call.

Rule: what follows from a verdict is decided by the life behind it; here nothing is decided.
"""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cython cimport final

from streamkl.detect.kernel.kernel cimport *
from streamkl.detect.kernel.tracker cimport Tracker

from streamkl.detect.event_time import checked_time


@final
cdef class Step:
    """Who takes a stream's next observation; see entry.pyi."""

    cdef Tracker tracker
    cdef object call

    def track(self, Tracker tracker not None):
        self.tracker, self.call = tracker if tracker.is_numeric else None, tracker.update

    def follow(self, call):
        self.tracker, self.call = None, call

    def __call__(self, x):
        return self.call(x)


cdef class Entry:
    """Takes one observation at a time; see entry.pyi."""

    cdef Step step
    cdef object turn

    cpdef enter(self, Step step, turn):
        self.step, self.turn = step, turn

    def update(self, x, at=None):
        """Take one observation; return the event that it caused, if any (test `event.kind`).

        x: None and NaN are missing; infinities fall in the outer bins. at: event time, ms since the epoch, UTC. Raises TypeError for other types.
        """
        cdef int verdict
        if self.step is None:
            raise RuntimeError("this detector was never set up; call its class, which does that, not __new__ alone")
        cdef Tracker tracker = self.step.tracker
        if at is not None:
            at = checked_time(at)
        if tracker is not None and PyFloat_Check(x):
            tracker._refuse_threads()
            if tracker.follower is not None:
                tracker_take(tracker.follower.t, &tracker.follower.cells, PyFloat_AS_DOUBLE(x))
            verdict = tracker_take(tracker.t, &tracker.cells, PyFloat_AS_DOUBLE(x))
        else:
            verdict = self.step.call(x)
        return self.turn(verdict, at) if verdict != QUIET else None
