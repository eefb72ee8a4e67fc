/* Tracker: everything that one event of one stream changes. */
#ifndef STREAMKL_TRACKER_H
#define STREAMKL_TRACKER_H

#include "evidence.h"
#include "gauge.h"

enum { QUIET = 0, RAISED = 1, RESOLVED = 2 };           /* what one event caused; streamkl/detect/verdict.py */
enum { WATCHING = 0, DRIFTING = 1, SETTLING = 2 };      /* settling: drifting, but no longer able to resolve */
enum { GAUGES = 3 };

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

static inline void tracker_push(tracker_t *a, int b)
{
    const int last = a->head;
    for (int i = 0; i < a->gauge_count; i++) {
        const int out = last - a->gauges[i].window;
        gauge_push(&a->gauges[i], b, a->ring[out < 0 ? out + a->capacity : out]);
    }
    if (a->filled == a->capacity)
        a->counts[a->ring[last]]--;
    else
        a->filled++;
    a->counts[b]++;
    a->ring[last] = (uint8_t)b;
    a->head = last + 1 == a->capacity ? 0 : last + 1;
}

static inline int tracker_criterion(tracker_t *a)
{
    for (int i = 0; i < a->gauge_count; i++)
        if (gauge_is_open(&a->gauges[i]))
            return 1;
    return 0;
}

static inline int tracker_watch(tracker_t *a, int b)
{
    if (!a->is_betting)
        return gauge_is_open(&a->gauges[0]) ? RAISED : QUIET;
    if (a->phase == 0)
        evidence_feed(&a->evidence, b);
    if (++a->phase == a->stride)
        a->phase = 0;
    const int is_over = a->evidence.s >= a->evidence.budget;
    return is_over && (!a->has_criterion || tracker_criterion(a)) ? RAISED : QUIET;
}

/* Take the bin of one event; returns what it caused. */
static inline int tracker_observe(tracker_t *a, int b)
{
    a->seen++;
    tracker_push(a, b);
    if (a->mode == WATCHING)
        return tracker_watch(a, b);
    a->calm = gauge_is_calm(&a->gauges[0]) ? a->calm + 1 : 0;
    return a->mode == DRIFTING && a->calm >= a->calm_needed ? RESOLVED : QUIET;
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
