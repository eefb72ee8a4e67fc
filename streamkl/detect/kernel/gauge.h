/* Gauge: the divergence of one window from the reference, kept up to date in O(1) per event.
 *
 * With a_i = c_i + 1/2 over K groups of bins, N = n + K/2 and l_i = log q_i:
 *     KL(window || reference) = S/N - log N - X/N,   S = sum a_i log a_i,   X = sum a_i l_i
 * Both are 64-bit fixed-point numbers: S - X is then exactly that of the current counts, whatever came before,
 * so that nothing drifts in 10^9 events and a restored gauge is the same bit for bit.
 * JS is sum h_i of two-argument terms at a fixed N, kept the same way once the window is full; until then it is summed when asked for.
 */
#ifndef STREAMKL_GAUGE_H
#define STREAMKL_GAUGE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

enum { BLOCK = 512, MOST_BINS = 256 };  /* events that are taken together where nothing happens; a bin is one byte */
#define JS_SCALE 4503599627370496.0     /* 2^52 */

typedef struct {
    int window, filled;             /* events that it holds when full, and now */
    int groups, occupied;           /* K; groups with an event in the window or the reference, kept only where there is a bias */
    int is_js;
    const uint8_t *group_of;        /* (bins,) the group of each bin */
    const int64_t *entropy;         /* (window + 2,) F(c) = (c + 1/2) log(c + 1/2), times scale */
    const double *share;            /* (groups,) q_i */
    const int64_t *log_share;       /* (groups,) log q_i, times scale */
    const uint8_t *in_reference;    /* (groups,) the reference has it */
    int32_t *counts;                /* (groups,) */
    int64_t *terms;                 /* (groups,) JS terms */
    int64_t sum, sum_empty;         /* S - X, and what it is of an empty window */
    int64_t js;                     /* sum of the terms */
    double scale;
    double limit, calm_limit;       /* nats of plug-in divergence: above limit it is open, at most calm_limit it is calm */
    double bias_per_group;          /* added to both limits for each occupied group but one */
} gauge_t;

INLINE double js_term(double p, double q)
{
    const double middle = 0.5 * (p + q);
    return 0.5 * (p * log(p / middle) + q * log(q / middle));
}

INLINE int64_t gauge_js_term(const gauge_t *a, int group)
{
    const double p = (a->counts[group] + 0.5) / (a->filled + 0.5 * a->groups);
    return llround(js_term(p, a->share[group]) * JS_SCALE);
}

INLINE void gauge_sum_js(gauge_t *a)
{
    a->js = 0;
    for (int i = 0; i < a->groups; i++)
        a->js += a->terms[i] = gauge_js_term(a, i);
}

static void gauge_clear(gauge_t *a)
{
    memset(a->counts, 0, a->groups * sizeof *a->counts);
    a->filled = a->occupied = 0;
    for (int i = 0; i < a->groups; i++)
        a->occupied += a->in_reference[i];
    a->sum = a->sum_empty;
}

INLINE void gauge_add(gauge_t *a, int group)
{
    const int32_t count = a->counts[group]++;
    a->sum += a->entropy[count + 1] - a->entropy[count] - a->log_share[group];
    if (a->bias_per_group != 0.0)
        a->occupied += count == 0 && !a->in_reference[group];
}

INLINE void gauge_drop(gauge_t *a, int group)
{
    const int32_t count = --a->counts[group];
    a->sum -= a->entropy[count + 1] - a->entropy[count] - a->log_share[group];
    if (a->bias_per_group != 0.0)
        a->occupied -= count == 0 && !a->in_reference[group];
}

/* One event comes in, from group `comes`, and one of group `goes` leaves; the latter is read only when the window is full. */
INLINE void gauge_push(gauge_t *a, int comes, int goes)
{
    if (a->filled < a->window) {
        gauge_add(a, comes);
        if (++a->filled == a->window && a->is_js)
            gauge_sum_js(a);
        return;
    }
    if (comes == goes)
        return;
    gauge_add(a, comes);
    gauge_drop(a, goes);
    if (a->is_js) {
        a->js -= a->terms[comes] + a->terms[goes];
        a->terms[comes] = gauge_js_term(a, comes);
        a->terms[goes] = gauge_js_term(a, goes);
        a->js += a->terms[comes] + a->terms[goes];
    }
}

/* Where the ring holds the oldest event of the window, which the next one pushes out. */
INLINE int gauge_oldest(const gauge_t *a, int capacity, int head)
{
    return head < a->window ? head - a->window + capacity : head - a->window;
}

/* The bins that leave while `count` come in: those of the ring from the oldest one on, then the first that came in themselves. */
INLINE void gauge_leavers(const gauge_t *a, const uint8_t *ring, int capacity, int head, const uint8_t *bins, int count, uint8_t *leavers)
{
    const int oldest = gauge_oldest(a, capacity, head);
    const int in_ring = count < a->window ? count : a->window;
    const int to_end = in_ring < capacity - oldest ? in_ring : capacity - oldest;
    memcpy(leavers, ring + oldest, to_end);
    memcpy(leavers + to_end, ring, in_ring - to_end);
    memcpy(leavers + in_ring, bins, count - in_ring);
}

/* KL of a full window: as the sum is a function of the counts, one step per group does for all events of a block.
 * come: (bins,) how many of each bin come in. */
INLINE void gauge_slide(gauge_t *a, const int32_t *come, int bins, const uint8_t *leavers, int count)
{
    int32_t change[MOST_BINS] = {0}, leave[MOST_BINS] = {0};
    for (int i = 0; i < count; i++)
        leave[leavers[i]]++;
    for (int b = 0; b < bins; b++)
        change[a->group_of[b]] += come[b] - leave[b];
    for (int g = 0; g < a->groups; g++) {
        const int32_t before = a->counts[g], after = before + change[g];
        a->sum += a->entropy[after] - a->entropy[before] - change[g] * a->log_share[g];
        a->counts[g] = after;
    }
}

/* Events come in, at most BLOCK of them; `ring` holds the ones before them, of which the last stands before `head`. */
INLINE void gauge_push_many(gauge_t *a, const uint8_t *ring, int capacity, int head, const uint8_t *arrivals, int count, const int32_t *come, int bins)
{
    uint8_t leavers[BLOCK];
    gauge_leavers(a, ring, capacity, head, arrivals, count, leavers);
    if (a->filled == a->window && !a->is_js && a->bias_per_group == 0.0) {
        gauge_slide(a, come, bins, leavers, count);
        return;
    }
    for (int i = 0; i < count; i++)
        gauge_push(a, a->group_of[arrivals[i]], a->group_of[leavers[i]]);
}

/* Plug-in divergence in nats, of a window that may still be filling. */
INLINE double gauge_value(gauge_t *a)
{
    if (a->is_js) {
        if (a->filled < a->window)
            gauge_sum_js(a);
        return a->js / JS_SCALE;
    }
    const double total = a->filled + 0.5 * a->groups;
    return (double)a->sum / a->scale / total - log(total);
}

INLINE double gauge_bias(const gauge_t *a)
{
    return a->bias_per_group * (a->occupied - 1);
}

INLINE int gauge_is_open(gauge_t *a)
{
    return a->filled == a->window && gauge_value(a) > a->limit + gauge_bias(a);
}

INLINE int gauge_is_calm(gauge_t *a)
{
    return a->filled == a->window && gauge_value(a) <= a->calm_limit + gauge_bias(a);
}

#endif
