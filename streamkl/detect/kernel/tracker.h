/* Tracker: everything that one event of one stream changes. */
#ifndef STREAMKL_TRACKER_H
#define STREAMKL_TRACKER_H

#include "bins.h"
#include "evidence.h"
#include "gauge.h"

enum { QUIET = 0, RAISED = 1, RESOLVED = 2 };           /* what one event caused; streamkl/detect/verdict.py */
enum { GAUGES = 3, FEW = 64 };                         /* below so many events a block is not worth its preparation */

typedef struct {
    uint8_t *ring;                  /* (capacity,) the last bins; one ring serves all windows */
    int capacity, filled, head;     /* head: where the next one goes */
    int32_t *counts;                /* (bins,) of the reporting window, which is the whole ring */
    gauge_t gauges[GAUGES];         /* the longest window first */
    int gauge_count;
    int has_criterion;              /* an open gauge is needed for an alarm */
    int is_betting;                 /* 0: the first gauge alone raises */
    evidence_t evidence;
    int stride, phase;              /* every stride-th event is fed, at phase 0 */
    int is_drifting, is_settled;    /* settled: drifting, and no longer able to resolve */
    int64_t calm, calm_needed;      /* calm events in a row since the alarm */
    int64_t seen;
} tracker_t;

/* The next `size` bytes of a block, a cache line apart from their neighbours; of no block: only what is used is counted. */
INLINE char *take(char *block, size_t *used, size_t size)
{
    char *place = block == NULL ? NULL : block + *used;
    *used += (size + 63) / 64 * 64;
    return place;
}

INLINE void tracker_push_ring(tracker_t *a, int b)
{
    if (a->filled == a->capacity)
        a->counts[a->ring[a->head]]--;
    else
        a->filled++;
    a->counts[b]++;
    a->ring[a->head] = (uint8_t)b;
    a->head = a->head + 1 == a->capacity ? 0 : a->head + 1;
}

/* Put one bin, or many, into all windows. */
INLINE void tracker_push(tracker_t *a, int b)
{
    for (int i = 0; i < a->gauge_count; i++) {
        gauge_t *gauge = &a->gauges[i];
        gauge_push(gauge, gauge->group_of[b], gauge->group_of[a->ring[gauge_oldest(gauge, a->capacity, a->head)]]);
    }
    tracker_push_ring(a, b);
}

INLINE void tracker_push_many(tracker_t *a, const uint8_t *bins, int count)
{
    if (count < FEW) {
        for (int i = 0; i < count; i++)
            tracker_push(a, bins[i]);
        return;
    }
    int32_t come[MOST_BINS] = {0};
    for (int i = 0; i < count; i++)
        come[bins[i]]++;
    for (int i = 0; i < a->gauge_count; i++)
        gauge_push_many(&a->gauges[i], a->ring, a->capacity, a->head, bins, count, come, a->evidence.bins);
    for (int i = 0; i < count; i++)
        tracker_push_ring(a, bins[i]);
}

/* Bet on one bin, if it is its turn; or on many, until the evidence is over the budget: returns how many were taken. */
INLINE void tracker_bet(tracker_t *a, evidence_t *evidence, int b)
{
    if (a->phase == 0)
        evidence_feed(evidence, b);
    a->phase = a->phase + 1 == a->stride ? 0 : a->phase + 1;
}

INLINE int tracker_bet_many(tracker_t *a, const uint8_t *bins, int count)
{
    evidence_t evidence = a->evidence;      /* a copy of its own: stores of bytes cannot change it, so it stays in registers */
    int taken = 0;
    do
        tracker_bet(a, &evidence, bins[taken++]);
    while (taken < count && evidence.s < evidence.budget);
    a->evidence = evidence;
    return taken;
}

/* What the events taken so far amount to. */
INLINE int tracker_judge(tracker_t *a)
{
    if (a->is_drifting) {
        a->calm = gauge_is_calm(&a->gauges[0]) ? a->calm + 1 : 0;
        return a->calm >= a->calm_needed && !a->is_settled ? RESOLVED : QUIET;
    }
    if (a->is_betting && a->evidence.s < a->evidence.budget)
        return QUIET;
    int is_open = !a->has_criterion;
    for (int i = 0; i < a->gauge_count; i++)
        is_open |= gauge_is_open(&a->gauges[i]);
    return is_open ? RAISED : QUIET;
}

/* Take the bin of one event; returns the verdict. */
INLINE int tracker_observe(tracker_t *a, int b)
{
    a->seen++;
    if (a->is_betting && !a->is_drifting)
        tracker_bet(a, &a->evidence, b);
    tracker_push(a, b);
    return tracker_judge(a);
}

/* Take the bins of events until one causes something; returns how many were taken. While nothing is near the budget, all bets are
 * made first and then all windows moved. */
INLINE int tracker_observe_many(tracker_t *a, const uint8_t *bins, int count, int *verdict)
{
    int taken = 0;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;) {
        if (a->is_betting && !a->is_drifting) {
            const int quiet = tracker_bet_many(a, bins + taken, count - taken);
            tracker_push_many(a, bins + taken, quiet);
            *verdict = tracker_judge(a);
            a->seen += quiet;
            taken += quiet;
        } else {
            *verdict = tracker_observe(a, bins[taken++]);
        }
    }
    return taken;
}

/* Take one value, or the bin of one; returns the verdict. */
FOR_EACH_CPU static int tracker_take(tracker_t *a, const cells_t *cells, double x)
{
    return tracker_observe(a, cells_bin(cells, x));
}

FOR_EACH_CPU static int tracker_take_bin(tracker_t *a, int b)
{
    return tracker_observe(a, b);
}

/* Take values, or bins, until one causes something; returns how many were taken. */
FOR_EACH_CPU static int64_t tracker_take_many(tracker_t *a, const cells_t *cells, const double *values, int64_t count, int *verdict)
{
    uint8_t bins[BLOCK];
    int64_t taken = 0;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;) {
        const int block = count - taken < BLOCK ? (int)(count - taken) : BLOCK;
        cells_bins(cells, values + taken, bins, block);
        taken += tracker_observe_many(a, bins, block, verdict);
    }
    return taken;
}

FOR_EACH_CPU static int64_t tracker_take_bins(tracker_t *a, const uint8_t *bins, int64_t count, int *verdict)
{
    int64_t taken = 0;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;)
        taken += tracker_observe_many(a, bins + taken, count - taken < BLOCK ? (int)(count - taken) : BLOCK, verdict);
    return taken;
}

static void tracker_begin_episode(tracker_t *a)
{
    a->is_drifting = 1;
    a->calm = 0;
    if (a->is_betting)
        evidence_roll_back(&a->evidence);
}

static void tracker_end_episode(tracker_t *a)
{
    a->is_drifting = a->is_settled = 0;
    a->phase = 0;
    if (a->is_betting)
        evidence_restart(&a->evidence);
}

#endif
