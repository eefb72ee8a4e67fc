# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False, autotestdict=False
"""Order: what the order of a reference's observations tells, as far as that would be slow in Python."""

from array import array

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "order.h":
    double order_largest(
        const uint8_t *groups, int64_t m, int64_t window, int k, const int32_t *counts, int32_t *inside, double *terms) nogil
    double order_matches(const uint8_t *bins, int64_t m, int64_t lag, const double *weight) nogil


def largest_inside(const uint8_t[::1] groups, int64_t window, int k):
    """Return the largest KL(window || rest); see order.pyi."""
    cdef int64_t m = groups.shape[0], i
    cdef double largest
    cdef int32_t[::1] counts = array("i", [0]) * k
    cdef int32_t[::1] inside = array("i", [0]) * k
    cdef double[::1] terms = array("d", [0.0]) * k
    if not 0 < window < m:
        raise ValueError(f"a window of {window} does not fit inside a reference of {m} observations; shorten it")
    _check(groups, k)
    for i in range(m):
        counts[groups[i]] += 1
    with nogil:
        largest = order_largest(&groups[0], m, window, k, &counts[0], &inside[0], &terms[0])
    return largest


def matches(const uint8_t[::1] bins, const double[::1] weights, int64_t longest):
    """Return for each lag the weight of what is met again; see order.pyi."""
    cdef int64_t m = bins.shape[0], lag
    cdef double[::1] sums = array("d", [0.0]) * max(longest, 0)
    if not 0 <= longest < m:
        raise ValueError(f"a reference of {m} observations has no lag {longest}; shorten it")
    _check(bins, weights.shape[0])
    with nogil:
        for lag in range(1, longest + 1):
            sums[lag - 1] = order_matches(&bins[0], m, lag, &weights[0])
    return sums.base


cdef int _check(const uint8_t[::1] bins, Py_ssize_t k) except -1:
    cdef Py_ssize_t i
    for i in range(bins.shape[0]):
        if bins[i] >= k:
            raise ValueError(f"bin {bins[i]} is not one of {k}")
    return 0
