/* Bins: which cell a value falls in. */
#ifndef STREAMKL_BINS_H
#define STREAMKL_BINS_H

#include <stdint.h>

#include "cpu.h"

/* Number of edges below x = index of the cell with edges[i-1] < x <= edges[i]; edges are padded with NaN to a multiple of LANES.
 * x must not be NaN: it has a bin of its own. All edges are compared: for at most 250 that beats a search, whose branches miss. */
FOR_EACH_CPU static int64_t bins_cell(const double *edges, int padded, double x)
{
    int64_t below = 0;
    for (int i = 0; i < padded; i++)
        below += edges[i] < x;
    return below;
}

#endif
