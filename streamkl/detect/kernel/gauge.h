/* Gauge: the divergence of one window from the reference, in O(1) per event while somebody looks, and for nothing while nobody does.
 *
 * With a_i = c_i + 1/2 over K groups of bins, N = n + K/2 and l_i = log q_i:
 *     KL(window || reference) = S/N - log N - X/N,   S = sum a_i log a_i,   X = sum a_i l_i
 * Both are 64-bit fixed-point numbers: S - X is then exactly that of the current counts, whatever came before,
 * so that nothing drifts in 10^9 events, and a gauge that is counted anew from the ring is the same bit for bit.
 * JS is sum h_i of two-argument terms at a fixed N, in fixed point too; until the window is full it is summed when asked for.
 *
 * Rest: the root of JS is a metric and JS(p, p') <= log 2 TV(p, p'), so that after a look a full window's JS cannot cross a limit for
 * (sqrt(limit) - sqrt(JS))^2 N / log 2 events, and not before the counts are so many events away; until then only counts are kept.
 * Near the limit its terms are kept, two of them new each event.
 */
#ifndef STREAMKL_GAUGE_H
#define STREAMKL_GAUGE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu.h"

enum { BLOCK = 512, MOST_BINS = 256 };  /* events that are taken together where nothing happens; a bin is one byte */
enum { LEAST_REST = 16, SHORT_REST = 4 };  /* events for which it is worth while not to keep the terms of JS; not to sum them anew */
#define JS_SCALE 4503599627370496.0     /* 2^52 */

typedef struct {
    int window, filled;             /* events that it holds when full, and now */
    int groups, occupied;           /* K; groups with an event in the window or the reference */
    int is_js, is_summed;           /* summed: of JS the terms are kept now; KL has none, its sum always is */
    const uint8_t *group_of;        /* (bins,) the group of each bin */
    const int64_t *entropy;         /* (window + 2,) F(c) = (c + 1/2) log(c + 1/2), times scale */
    const double *share;            /* (groups,) q_i */
    const int64_t *log_share;       /* (groups,) log q_i, times scale */
    const uint8_t *in_reference;    /* (groups,) the reference has it */
    int32_t *counts;                /* (groups,) */
    int64_t *terms;                 /* (groups,) JS terms */
    int64_t sum, sum_empty;         /* S - X, and what it is of an empty window */
    int64_t js;                     /* sum of the terms */
    int64_t rest;                   /* events for which the last answer surely stays the same */
    int64_t leeway;                 /* how far, in events, the counts may be from those at the last look, which then stand in `terms`; 0: nowhere */
    int is_beyond;                  /* that answer */
    double scale;
    double limit, calm_limit;       /* nats of plug-in divergence: above limit it is open, at most calm_limit it is calm */
    double bias_per_group;          /* added to both limits for each occupied group but one */
} gauge_t;

/* p log p / 2 + q log q / 2 - m log m with m = (p + q) / 2: the sum over all groups is JS. */
INLINE int64_t gauge_js_term(const gauge_t *a, int group, double total, double log_total)
{
    const double half = a->counts[group] + 0.5, q = a->share[group], m = 0.5 * (half / total + q);
    const double p_log_p = (a->entropy[a->counts[group]] / a->scale - half * log_total) / total;
    return llround((0.5 * (p_log_p + q * (a->log_share[group] / a->scale)) - m * log(m)) * JS_SCALE);
}

INLINE void gauge_sum_js(gauge_t *a)
{
    const double total = a->filled + 0.5 * a->groups, log_total = log(total);
    a->js = 0;
    for (int i = 0; i < a->groups; i++)
        a->js += a->terms[i] = gauge_js_term(a, i, total, log_total);
    a->is_summed = a->filled == a->window;
}

/* Count the window anew: its events stand in the ring before `head`. */
INLINE void gauge_count(gauge_t *a, const uint8_t *ring, int capacity, int filled, int head)
{
    memset(a->counts, 0, a->groups * sizeof *a->counts);
    a->filled = filled < a->window ? filled : a->window;
    for (int i = 0, at = head - a->filled < 0 ? head - a->filled + capacity : head - a->filled; i < a->filled; i++) {
        a->counts[a->group_of[ring[at]]]++;
        at = at + 1 == capacity ? 0 : at + 1;
    }
    a->sum = a->sum_empty;
    a->occupied = a->rest = a->leeway = a->is_summed = 0;
    for (int i = 0; i < a->groups; i++) {
        a->sum += a->entropy[a->counts[i]] - a->entropy[0] - a->counts[i] * a->log_share[i];
        a->occupied += a->counts[i] > 0 || a->in_reference[i];
    }
}

