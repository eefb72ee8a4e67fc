/* Order: what the order of a reference's observations tells. */
#ifndef STREAMKL_ORDER_H
#define STREAMKL_ORDER_H

#include <math.h>
#include <stdint.h>

/* One group's part in KL(window || rest): (c + 1/2) log((c + 1/2) / (r - c + 1/2)). */
static inline double order_term(int32_t in_window, int32_t in_all)
{
    const double a = in_window + 0.5;
    return a * log(a / (in_all - in_window + 0.5));
}

/* The largest KL(window || rest) of all windows of `window` consecutive events among m, over K groups, both + 1/2 a group.
 * counts: (K,) of all m; inside: (K,) and terms: (K,) are scratch. 0 < window < m. Two terms change per event. */
static double order_largest(const uint8_t *groups, int64_t m, int64_t window, int k, const int32_t *counts, int32_t *inside, double *terms)
{
    const double n = window + 0.5 * k, rest = m - window + 0.5 * k;
    double sum = 0.0, largest = -INFINITY;
    for (int i = 0; i < k; i++) {
        inside[i] = 0;
        sum += terms[i] = order_term(0, counts[i]);
    }
    for (int64_t t = 0; t < m; t++) {
        const int changed[2] = {groups[t], t >= window ? groups[t - window] : -1};
        inside[changed[0]]++;
        if (changed[1] >= 0)
            inside[changed[1]]--;
        for (int i = 0; i < 2; i++)
            if (changed[i] >= 0) {
                const double term = order_term(inside[changed[i]], counts[changed[i]]);
                sum += term - terms[changed[i]];
                terms[changed[i]] = term;
            }
        if (t >= window - 1 && sum > largest)
            largest = sum;
    }
    return largest / n + log(rest / n);
}

/* The sum of weight[b] over all events of bin b that are met again `lag` events later; lag < m. */
static double order_matches(const uint8_t *bins, int64_t m, int64_t lag, const double *weight)
{
    double sum = 0.0;
    for (int64_t t = 0; t + lag < m; t++)
        sum += bins[t] == bins[t + lag] ? weight[bins[t]] : 0.0;
    return sum;
}

#endif
