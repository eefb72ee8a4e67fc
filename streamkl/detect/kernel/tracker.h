/* Tracker: everything that one event of one stream changes. */
#ifndef STREAMKL_TRACKER_H
#define STREAMKL_TRACKER_H

#include "bins.h"
#include "evidence.h"
#include "gauge.h"

enum { QUIET = 0, RAISED = 1, RESOLVED = 2 };           /* what one event caused; streamkl/detect/verdict.py */
enum { WATCHING = 0, DRIFTING = 1, SETTLING = 2 };      /* settling: drifting, but no longer able to resolve */
enum { GAUGES = 3, BLOCK = 512 };                       /* events that are taken together where nothing happens */

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
    int mode;
    int64_t calm, calm_needed;      /* calm events in a row since the alarm */
    int64_t seen;
} tracker_t;

/* Put bins into all windows; at most BLOCK of them, and one at a time where a gauge must be read after each. */
INLINE void tracker_push(tracker_t *a, const uint8_t *bins, int count)
{
    for (int i = 0; i < a->gauge_count; i++)
        gauge_push_many(&a->gauges[i], a->ring, a->capacity, a->head, bins, count);
    for (int i = 0; i < count; i++) {
        if (a->filled == a->capacity)
            a->counts[a->ring[a->head]]--;
        else
            a->filled++;
        a->counts[bins[i]]++;
        a->ring[a->head] = bins[i];
        a->head = a->head + 1 == a->capacity ? 0 : a->head + 1;
    }
}

/* Bet on bins until the evidence is over the budget; returns how many were taken. */
INLINE int tracker_bet(tracker_t *a, const uint8_t *bins, int count)
{
    evidence_t evidence = a->evidence;      /* a copy of its own, as in gauge_push_many */
    int taken = 0, phase = a->phase;
    while (taken < count) {
        if (phase == 0)
            evidence_feed(&evidence, bins[taken]);
        if (++phase == a->stride)
            phase = 0;
        taken++;
        if (evidence.s >= evidence.budget)
            break;
    }
    a->evidence = evidence;
    a->phase = phase;
    return taken;
}

INLINE int tracker_criterion(tracker_t *a)
{
    int is_open = !a->has_criterion;
    for (int i = 0; i < a->gauge_count; i++)
        is_open |= gauge_is_open(&a->gauges[i]);
    return is_open;
}

/* Take the bins of events until one causes something; returns how many were taken. */
INLINE int tracker_observe(tracker_t *a, const uint8_t *bins, int count, int *verdict)
{
    int taken = 0;
    *verdict = QUIET;
    while (taken < count && *verdict == QUIET) {
        const int is_watching = a->mode == WATCHING;
        const int step = is_watching && a->is_betting ? tracker_bet(a, bins + taken, count - taken) : 1;
        tracker_push(a, bins + taken, step);
        taken += step;
        if (!is_watching) {
            a->calm = gauge_is_calm(&a->gauges[0]) ? a->calm + 1 : 0;
            *verdict = a->mode == DRIFTING && a->calm >= a->calm_needed ? RESOLVED : QUIET;
        } else if (!a->is_betting || a->evidence.s >= a->evidence.budget) {
            *verdict = tracker_criterion(a) ? RAISED : QUIET;
        }
    }
    a->seen += taken;
    return taken;
}

/* Take one value, or the bin of one; returns the verdict. */
FOR_EACH_CPU static int tracker_take(tracker_t *a, const cells_t *cells, double x)
{
    const uint8_t b = (uint8_t)cells_bin(cells, x);
    int verdict;
    tracker_observe(a, &b, 1, &verdict);
    return verdict;
}

FOR_EACH_CPU static int tracker_take_bin(tracker_t *a, uint8_t b)
{
    int verdict;
    tracker_observe(a, &b, 1, &verdict);
    return verdict;
}

/* Take values, or bins, until one causes something; returns how many were taken. */
FOR_EACH_CPU static int64_t tracker_take_many(tracker_t *a, const cells_t *cells, const double *values, int64_t count, int *verdict)
{
    uint8_t bins[BLOCK];
    int64_t taken = 0;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;) {
        const int block = count - taken < BLOCK ? (int)(count - taken) : BLOCK;
        for (int i = 0; i < block; i++)
            bins[i] = (uint8_t)cells_bin(cells, values[taken + i]);
        taken += tracker_observe(a, bins, block, verdict);
    }
    return taken;
}

FOR_EACH_CPU static int64_t tracker_take_bins(tracker_t *a, const uint8_t *bins, int64_t count, int *verdict)
{
    int64_t taken = 0;
    for (*verdict = QUIET; taken < count && *verdict == QUIET;)
        taken += tracker_observe(a, bins + taken, count - taken < BLOCK ? (int)(count - taken) : BLOCK, verdict);
    return taken;
}

static void tracker_begin_episode(tracker_t *a)
{
    a->mode = DRIFTING;
    a->calm = 0;
    if (a->is_betting)
        evidence_roll_back(&a->evidence);
}

static void tracker_end_episode(tracker_t *a)
{
    a->mode = WATCHING;
    a->phase = 0;
    if (a->is_betting)
        evidence_restart(&a->evidence);
}

#endif
