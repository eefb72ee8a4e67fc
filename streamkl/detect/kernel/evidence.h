/* Evidence: a mixture Shiryaev-Roberts e-detector that bets against the reference (tests/specification/evidence.py is its meaning).
 *
 * Rule 1: the predictive probability is read, and the bet made, before the event is counted.
 * Rule 2: what an expert's factor is divided by (qs, 1/Z) is refreshed on a schedule that never looks at the current event.
 * Rule 3: the table of likelihood ratios is shared; a stream holds its wealth, its counts and its last HISTORY bins.
 */
#ifndef STREAMKL_EVIDENCE_H
#define STREAMKL_EVIDENCE_H

#include <stdint.h>
#include <string.h>

#include "cpu.h"

enum { PLUG_INS = 3, HISTORY = 1024 };
static const int PLUG_IN_WINDOWS[PLUG_INS] = {64, 256, 1024};
static const lanes_t PLUG_IN_SIZES = {64.0, 256.0, 1024.0, 0.0};
static const counts_t ONE_EACH = {1, 1, 1, 0};
#define PLUG_IN_SHARE 0.25
#define WEALTH_CAP 1000.0           /* times the budget: a closed criterion must not hoard wealth for ever */
#define REFERENCE_CAP 1e6           /* events after which the reference stops growing */

typedef struct {
    int bins, experts;              /* experts is padded to a multiple of LANES with prior 0 */
    const double *table;            /* (rows, experts) likelihood ratios, shared */
    const double *prior;            /* (experts,) sums to 1 - PLUG_IN_SHARE, shared */
    uint8_t *rows;                  /* (bins,) row of the table */
    double *g, *qs;                 /* (bins,) Polya counts; their shares when last refreshed */
    double *kept;                   /* (bins,) counts before the wealth began to rise: what an alarm rolls back to */
    double *inverse_z, *wealth;     /* (experts,) 1/Z; prior times R */
    double plug_in[PLUG_INS + 1];   /* P; the last is padding, always 0 */
    double weights[PLUG_INS + 1];   /* 1 / (events in the window + w) */
    uint16_t *recent;               /* (bins, PLUG_INS + 1) counts of the last fed bins; padded to 8 bytes a bin */
    uint8_t *history;               /* (HISTORY,) ring of fed bins */
    double least_prior;             /* of an expert: below this times the cap no R can exceed the cap */
    double total;                   /* N, the sum of g */
    double budget;                  /* A / stride */
    double s;                       /* the evidence S */
    int64_t fed, clock, refresh_at; /* events since the last reset; ever; when qs and Z are due */
    int64_t kept_at;                /* clock when `kept` was kept */
    uint8_t is_unseen[2];           /* bins that were never met: novel or other, missing */
    uint8_t kept_unseen[2];
} evidence_t;

