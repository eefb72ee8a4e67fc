# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False, autotestdict=False
"""Tracker: one stream compared with one reference: its window, its gauges and its evidence, one event at a time.

Rule 1: O(1) per event in bins and window; memory is fixed when it is made.
Rule 2: it decides when drift is raised and when it is over; what follows from that is decided by its caller.
"""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, int32_t, uint16_t
from libc.string cimport memcpy, memset
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.dict cimport PyDict_GetItem
from cpython.bytes cimport PyBytes_FromStringAndSize
from cython cimport final

from streamkl.detect.kernel.kernel cimport *
from streamkl.detect.kernel.slab cimport slab_give, slab_held, slab_take

from streamkl.detect.kernel.state import EvidenceState, TrackerState
from streamkl.sketch.bins import as_float


@final
cdef class Tracker:
    """Watch one stream; see tracker.pyi for the parameters."""

    def __cinit__(self, bins, int window, gauges, stake, int stride, bint has_criterion, int64_t calm_needed):
        self.owned = []
        self.is_numeric = hasattr(bins, "edges")
        self.cells.padded = (len(bins.edges) + LANES - 1) // LANES * LANES if self.is_numeric else 0
        self._lay_out(bins.k, window, gauges, stake)
        self.t.has_criterion = has_criterion
        self.t.calm_needed = calm_needed
        self.t.stride = stride
        if self.is_numeric:
            self._set_edges(bins)
        else:
            self.texts, self.find = bins.bin_of_text, bins.find
        for i, plan in enumerate(gauges):
            self._set_gauge(&self.t.gauges[i], plan)
        if stake is not None:
            self._set_evidence(stake)

    def __dealloc__(self):
        slab_give(self.t, self.size)

    # ------------------------------------------------------------------ events

    def update(self, x):
        """Take one observation; return what it caused."""
        cdef void *found
        self._refuse_threads()
        cdef double number
        if self.is_numeric:
            number = PyFloat_AS_DOUBLE(x) if PyFloat_Check(x) else as_float(x)
            if self.follower is not None:
                tracker_take(self.follower.t, &self.follower.cells, number)
            return tracker_take(self.t, &self.cells, number)
        if self.follower is not None:
            self.follower.update(x)
        if type(x) is str:
            found = <void *>PyDict_GetItem(self.texts, x)
            if found != NULL:
                return tracker_take_bin(self.t, <object>found)
        return tracker_take_bin(self.t, self.find(x))

    def update_many(self, const double[::1] values, Py_ssize_t start):
        """Take observations from `start` until one causes something; return (index after it, what it caused)."""
        cdef int verdict = QUIET
        cdef int64_t taken = 0
        self._refuse_threads()
        if start < values.shape[0]:
            self.is_busy = True             # set and read with the interpreter's lock held
            with nogil:
                taken = tracker_take_many(self.t, &self.cells, &values[start], values.shape[0] - start, &verdict)
            if self.follower is not None:
                self.follower.update_many(values[:start + taken], start)
            self.is_busy = False
        return start + taken, verdict

    def update_bins(self, const uint8_t[::1] bins, Py_ssize_t start):
        """The same for bins."""
        cdef int verdict = QUIET
        cdef int64_t taken = 0
        self._refuse_threads()
        if start < bins.shape[0]:
            self.is_busy = True
            with nogil:
                taken = tracker_take_bins(self.t, &bins[start], bins.shape[0] - start, &verdict)
            self.is_busy = False
        return start + taken, verdict

    def prefill(self, const uint8_t[::1] bins):
        """Put bins into the windows without counting them as seen."""
        cdef Py_ssize_t i
        for i in range(bins.shape[0]):
            tracker_push(self.t, bins[i])

    def inherit(self, Tracker other not None, double factor):
        evidence_inherit(&self.t.evidence, &other.t.evidence, factor)

    def lead(self, Tracker follower not None):
        self.follower = follower

    # ------------------------------------------------------------------ episodes

    def begin_episode(self):
        """Drift was raised: stop betting, roll the reference back, count calm events."""
        tracker_begin_episode(self.t)

    def settle(self):
        """The episode can no longer resolve: a calm window is no verdict any more, and batches need not stop at each."""
        self.t.is_settled = True

    def end_episode(self):
        """The episode is over: bet again."""
        tracker_end_episode(self.t)

    # ------------------------------------------------------------------ reading

    @property
    def seen(self):
        return self.t.seen

    @property
    def filled(self):
        return self.t.filled

    def bets(self):
        return self.t.evidence.fed, self.t.evidence.clock - self.t.evidence.kept_at

    @property
    def evidence(self):
        return self.t.evidence.s

    def counts(self):
        """Counts of the reporting window, a list of k integers."""
        cdef int32_t counts[MOST_BINS]
        cdef Py_ssize_t i
        memset(counts, 0, sizeof(counts))
        for i in range(self.t.filled):          # a ring that is not full begins at its beginning
            counts[self.t.ring[i]] += 1
        return [counts[b] for b in range(self.t.evidence.bins)]

    def gauges(self):
        """What each gauge says, the longest window first."""
        return [self._read_gauge(i) for i in range(self.t.gauge_count)]

    cdef dict _read_gauge(self, int which):
        cdef int32_t counts[MOST_BINS]
        cdef gauge_t gauge
        cdef double value = tracker_read(self.t, which, counts, &gauge)
        return {
            "window": gauge.window, "filled": gauge.filled, "value": value, "limit": gauge.limit + gauge_bias(&gauge),
            "counts": [counts[i] for i in range(gauge.groups)],
        }

    # ------------------------------------------------------------------ state

    def to_state(self):
        """Return plain values from which `restore` goes on bit for bit."""
        self._refuse_threads()
        cdef tracker_t *t = self.t
        ring = <bytes>PyBytes_FromStringAndSize(<char *>t.ring, t.capacity)
        window = ring[t.head:] + ring[:t.head] if t.filled == t.capacity else ring[:t.filled]
        bets = self._evidence_state() if t.is_betting else None
        return TrackerState.of(window, bool(t.is_drifting), t.phase, t.calm, t.seen, bets, t.stride, t.evidence.bins)

    def restore(self, state):
        """Take over a state, into a new tracker of the same settings; raises ValueError where it does not fit."""
        cdef tracker_t *t = self.t
        state.check(t.capacity, t.stride, t.evidence.bins, t.evidence.experts)
        if state.is_drifting and not t.gauge_count:
            raise ValueError("it drifts, and has no gauge that could tell when that is over")
        window = state.bins_in_window(t.evidence.bins)
        self.prefill(window)
        if t.is_betting:
            self._restore_evidence(state.evidence, state.bets(window, t.stride, t.evidence.bins))
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
            total=a.total, s=a.s, fed=a.fed, clock=a.clock, refresh_at=a.refresh_at, kept_at=a.kept_at,
            is_unseen=PyBytes_FromStringAndSize(<char *>a.is_unseen, 2), kept_unseen=PyBytes_FromStringAndSize(<char *>a.kept_unseen, 2),
        )

    cdef int _restore_evidence(self, state, const uint8_t[::1] history) except -1:
        cdef evidence_t *a = &self.t.evidence
        copy_bytes(a.g, state.g)
        copy_bytes(a.kept, state.kept)
        copy_bytes(a.qs, state.shares)
        copy_bytes(a.wealth, state.wealth)
        copy_bytes(a.plug_in, state.plug_in)
        copy_bytes(a.is_unseen, state.is_unseen)
        copy_bytes(a.kept_unseen, state.kept_unseen)
        a.total, a.s, a.clock, a.refresh_at, a.kept_at = state.total, state.s, state.clock, state.refresh_at, state.kept_at
        evidence_inverse_z(a)
        evidence_recall(a, &history[0] if history.shape[0] else NULL, history.shape[0], state.fed)
        return 0

    # ------------------------------------------------------------------ making

    cdef int _lay_out(self, int k, int window, gauges, stake) except -1:
        """One zeroed piece of memory holds everything that changes: measured first, then taken."""
        cdef tracker_t plan
        memset(&plan, 0, sizeof(plan))
        plan.evidence.bins, plan.evidence.experts = k, 0 if stake is None else stake.table.shape[1]
        plan.capacity, plan.gauge_count, plan.is_betting = window, len(gauges), stake is not None
        if len(gauges) > GAUGES:
            raise ValueError(f"a tracker has room for {GAUGES} gauges, got {len(gauges)}")
        for i, gauge in enumerate(gauges):
            plan.gauges[i].groups, plan.gauges[i].is_js = len(gauge.share), gauge.is_js
        self.t = &plan
        self.size = self._place(NULL)
        self.t = <tracker_t *>slab_take(self.size)
        if self.t == NULL:
            raise MemoryError(f"no memory for a window of {window} observations")
        self.t[0] = plan
        self._place(<char *>self.t)
        return 0

    cdef size_t _place(self, char *block) noexcept:
        """Give every array its place; return how many bytes they need."""
        cdef tracker_t *t = self.t
        cdef evidence_t *a = &t.evidence
        cdef size_t used = 0, doubles = sizeof(double)
        cdef int i
        take(block, &used, sizeof(tracker_t))
        self.cells.edges = <double *>take(block, &used, self.cells.padded * doubles)
        self.cells.bin_of_cell = <uint8_t *>take(block, &used, self.cells.padded + 1 if self.is_numeric else 0)
        if t.is_betting:
            a.rows = <uint8_t *>take(block, &used, a.bins)
            a.g = <double *>take(block, &used, a.bins * doubles)
            a.qs = <double *>take(block, &used, a.bins * doubles)
            a.wealth = <double *>take(block, &used, a.experts * doubles)
            a.inverse_z = <double *>take(block, &used, a.experts * doubles)
            a.recent = <uint16_t *>take(block, &used, (PLUG_INS + 1) * a.bins * sizeof(uint16_t))
            a.history = <uint8_t *>take(block, &used, HISTORY)
            a.kept = <double *>take(block, &used, a.bins * doubles)
        for i in range(t.gauge_count):
            t.gauges[i].counts = <int32_t *>take(block, &used, t.gauges[i].groups * sizeof(int32_t))
            t.gauges[i].terms = <int64_t *>take(block, &used, t.gauges[i].groups * sizeof(int64_t) if t.gauges[i].is_js else 0)
        t.ring = <uint8_t *>take(block, &used, t.capacity)
        return used

    cdef int _set_edges(self, bins) except -1:
        copy_bytes(self.cells.edges, bins.edges.tobytes())
        for i in range(len(bins.edges), self.cells.padded):
            self.cells.edges[i] = NAN
        copy_bytes(self.cells.bin_of_cell, bins.bin_of_cell.tobytes())
        self.cells.missing = bins.missing
        return 0

    cdef int _set_gauge(self, gauge_t *gauge, plan) except -1:
        gauge.window, gauge.is_js = plan.window, plan.is_js
        gauge.group_of, gauge.in_reference = <const uint8_t *>self._kept(plan.group_of), <const uint8_t *>self._kept(plan.in_reference)
        gauge.share = <const double *>self._kept(plan.share)
        gauge.entropy, gauge.log_share = <const int64_t *>self._kept(plan.entropy), <const int64_t *>self._kept(plan.log_share)
        gauge.sum_empty, gauge.scale = plan.sum_empty, plan.scale
        gauge.limit, gauge.calm_limit, gauge.bias_per_group = plan.limit, plan.calm_limit, plan.bias_per_group
        gauge_count(gauge, self.t.ring, self.t.capacity, 0, 0)
        return 0

    cdef int _set_evidence(self, stake) except -1:
        cdef evidence_t *a = &self.t.evidence
        a.table, a.prior = <const double *>self._kept(stake.table), <const double *>self._kept(stake.prior)
        copy_bytes(a.rows, stake.rows.tobytes())
        copy_bytes(a.g, stake.counts.tobytes())
        a.total = evidence_sum(a.g, a.bins)
        a.budget, a.least_prior = stake.budget, stake.prior[stake.prior > 0].min()
        for i in range(2):
            a.is_unseen[i] = stake.is_unseen[i]
        evidence_keep(a)
        evidence_weigh(a)
        return 0

    cdef const void *_kept(self, values) except NULL:
        """Return where an array has its numbers; it lives as long as this."""
        cdef const uint8_t[::1] view = values.reshape(-1).view("uint8")
        self.owned.append(view.base)
        return &view[0]


def held_bytes():
    """Return the bytes that all trackers of this process hold."""
    return slab_held()


cdef inline int copy_bytes(void *target, bytes stored) except -1:
    memcpy(target, <const char *>stored, len(stored))
    return 0
