# The C of this folder, as Cython sees it.

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t

cdef extern from "cpu.h":
    enum:
        LANES

cdef extern from "bins.h":
    ctypedef struct cells_t:
        double *edges
        uint8_t *bin_of_cell
        int padded, missing

cdef extern from "gauge.h":
    ctypedef struct gauge_t:
        int window, filled, groups, occupied, is_js
        const uint8_t *group_of
        const int64_t *entropy
        const double *share
        const int64_t *log_share
        const uint8_t *in_reference
        int32_t *counts
        int64_t *terms
        int64_t sum_empty
        double scale, limit, calm_limit, bias_per_group
    void gauge_count(gauge_t *a, const uint8_t *ring, int capacity, int filled, int head) nogil
    double gauge_bias(const gauge_t *a) nogil

cdef extern from "evidence.h":
    enum:
        PLUG_INS
        HISTORY
    ctypedef struct evidence_t:
        int bins, experts
        const double *table
        const double *prior
        uint8_t *rows
        double *g
        double *qs
        double *kept
        double *inverse_z
        double *wealth
        double plug_in[4]
        uint16_t *recent
        uint8_t *history
        double least_prior, total, budget, s
        int64_t fed, clock, refresh_at
        uint8_t is_unseen[2]
        uint8_t kept_unseen[2]
        int64_t kept_at
    double evidence_sum(const double *values, int count) nogil
    void evidence_inverse_z(evidence_t *a) nogil
    void evidence_keep(evidence_t *a) nogil
    void evidence_inherit(evidence_t *a, const evidence_t *other, double factor) nogil
    void evidence_weigh(evidence_t *a) nogil
    void evidence_recall(evidence_t *a, const uint8_t *bins, int64_t count, int64_t fed) nogil

cdef extern from "tracker.h":
    enum:
        QUIET
        GAUGES
        MOST_BINS
    ctypedef struct tracker_t:
        uint8_t *ring
        int capacity, filled, head
        gauge_t gauges[3]
        int gauge_count, has_criterion, is_betting
        evidence_t evidence
        int stride, phase, is_drifting, is_settled
        int64_t calm, calm_needed, seen
    char *take(char *block, size_t *used, size_t size) nogil
    void tracker_push(tracker_t *a, int b) nogil
    double tracker_read(const tracker_t *a, int which, int32_t *counts, gauge_t *copy) nogil
    int tracker_take_bin(tracker_t *a, int b) nogil
    int tracker_take(tracker_t *a, const cells_t *cells, double x) nogil
    int64_t tracker_take_many(tracker_t *a, const cells_t *cells, const double *values, int64_t count, int *verdict) nogil
    int64_t tracker_take_bins(tracker_t *a, const uint8_t *bins, int64_t count, int *verdict) nogil
    void tracker_begin_episode(tracker_t *a) nogil
    void tracker_end_episode(tracker_t *a) nogil

cdef extern from "fleet.h":
    enum:
        EMPTY
        STEP
        TRACKED
        HELD
        TAPE
    ctypedef struct slot_t:
        tracker_t *tracker
        const cells_t *cells
        tracker_t *follower
        const cells_t *follower_cells
        double *tape
        int16_t on_tape, room
        int mode
    void fleet_order(slot_t *slots, const int64_t *of, int64_t *order, int64_t count) nogil
    int64_t fleet_take(
        slot_t *slots, const int64_t *of, const double *values, const int64_t *order, int64_t at, int64_t count, int *verdict) nogil