INLINE double evidence_sum(const double *values, int count)
{
    double sum = 0.0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

INLINE void evidence_inverse_z(evidence_t *a)
{
    for (int e = 0; e < a->experts; e += LANES) {
        lanes_t even = {0}, odd = {0};
        for (int b = 0; b < a->bins; b++) {
            const lanes_t *row = (const lanes_t *)(a->table + (size_t)a->rows[b] * a->experts + e);
            even += a->qs[b] * row[0];
            odd += a->qs[b] * row[1];
        }
        lanes_t *z = (lanes_t *)(a->inverse_z + e);
        z[0] = 1.0 / even;
        z[1] = 1.0 / odd;
    }
}

INLINE void evidence_keep(evidence_t *a)
{
    a->kept_at = a->clock;
    memcpy(a->kept, a->g, a->bins * sizeof *a->g);
    memcpy(a->kept_unseen, a->is_unseen, sizeof a->is_unseen);
}

INLINE void evidence_refresh(evidence_t *a)
{
    if (a->s <= 2.0 * a->fed)
        evidence_keep(a);
    for (int b = 0; b < a->bins; b++)
        a->qs[b] = a->g[b] / a->total;
    evidence_inverse_z(a);
    const int64_t pause = (int64_t)(0.02 * a->total);
    a->refresh_at = a->total < REFERENCE_CAP ? a->clock + (pause > 16 ? pause : 16) : INT64_MAX;
}

/* Every expert bets: R = (1 + R) L / Z f, all times its prior; returns the sum in a fixed order. */
INLINE double evidence_bet(double *wealth, const double *prior, const double *row, const double *inverse_z, double f, int experts)
{
    lanes_t even = {0}, odd = {0};
    for (size_t e = 0; e < (size_t)experts; e += LANES) {
        const lanes_t *p = (const lanes_t *)(prior + e), *l = (const lanes_t *)(row + e), *z = (const lanes_t *)(inverse_z + e);
        lanes_t *w = (lanes_t *)(wealth + e);
        w[0] = (p[0] + w[0]) * ((l[0] * z[0]) * f);
        w[1] = (p[1] + w[1]) * ((l[1] * z[1]) * f);
        even += w[0];
        odd += w[1];
    }
    even += odd;
    return (even[0] + even[2]) + (even[1] + even[3]);
}

/* No expert's R may exceed the cap; called only where one of them could. */
INLINE double evidence_cap(double *wealth, const double *prior, double cap, int experts)
{
    double sum = 0.0;
    for (int e = 0; e < experts; e++) {
        const double top = prior[e] * cap;
        wealth[e] = wealth[e] < top ? wealth[e] : top;
        sum += wealth[e];
    }
    return sum;
}

INLINE uint16_t *evidence_recent(const evidence_t *a, int b)
{
    return a->recent + (size_t)b * (PLUG_INS + 1);
}

/* The histogram of the last w fed bins bets, w = 64, 256, 1024; returns the sum of the three. */
INLINE double evidence_plug_in(evidence_t *a, int b, double inverse_q, double cap)
{
    const double share = a->g[b] / a->total;
    const counts_t *recent = (const counts_t *)evidence_recent(a, b);
    lanes_t *p = (lanes_t *)a->plug_in, *weights = (lanes_t *)a->weights;
    const lanes_t bets = (__builtin_convertvector(*recent, lanes_t) + PLUG_IN_SIZES * share) * *weights * inverse_q;
    *p = (1.0 + *p) * bets;
    double sum = (*p)[0] + (*p)[1] + (*p)[2];
    if (sum > cap) {
        sum = 0.0;
        for (int i = 0; i < PLUG_INS; i++)
            sum += a->plug_in[i] = a->plug_in[i] < cap ? a->plug_in[i] : cap;
    }
    return sum;
}

/* 1 / (events in the window + w), which stays the same once all windows are full. */
INLINE void evidence_weigh(evidence_t *a)
{
    for (int i = 0; i < PLUG_INS; i++) {
        const int w = PLUG_IN_WINDOWS[i];
        a->weights[i] = 1.0 / (double)((a->fed < w ? a->fed : w) + w);
    }
}

/* Add bin b to the history from which the histogram bets. */
INLINE void evidence_remember(evidence_t *a, int b)
{
    *(counts_t *)evidence_recent(a, b) += ONE_EACH;
    for (int i = 0; i < PLUG_INS; i++) {
        const int64_t w = PLUG_IN_WINDOWS[i];
        if (a->fed >= w)
            evidence_recent(a, a->history[(a->fed - w) & (HISTORY - 1)])[i]--;
    }
    a->history[a->fed & (HISTORY - 1)] = (uint8_t)b;
    if (a->fed++ < HISTORY)
        evidence_weigh(a);
}

/* Put back a history of `count` bins, oldest first, of which the last is number fed - 1. */
static void evidence_recall(evidence_t *a, const uint8_t *bins, int64_t count, int64_t fed)
{
    memset(a->recent, 0, a->bins * (PLUG_INS + 1) * sizeof *a->recent);
    for (int64_t age = count; age > 0; age--) {
        const uint8_t b = bins[count - age];
        a->history[(fed - age) & (HISTORY - 1)] = b;
        for (int i = 0; i < PLUG_INS; i++)
            evidence_recent(a, b)[i] += age <= PLUG_IN_WINDOWS[i];
    }
    a->fed = fed;
    evidence_weigh(a);
}

/* 1 / the probability of bin b before this event is counted; bins that were never met do not take part in it until they are. */
INLINE double evidence_inverse_q(evidence_t *a, int b)
{
    const int extra = b - (a->bins - 2);
    if (extra >= 0 && a->is_unseen[extra]) {
        a->is_unseen[extra] = 0;
        return a->total / a->g[b];
    }
    return (a->total - 0.5 * (a->is_unseen[0] + a->is_unseen[1])) / a->g[b];
}

/* Bet on the bin of one event, then count it. */
INLINE void evidence_feed(evidence_t *a, int b)
{
    if (a->clock >= a->refresh_at)
        evidence_refresh(a);
    const double inverse_q = evidence_inverse_q(a, b), cap = WEALTH_CAP * a->budget;
    const double *row = a->table + (size_t)a->rows[b] * a->experts;
    double experts = evidence_bet(a->wealth, a->prior, row, a->inverse_z, a->qs[b] * inverse_q, a->experts);
    if (experts > a->least_prior * cap)
        experts = evidence_cap(a->wealth, a->prior, cap, a->experts);
    a->s = experts + PLUG_IN_SHARE / PLUG_INS * evidence_plug_in(a, b, inverse_q, cap);
    evidence_remember(a, b);
    a->clock++;
    if (a->total < REFERENCE_CAP && a->s < a->budget) {
        a->g[b] += 1.0;
        a->total += 1.0;
    }
}

/* Take over the wealth that the same bets have earned beside a smaller reference. */
static void evidence_inherit(evidence_t *a, const evidence_t *other, double factor)
{
    double experts = 0.0, plug_in = 0.0;
    for (int e = 0; e < a->experts; e++)
        experts += a->wealth[e] = factor * other->wealth[e];
    for (int i = 0; i < PLUG_INS; i++)
        plug_in += a->plug_in[i] = factor * other->plug_in[i];
    a->s = experts + PLUG_IN_SHARE / PLUG_INS * plug_in;
}

/* After an alarm: no wealth, and the reference as it was before the wealth began to rise. */
static void evidence_roll_back(evidence_t *a)
{
    memset(a->wealth, 0, a->experts * sizeof *a->wealth);
    memset(a->plug_in, 0, sizeof a->plug_in);
    memcpy(a->g, a->kept, a->bins * sizeof *a->g);
    memcpy(a->is_unseen, a->kept_unseen, sizeof a->is_unseen);
    a->total = evidence_sum(a->g, a->bins);
    a->s = 0.0;
}

/* After an episode: the histogram bets start with no history, and the shares are due for a refresh. */
static void evidence_restart(evidence_t *a)
{
    memset(a->recent, 0, a->bins * (PLUG_INS + 1) * sizeof *a->recent);
    a->fed = 0;
    a->refresh_at = a->clock;
    evidence_weigh(a);
}

#endif
