/* Fleet: the observations of many streams, taken stream by stream, so that what one stream needs is fetched from memory once a batch.
 *
 * Rule 1: those of one stream are taken in the order in which they came; streams do not see each other.
 */
#ifndef STREAMKL_FLEET_H
#define STREAMKL_FLEET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"
#include "tracker.h"

enum { EMPTY, STEP, TRACKED, HELD };    /* how a slot's observations are taken */
enum { TAPE = 128 };                    /* values of a maturing stream that are kept here before its phase takes them over */
enum { TAPE_DUE = 6 };                  /* beside the verdicts (verdict.py): the tape is to be taken over */
enum { SINGLES = 4, AHEAD = 3 };        /* below so many values no block is made of them; how far ahead memory is asked for */
enum { CACHE_LINE = 64 };

typedef struct {
    tracker_t *tracker;
    const cells_t *cells;
    tracker_t *follower;
    const cells_t *follower_cells;
    double *tape;                       /* (TAPE,) or NULL */
    int64_t count, place;               /* while a batch is ordered: how many of it are this slot's; where the next one goes */
    int16_t on_tape, room;
    int mode;
} slot_t;

/* Order observations by stream: streams as they first come, those of one stream as they came. of: (count,) the slot of each. */
static void fleet_order(slot_t *slots, const int64_t *of, int64_t *order, int64_t count)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++)
        slots[of[i]].count++;
    for (int64_t i = 0; i < count; i++) {
        slot_t *a = &slots[of[i]];
        if (a->count > 0) {
            a->place = used;
            used += a->count;
            a->count = 0;
        }
        order[a->place++] = i;
    }
}

INLINE void fleet_fetch(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += CACHE_LINE)
        __builtin_prefetch((const char *)data + i);
}

/* Ask for what the next observation of a slot needs, in steps: what the slot points at; what that points at; what depends on the value. */
INLINE void slot_fetch(const slot_t *a)
{
    if (a->mode != TRACKED)
        return;
    fleet_fetch(a->tracker, offsetof(tracker_t, gauges));
    __builtin_prefetch(a->cells);
}

INLINE void slot_fetch_arrays(const slot_t *a)
{
    if (a->mode != TRACKED)
        return;
    const tracker_t *t = a->tracker;
    const evidence_t *e = &t->evidence;
    fleet_fetch(a->cells->edges, a->cells->padded * sizeof(double));
    __builtin_prefetch(a->cells->bin_of_cell);
    __builtin_prefetch(t->ring + t->head);
    if (!t->is_betting || t->phase)
        return;
    __builtin_prefetch(e->rows);
    fleet_fetch(e->wealth, e->experts * sizeof(double));
    fleet_fetch(e->inverse_z, e->experts * sizeof(double));
    fleet_fetch(e->recent, e->bins * sizeof(counts_t));
    for (int i = 0; i < PLUG_INS; i++)
        __builtin_prefetch(e->history + ((e->fed - PLUG_IN_WINDOWS[i]) & (HISTORY - 1)));
}

INLINE void slot_fetch_bin(const slot_t *a, double value)
{
    if (a->mode != TRACKED || !a->tracker->is_betting || a->tracker->phase)
        return;
    const int b = cells_bin(a->cells, value);
    __builtin_prefetch(a->tracker->evidence.g + b);
    __builtin_prefetch(a->tracker->evidence.qs + b);
}

/* Ask for what the next slots need, each once. */
INLINE void fleet_look_ahead(const slot_t *slots, const int64_t *of, const int64_t *order, const double *values)
{
    const int64_t next[] = {of[order[AHEAD]], of[order[2 * AHEAD]], of[order[3 * AHEAD]], of[order[4 * AHEAD]]};
    if (next[3] != of[order[4 * AHEAD - 1]])
        __builtin_prefetch(&slots[next[3]]);
    if (next[2] != of[order[3 * AHEAD - 1]])
        slot_fetch(&slots[next[2]]);
    if (next[1] != of[order[2 * AHEAD - 1]])
        slot_fetch_arrays(&slots[next[1]]);
    if (next[0] != of[order[AHEAD - 1]])
        slot_fetch_bin(&slots[next[0]], values[order[AHEAD]]);
}

/* Take values of one stream until one causes something or the tape is full; returns how many were taken. */
INLINE int64_t slot_take(slot_t *a, const double *values, int64_t count, int *verdict)
{
    int64_t taken = 0;
    int ignored;
    *verdict = QUIET;
    if (a->tape != NULL && count > a->room - a->on_tape)
        count = a->room - a->on_tape;
    if (count < SINGLES)
        while (taken < count && *verdict == QUIET)
            *verdict = tracker_take(a->tracker, a->cells, values[taken++]);
    else
        taken = tracker_take_many(a->tracker, a->cells, values, count, verdict);
    for (int64_t i = 0; a->follower != NULL && i < taken;)
        i += tracker_take_many(a->follower, a->follower_cells, values + i, taken - i, &ignored);
    if (a->tape != NULL) {
        memcpy(a->tape + a->on_tape, values, taken * sizeof *values);
        a->on_tape += taken;
        if (*verdict == QUIET && a->on_tape >= a->room)
            *verdict = TAPE_DUE;        /* the caller takes the tape over before the next value comes */
    }
    return taken;
}

/* Take observations from order[at] on until one causes something or is not for a tracker; returns where it stopped. */
FOR_EACH_CPU static int64_t fleet_take(
    slot_t *slots, const int64_t *of, const double *values, const int64_t *order, int64_t at, int64_t count, int *verdict)
{
    double block[BLOCK];
    for (*verdict = QUIET; at < count && *verdict == QUIET;) {
        const int64_t slot = of[order[at]], most = count - at < BLOCK ? count - at : BLOCK;
        int64_t taken = 0;
        if (slots[slot].mode != TRACKED)
            return at;
        for (; taken < most && of[order[at + taken]] == slot; taken++) {
            block[taken] = values[order[at + taken]];
            if (at + taken + 4 * AHEAD < count)
                fleet_look_ahead(slots, of, order + at + taken, values);
        }
        at += slot_take(&slots[slot], block, taken, verdict);
    }
    return at;
}

#endif
