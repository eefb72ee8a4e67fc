# The tracker's C side, for `fleet.pyx`: many trackers, one loop.

from libc.stdint cimport int64_t, uint8_t

from streamkl.detect.kernel.kernel cimport cells_t, gauge_t, tracker_t

cdef class Tracker:
    cdef tracker_t *t                   # and behind it all arrays that change
    cdef size_t size                    # bytes of that
    cdef list owned                     # arrays that the C structs point into
    cdef cells_t cells
    cdef bint is_numeric, is_busy
    cdef dict texts
    cdef object find
    cdef Tracker follower

    cdef inline int _refuse_threads(self) except -1:
        if self.is_busy:
            raise RuntimeError("another thread is updating this detector; give each thread its own, or take a lock around it")
        return 0

    cdef dict _read_gauge(self, int which)
    cdef object _evidence_state(self)
    cdef int _restore_evidence(self, state, const uint8_t[::1] history) except -1
    cdef int _lay_out(self, int k, int window, gauges, stake) except -1
    cdef size_t _place(self, char *block) noexcept
    cdef int _set_edges(self, bins) except -1
    cdef int _set_gauge(self, gauge_t *gauge, plan) except -1
    cdef int _set_evidence(self, stake) except -1
    cdef const void *_kept(self, values) except NULL
