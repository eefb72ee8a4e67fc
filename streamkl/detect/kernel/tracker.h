/* Tracker: everything that one event of one stream changes. */
#ifndef STREAMKL_TRACKER_H
#define STREAMKL_TRACKER_H

#include "bins.h"
#include "evidence.h"
#include "gauge.h"

enum { QUIET = 0, RAISED = 1, RESOLVED = 2 };           /* what one event caused; streamkl/detect/verdict.py */
enum { GAUGES = 3, FEW = 64 };                         /* below so many events a block is not worth its preparation */
#define DROWSY 0.5                                     /* part of the budget below which nobody looks at the gauges any more */

typedef struct {
    uint8_t *ring;                  /* (capacity,) the last bins; one ring serves all windows */
    int capacity, filled, head;     /* head: where the next one goes */
    int gauge_count, awake;         /* so many of them, from the first on, follow the ring; the others are counted anew when they are needed */
    int has_criterion;              /* an open gauge is needed for an alarm */
    int is_betting;                 /* 0: the first gauge alone raises */
    int stride, phase;              /* every stride-th event is fed, at phase 0 */
    int is_drifting, is_settled;    /* settled: drifting, and no longer able to resolve */
    int64_t calm, calm_needed;      /* calm events in a row since the alarm */
    int64_t seen;
    evidence_t evidence;
    gauge_t gauges[GAUGES];         /* the longest window first; the reporting window is the whole ring. Behind all that each event needs */
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
    a->filled += a->filled < a->capacity;
    a->ring[a->head] = (uint8_t)b;
    a->head = a->head + 1 == a->capacity ? 0 : a->head + 1;
}

/* The same for many bins. */
INLINE void tracker_push_ring_many(tracker_t *a, const uint8_t *bins, int count)
{
    const int skipped = count > a->capacity ? count - a->capacity : 0;      /* of which nothing would be left */
    const int head = (a->head + skipped) % a->capacity, kept = count - skipped;
    const int to_end = kept < a->capacity - head ? kept : a->capacity - head;
    memcpy(a->ring + head, bins + skipped, to_end);
    memcpy(a->ring, bins + skipped + to_end, kept - to_end);
    a->head = (head + kept) % a->capacity;
    a->filled = a->filled + count < a->capacity ? a->filled + count : a->capacity;
}

/* Put one bin, or many, into the ring and all windows that follow it. */
INLINE void tracker_push(tracker_t *a, int b)
{
    for (int i = 0; i < a->awake; i++) {
        gauge_t *gauge = &a->gauges[i];
        gauge_push(gauge, gauge->group_of[b], gauge->group_of[a->ring[gauge_oldest(gauge, a->capacity, a->head)]]);
    }
    tracker_push_ring(a, b);
}

INLINE void tracker_push_many(tracker_t *a, const uint8_t *bins, int count)
{
    if (a->awake && count < FEW) {
        for (int i = 0; i < count; i++)
            tracker_push(a, bins[i]);
        return;
    }
    if (a->awake) {
        int32_t come[MOST_BINS] = {0};
        for (int i = 0; i < count; i++)
            come[bins[i]]++;
        for (int i = 0; i < a->awake; i++)
            gauge_push_many(&a->gauges[i], a->ring, a->capacity, a->head, bins, count, come, a->evidence.bins);
    }
    tracker_push_ring_many(a, bins, count);
}

/* Let so many gauges follow the ring. */
INLINE void tracker_wake(tracker_t *a, int count)
{
    for (; a->awake < count; a->awake++)
        gauge_count(&a->gauges[a->awake], a->ring, a->capacity, a->filled, a->head);
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

/* Note how the first gauge answered after `count` more events. */
INLINE int tracker_calm(tracker_t *a, int is_calm, int count)
{
    a->calm = is_calm ? a->calm + count : 0;
    return a->calm >= a->calm_needed && !a->is_settled ? RESOLVED : QUIET;
}

INLINE int tracker_is_open(tracker_t *a)
{
    int is_open = !a->has_criterion;
    tracker_wake(a, a->gauge_count);
    for (int i = 0; i < a->gauge_count; i++)
        is_open |= gauge_is_open(&a->gauges[i]);
    return is_open;
}

/* What the events taken so far amount to. */
INLINE int tracker_judge(tracker_t *a)
{
    if (a->is_drifting) {
        tracker_wake(a, 1);
        return tracker_calm(a, gauge_is_calm(&a->gauges[0]), 1);
    }
    if (a->is_betting && a->evidence.s < a->evidence.budget) {
        if (a->awake && a->evidence.s < DROWSY * a->evidence.budget)
            a->awake = 0;
        return QUIET;
    }
    return tracker_is_open(a) ? RAISED : QUIET;
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

/* For how many of the next events the first gauge alone decides, and surely answers as it did; at most `count`. */
INLINE int tracker_rest(const tracker_t *a, int count)
{
    const gauge_t *gauge = &a->gauges[0];
    if (a->gauge_count == 0)
        return count;
    const int is_asked = a->awake && (a->is_drifting ? a->is_settled || gauge->is_beyond : !a->is_betting);
    const int64_t rest = is_asked ? gauge->rest - 1 : 0;
    return rest < count ? (int)rest : count;
}

/* Take the bins of events until one causes something; returns how many were taken. While nothing is near the budget, or the threshold, all
 * bets are made first and then all windows moved. */
INLINE int tracker_observe_many(tracker_t *a, const uint8_t *bins, int count, int *verdict)
{
    int taken = 0, rest;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;) {
        if (a->is_betting && !a->is_drifting) {
            const int quiet = tracker_bet_many(a, bins + taken, count - taken);
            tracker_push_many(a, bins + taken, quiet);
            *verdict = tracker_judge(a);
            a->seen += quiet;
            taken += quiet;
        } else if ((rest = tracker_rest(a, count - taken)) > 0) {
            tracker_push_many(a, bins + taken, rest);
            if (a->is_drifting)
                tracker_calm(a, !a->gauges[0].is_beyond, rest);
            a->seen += rest;
            taken += rest;
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
    a->calm = a->awake = 0;             /* the gauges are asked something else now */
    if (a->is_betting)
        evidence_roll_back(&a->evidence);
}

static void tracker_end_episode(tracker_t *a)
{
    a->is_drifting = a->is_settled = 0;
    a->phase = a->awake = 0;
    if (a->is_betting)
        evidence_restart(&a->evidence);
}

/* What a gauge says of the window now, and its counts (groups,), without a change to it. */
static double tracker_read(const tracker_t *a, int which, int32_t *counts, gauge_t *copy)
{
    int64_t terms[MOST_BINS];
    *copy = a->gauges[which];
    copy->counts = counts;
    copy->terms = terms;
    gauge_count(copy, a->ring, a->capacity, a->filled, a->head);
    return gauge_value(copy);
}

#endif
