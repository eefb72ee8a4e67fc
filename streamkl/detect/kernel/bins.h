/* Bins: which bin a value falls in. */
#ifndef STREAMKL_BINS_H
#define STREAMKL_BINS_H

#include <stdint.h>

#include "cpu.h"

typedef struct {
    double *edges;                  /* (padded,) inclusive upper edges, filled up with NaN to a multiple of LANES */
    uint8_t *bin_of_cell;           /* (edges + 1,) */
    int padded, missing;
} cells_t;

/* The bin of x. Cell i holds edges[i-1] < x <= edges[i], so its index is the number of edges below x. All edges are compared:
 * for at most 250 that beats a search, whose branches miss. */
INLINE int cells_bin(const cells_t *cells, double x)
{
    const lanes_t all = {x, x, x, x};
    mask_t even = {0}, odd = {0};
    if (x != x)
        return cells->missing;
    for (int i = 0; i < cells->padded; i += LANES) {
        const lanes_t *edges = (const lanes_t *)(cells->edges + i);
        even -= edges[0] < all;             /* a comparison that holds is -1 */
        odd -= edges[1] < all;
    }
    even += odd;
    return cells->bin_of_cell[even[0] + even[1] + even[2] + even[3]];
}

/* The bins of many values: eight at a time are compared with one edge. */
INLINE void cells_bins(const cells_t *cells, const double *values, uint8_t *bins, int count)
{
    const size_t padded = cells->padded & ~(size_t)(LANES - 1);     /* as it is, told to the compiler */
    const double *const edges = cells->edges;
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        const lanes_t *x = (const lanes_t *)(values + i);
        mask_t low = {0}, high = {0};
#pragma GCC unroll 8
        for (size_t e = 0; e < padded; e++) {
            low -= edges[e] < x[0];
            high -= edges[e] < x[1];
        }
        for (int j = 0; j < LANES; j++) {
            const int64_t below = j < LANES / 2 ? low[j] : high[j - LANES / 2];
            bins[i + j] = values[i + j] == values[i + j] ? cells->bin_of_cell[below] : (uint8_t)cells->missing;
        }
    }
    for (; i < count; i++)
        bins[i] = (uint8_t)cells_bin(cells, values[i]);
}

#endif