INLINE void gauge_add(gauge_t *a, int group)
{
    const int32_t count = a->counts[group]++;
    a->sum += a->entropy[count + 1] - a->entropy[count] - a->log_share[group];
    a->occupied += count == 0 && !a->in_reference[group];
}

INLINE void gauge_drop(gauge_t *a, int group)
{
    const int32_t count = --a->counts[group];
    a->sum -= a->entropy[count + 1] - a->entropy[count] - a->log_share[group];
    a->occupied -= count == 0 && !a->in_reference[group];
}

/* One event comes in, from group `comes`, and one of group `goes` leaves; the latter is read only when the window is full. */
INLINE void gauge_push(gauge_t *a, int comes, int goes)
{
    a->rest--;
    if (a->filled < a->window) {
        gauge_add(a, comes);
        a->filled++;
        return;
    }
    if (comes == goes)
        return;
    gauge_add(a, comes);
    gauge_drop(a, goes);
    if (a->is_summed) {
        a->js -= a->terms[comes] + a->terms[goes];
        const double total = a->filled + 0.5 * a->groups, log_total = log(total);
        a->terms[comes] = gauge_js_term(a, comes, total, log_total);
        a->terms[goes] = gauge_js_term(a, goes, total, log_total);
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

/* A full window slides over a block: come: (bins,) how many of each bin come in. As the sum is a function of the counts, one step per group does. */
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
        a->occupied += a->in_reference[g] ? 0 : (after > 0) - (before > 0);
    }
    a->rest -= count;
}

/* Events come in, at most BLOCK of them; `ring` holds the ones before them, of which the last stands before `head`. */
INLINE void gauge_push_many(gauge_t *a, const uint8_t *ring, int capacity, int head, const uint8_t *arrivals, int count, const int32_t *come, int bins)
{
    uint8_t leavers[BLOCK];
    gauge_leavers(a, ring, capacity, head, arrivals, count, leavers);
    if (a->filled == a->window && !a->is_summed) {
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
        if (!a->is_summed)
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

/* The limit's own bounds: groups that are in neither may come and go. */
INLINE double gauge_bound(const gauge_t *a, double limit, int is_least)
{
    int occupied = 0;
    for (int i = 0; i < a->groups; i++)
        occupied += !is_least || a->in_reference[i];
    return limit + a->bias_per_group * (occupied - 1);
}

/* By how many events the window differs from that of the last look. */
INLINE int64_t gauge_moved(const gauge_t *a)
{
    int64_t moved = 0;
    for (int i = 0; i < a->groups; i++)
        moved += a->counts[i] > a->terms[i] ? a->counts[i] - a->terms[i] : 0;
    return moved;
}

/* Say whether JS is beyond a limit, and for how long it surely stays the same; if that is long, its terms are not kept meanwhile. */
INLINE int gauge_is_beyond(gauge_t *a, double limit)
{
    a->rest = a->leeway > 0 ? a->leeway - gauge_moved(a) : 0;
    if (a->rest >= SHORT_REST)
        return a->is_beyond;
    const double value = gauge_value(a);
    const int is_beyond = value > limit + a->bias_per_group * (a->occupied - 1);
    if (a->is_js) {
        const double bound = gauge_bound(a, limit, !is_beyond), gap = sqrt(bound > 0.0 ? bound : 0.0) - sqrt(value > 0.0 ? value : 0.0);
        const double rest = is_beyond == (value > bound) ? gap * gap * (a->filled + 0.5 * a->groups) / M_LN2 - 1.0 : 0.0;
        a->is_beyond = is_beyond;
        a->rest = a->leeway = rest >= LEAST_REST ? (int64_t)rest : 0;
        a->is_summed &= a->rest == 0;       /* else other things stand in the place of the terms */
        for (int i = 0; i < a->groups && a->leeway > 0; i++)
            a->terms[i] = a->counts[i];
    }
    return is_beyond;
}

/* Whether the window is full and beyond its limit; or calm. Asked one of the two after each event, until it falls asleep. */
INLINE int gauge_is_open(gauge_t *a)
{
    return a->filled == a->window && (a->rest > 0 ? a->is_beyond : gauge_is_beyond(a, a->limit));
}

INLINE int gauge_is_calm(gauge_t *a)
{
    return a->filled == a->window && !(a->rest > 0 ? a->is_beyond : gauge_is_beyond(a, a->calm_limit));
}

#endif
