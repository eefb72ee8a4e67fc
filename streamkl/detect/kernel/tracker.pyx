# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False, autotestdict=False
"""Tracker: one stream compared with one reference: its window, its gauges and its evidence, one event at a time.

Rule 1: O(1) per event in bins and window; memory is fixed when it is made.
Rule 2: it decides when drift is raised and when it is over; what follows from that is decided by its caller.
"""

from array import array

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, int32_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.dict cimport PyDict_GetItem
from cpython.bytes cimport PyBytes_FromStringAndSize
from cython cimport final

from streamkl.detect.kernel.kernel cimport *

from streamkl.detect.kernel.state import EvidenceState, TrackerState
from streamkl.sketch.bins import as_float


@final
cdef class Tracker:
    """Watch one stream; see tracker.pyi for the parameters."""

    cdef tracker_t t
    cdef void *block
    cdef list owned                     # arrays that the C structs point into
    cdef cells_t cells
    cdef bint is_numeric
    cdef dict texts
    cdef object find

    def __cinit__(self, bins, int window, gauges, stake, int stride, bint has_criterion, int64_t calm_needed):
        self.owned = []
        self._lay_out(bins.k, window, gauges, stake)
        self.t.has_criterion = has_criterion
        self.t.calm_needed = calm_needed
        self.t.stride = stride
        self.is_numeric = hasattr(bins, "edges")
        if self.is_numeric:
            self._set_edges(bins)
        else:
            self.texts, self.find = bins.bin_of_text, bins.find
        for i, plan in enumerate(gauges):
            self._set_gauge(&self.t.gauges[i], plan)
        if stake is not None:
            self._set_evidence(stake)

    def __dealloc__(self):
        free(self.block)

    # ------------------------------------------------------------------ events

    def update(self, x):
        """Take one observation; return what it caused."""
        cdef void *found
        if self.is_numeric:
            return tracker_take(&self.t, &self.cells, PyFloat_AS_DOUBLE(x) if PyFloat_CheckExact(x) else as_float(x))
        if type(x) is str:
            found = <void *>PyDict_GetItem(self.texts, x)
            if found != NULL:
                return tracker_take_bin(&self.t, <object>found)
        return tracker_take_bin(&self.t, self.find(x))

    def update_many(self, const double[::1] values, Py_ssize_t start):
        """Take observations from `start` until one causes something; return (index after it, what it caused)."""
        cdef int verdict = QUIET
        cdef int64_t taken = 0
        if start < values.shape[0]:
            with nogil:
                taken = tracker_take_many(&self.t, &self.cells, &values[start], values.shape[0] - start, &verdict)
        return start + taken, verdict

    def update_bins(self, const uint8_t[::1] bins, Py_ssize_t start):
        """The same for bins."""
        cdef int verdict = QUIET
        cdef int64_t taken = 0
        if start < bins.shape[0]:
            with nogil:
                taken = tracker_take_bins(&self.t, &bins[start], bins.shape[0] - start, &verdict)
        return start + taken, verdict

    def prefill(self, const uint8_t[::1] bins):
        """Put bins into the windows without counting them as seen."""
        cdef Py_ssize_t i
        for i in range(bins.shape[0]):
            tracker_push(&self.t, bins[i])

    # ------------------------------------------------------------------ episodes

    def begin_episode(self):
        """Drift was raised: stop betting, roll the reference back, count calm events."""
        tracker_begin_episode(&self.t)

    def end_episode(self):
        """The episode is over: bet again."""
        tracker_end_episode(&self.t)

    # ------------------------------------------------------------------ reading

    @property
    def seen(self):
        return self.t.seen

    @property
    def filled(self):
        return self.t.filled

    @property
    def evidence(self):
        return self.t.evidence.s

    def counts(self):
        """Counts of the reporting window, a list of k integers."""
        return [self.t.counts[b] for b in range(self.t.evidence.bins)]

    def gauges(self):
        """What each gauge says, the longest window first."""
        return [self._read_gauge(&self.t.gauges[i]) for i in range(self.t.gauge_count)]

    cdef dict _read_gauge(self, gauge_t *gauge):
        return {
            "window": gauge.window, "filled": gauge.filled, "value": gauge_value(gauge), "limit": gauge.limit + gauge_bias(gauge),
            "counts": [gauge.counts[i] for i in range(gauge.groups)],
        }

    # ------------------------------------------------------------------ state

    def to_state(self):
        """Return plain values from which `restore` goes on bit for bit."""
        cdef tracker_t *t = &self.t
        ring = <bytes>PyBytes_FromStringAndSize(<char *>t.ring, t.capacity)
        window = ring[t.head:] + ring[:t.head] if t.filled == t.capacity else ring[:t.filled]
        return TrackerState(window, bool(t.is_drifting), t.phase, t.calm, t.seen, self._evidence_state() if t.is_betting else None)

    def restore(self, state):
        """Take over a state, into a new tracker of the same settings; raises ValueError where it does not fit."""
        cdef tracker_t *t = &self.t
        if len(state.window) > t.capacity or not 0 <= state.phase < t.stride:
            raise ValueError("its window or phase is out of range")
        if (state.evidence is None) == bool(t.is_betting):
            raise ValueError("its evidence does not fit the alarm")
        self._check_bins(state.window)
        self.prefill(state.window)
        if t.is_betting:
            self._restore_evidence(state.evidence)
        t.is_drifting, t.phase, t.calm, t.seen = state.is_drifting, state.phase, state.calm, state.seen

    cdef object _evidence_state(self):
        cdef evidence_t *a = &self.t.evidence
        cdef Py_ssize_t size = a.bins * sizeof(double), last = a.fed & (HISTORY - 1)
        ring = <bytes>PyBytes_FromStringAndSize(<char *>a.history, HISTORY)
        return EvidenceState(
            g=PyBytes_FromStringAndSize(<char *>a.g, size), kept=PyBytes_FromStringAndSize(<char *>a.kept, size),
            shares=PyBytes_FromStringAndSize(<char *>a.qs, size),
            wealth=PyBytes_FromStringAndSize(<char *>a.wealth, a.experts * sizeof(double)),
            plug_in=PyBytes_FromStringAndSize(<char *>a.plug_in, PLUG_INS * sizeof(double)),
            history=ring[last:] + ring[:last] if a.fed >= HISTORY else ring[:last],
            total=a.total, s=a.s, fed=a.fed, clock=a.clock, refresh_at=a.refresh_at,
            is_unseen=PyBytes_FromStringAndSize(<char *>a.is_unseen, 2), kept_unseen=PyBytes_FromStringAndSize(<char *>a.kept_unseen, 2),
        )

    cdef int _restore_evidence(self, state) except -1:
        cdef evidence_t *a = &self.t.evidence
        cdef const uint8_t[::1] history = state.history
        cdef int i
        if not 0 <= state.fed <= state.clock <= 2**53 or state.refresh_at < 0 or len(state.history) != min(state.fed, HISTORY):
            raise ValueError("its history of bets does not fit its counters")
        if not 0 <= state.s < 1e300 or state.is_unseen.strip(b"\0\1") or state.kept_unseen.strip(b"\0\1"):
            raise ValueError("its evidence is out of range")
        self._check_bins(state.history)
        self._fill(a.g, a.bins, state.g)
        self._fill(a.kept, a.bins, state.kept)
        self._fill(a.qs, a.bins, state.shares)
        self._fill(a.wealth, a.experts, state.wealth)
        self._fill(a.plug_in, PLUG_INS, state.plug_in)
        a.clock, a.refresh_at = state.clock, state.refresh_at
        for i in range(a.bins):
            if not (1e-3 <= a.g[i] <= 1e16 and 1e-3 <= a.kept[i] <= 1e16 and (1e-20 <= a.qs[i] <= 1.0 or a.clock >= a.refresh_at)):
                raise ValueError("a bin's weight is out of range")
        if not 0.999 < state.total / evidence_sum(a.g, a.bins) < 1.001:
            raise ValueError("its weights do not sum to their total")
        evidence_inverse_z(a)
        evidence_recall(a, &history[0] if history.shape[0] else NULL, history.shape[0], state.fed)
        a.total, a.s = state.total, state.s
        memcpy(a.is_unseen, <const char *>state.is_unseen, 2)
        memcpy(a.kept_unseen, <const char *>state.kept_unseen, 2)
        return 0

    cdef int _fill(self, double *target, Py_ssize_t count, bytes stored) except -1:
        cdef Py_ssize_t i
        if len(stored) != count * <Py_ssize_t>sizeof(double):
            raise ValueError(f"an array of {count} numbers is stored in {len(stored)} bytes")
        memcpy(target, <const char *>stored, count * sizeof(double))
        for i in range(count):
            if not 0.0 <= target[i] < 1e300:
                raise ValueError("one of its numbers is out of range")
        return 0

    cdef int _check_bins(self, bytes stored) except -1:
        if stored and max(stored) >= self.t.evidence.bins:
            raise ValueError("one of its bins does not exist")
        return 0

    # ------------------------------------------------------------------ making

    cdef int _lay_out(self, int k, int window, gauges, stake) except -1:
        """One zeroed block holds everything that changes: measured first, then allocated."""
        self.t.evidence.bins = k
        self.t.evidence.experts = 0 if stake is None else stake.table.shape[1]
        self.t.capacity, self.t.gauge_count, self.t.is_betting = window, len(gauges), stake is not None
        for i, plan in enumerate(gauges):
            self.t.gauges[i].groups = len(plan.share)
        self.block = calloc(1, self._place(NULL))
        if self.block == NULL:
            raise MemoryError(f"no memory for a window of {window} observations")
        self._place(<char *>self.block)
        return 0

    cdef size_t _place(self, char *block) noexcept:
        """Give every array its place; return how many bytes they need."""
        cdef tracker_t *t = &self.t
        cdef evidence_t *a = &t.evidence
        cdef size_t used = 0, doubles = sizeof(double)
        cdef int i
        if t.is_betting:
            a.g = <double *>take(block, &used, a.bins * doubles)
            a.qs = <double *>take(block, &used, a.bins * doubles)
            a.wealth = <double *>take(block, &used, a.experts * doubles)
            a.inverse_z = <double *>take(block, &used, a.experts * doubles)
            a.recent = <uint16_t *>take(block, &used, (PLUG_INS + 1) * a.bins * sizeof(uint16_t))
            a.history = <uint8_t *>take(block, &used, HISTORY)
            a.kept = <double *>take(block, &used, a.bins * doubles)
        for i in range(t.gauge_count):
            t.gauges[i].counts = <int32_t *>take(block, &used, t.gauges[i].groups * sizeof(int32_t))
            t.gauges[i].terms = <int64_t *>take(block, &used, t.gauges[i].groups * sizeof(int64_t))
        t.counts = <int32_t *>take(block, &used, a.bins * sizeof(int32_t))
        t.ring = <uint8_t *>take(block, &used, t.capacity)
        return used

    cdef int _set_edges(self, bins) except -1:
        cdef Py_ssize_t count = len(bins.edges)
        padded = array("d", [NAN]) * ((count + LANES - 1) // LANES * LANES)
        padded[:count] = array("d", bins.edges.tolist())
        self.cells.edges, self.cells.padded = self._doubles(padded), len(padded)
        self.cells.bin_of_cell, self.cells.missing = self._bytes(bins.bin_of_cell), bins.missing
        return 0

    cdef int _set_gauge(self, gauge_t *gauge, plan) except -1:
        gauge.window, gauge.is_js = plan.window, plan.is_js
        gauge.group_of, gauge.in_reference = self._bytes(plan.group_of), self._bytes(plan.in_reference)
        gauge.share = self._doubles(plan.share)
        gauge.entropy_step, gauge.log_share = self._integers(plan.entropy_step), self._integers(plan.log_share)
        gauge.sum_empty, gauge.scale = plan.sum_empty, plan.scale
        gauge.limit, gauge.calm_limit, gauge.bias_per_group = plan.limit, plan.calm_limit, plan.bias_per_group
        gauge_clear(gauge)
        return 0

    cdef int _set_evidence(self, stake) except -1:
        cdef evidence_t *a = &self.t.evidence
        a.table, a.prior, a.rows = self._doubles(stake.table.reshape(-1)), self._doubles(stake.prior), self._bytes(stake.rows)
        memcpy(a.g, self._doubles(stake.counts), a.bins * sizeof(double))
        a.total = evidence_sum(a.g, a.bins)
        a.budget, a.least_prior = stake.budget, stake.prior[stake.prior > 0].min()
        for i in range(2):
            a.is_unseen[i] = stake.is_unseen[i]
        evidence_keep(a)
        evidence_weigh(a)
        return 0

    cdef const double *_doubles(self, values) except NULL:
        cdef const double[::1] view = values
        self.owned.append(values)
        return &view[0]

    cdef const int64_t *_integers(self, values) except NULL:
        cdef const int64_t[::1] view = values
        self.owned.append(values)
        return &view[0]

    cdef const uint8_t *_bytes(self, values) except NULL:
        cdef const uint8_t[::1] view = values
        self.owned.append(values)
        return &view[0]


cdef inline char *take(char *block, size_t *used, size_t size) noexcept:
    """The next `size` bytes of the block, on a cache line of their own."""
    cdef char *place = block + used[0]
    used[0] += (size + 63) // 64 * 64
    return place
