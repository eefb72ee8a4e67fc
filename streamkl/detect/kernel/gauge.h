/* Gauge: the divergence of one window from the reference, kept up to date in O(1) per event.
 *
 * With a_i = c_i + 1/2 over K groups of bins, N = n + K/2 and l_i = log q_i:
 *     KL(window || reference) = S/N - log N - X/N,   S = sum a_i log a_i,   X = sum a_i l_i
 * Both sums are 64-bit fixed-point numbers: a sum is then exactly that of the current counts, whatever came before,
 * so that nothing drifts in 10^9 events and a restored gauge is the same bit for bit.
 * JS is sum h_i of two-argument terms at a fixed N, kept the same way once the window is full; until then it is summed when asked for.
 */
#ifndef STREAMKL_GAUGE_H
#define STREAMKL_GAUGE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define JS_SCALE 4503599627370496.0     /* 2^52 */

typedef struct {
    int window, filled;             /* events that it holds when full, and now */
    int groups, occupied;           /* K; groups with an event in the window or the reference */
    int is_js;
    const uint8_t *group_of;        /* (bins,) the group of each bin */
    const int64_t *entropy_step;    /* (window + 1,) F(c + 1) - F(c), F(c) = (c + 1/2) log(c + 1/2), times scale */
    const double *share;            /* (groups,) q_i */
    const int64_t *log_share;       /* (groups,) log q_i, times scale / 2 */
    const uint8_t *in_reference;    /* (groups,) the reference has it */
    int32_t *counts;                /* (groups,) */
    int64_t *terms;                 /* (groups,) JS terms */
    int64_t entropy, entropy_empty; /* S, and S of the empty window */
    int64_t cross, cross_empty;     /* X */
    int64_t js;
    double scale;
    double limit, calm_limit;       /* nats of plug-in divergence: above limit it is open, at most calm_limit it is calm */
    double bias_per_group;          /* added to both limits for each occupied group but one */
} gauge_t;

static inline double js_term(double p, double q)
{
    const double middle = 0.5 * (p + q);
    return 0.5 * (p * log(p / middle) + q * log(q / middle));
}

static inline int64_t gauge_js_term(const gauge_t *a, int group)
{
    const double p = (a->counts[group] + 0.5) / (a->filled + 0.5 * a->groups);
    return llround(js_term(p, a->share[group]) * JS_SCALE);
}

static void gauge_sum_js(gauge_t *a)
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
    a->entropy = a->entropy_empty;
    a->cross = a->cross_empty;
}

static inline void gauge_add(gauge_t *a, int group)
{
    const int32_t count = a->counts[group]++;
    a->entropy += a->entropy_step[count];
    a->cross += 2 * a->log_share[group];
    a->occupied += count == 0 && !a->in_reference[group];
}

static inline void gauge_drop(gauge_t *a, int group)
{
    const int32_t count = --a->counts[group];
    a->entropy -= a->entropy_step[count];
    a->cross -= 2 * a->log_share[group];
    a->occupied -= count == 0 && !a->in_reference[group];
}

/* One event comes in; `out` is the bin that the window loses, read only when it is full. */
static inline void gauge_push(gauge_t *a, int in, int out)
{
    const int comes = a->group_of[in];
    if (a->filled < a->window) {
        gauge_add(a, comes);
        if (++a->filled == a->window && a->is_js)
            gauge_sum_js(a);
        return;
    }
    const int goes = a->group_of[out];
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

/* Plug-in divergence in nats, of a window that may still be filling. */
static inline double gauge_value(gauge_t *a)
{
    if (a->is_js) {
        if (a->filled < a->window)
            gauge_sum_js(a);
        return a->js / JS_SCALE;
    }
    const double total = a->filled + 0.5 * a->groups;
    return (double)(a->entropy - a->cross) / a->scale / total - log(total);
}

static inline double gauge_bias(const gauge_t *a)
{
    return a->bias_per_group * (a->occupied - 1);
}

static inline int gauge_is_open(gauge_t *a)
{
    return a->filled == a->window && gauge_value(a) > a->limit + gauge_bias(a);
}

static inline int gauge_is_calm(gauge_t *a)
{
    return a->filled == a->window && gauge_value(a) <= a->calm_limit + gauge_bias(a);
}

#endif
