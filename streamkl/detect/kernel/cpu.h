/* Instruction sets: the same C compiled twice, the faster one chosen when the program is loaded.
 *
 * FOR_EACH_CPU stands before the few functions that Python calls per event or per batch; all below them is INLINE, so that it
 * is compiled for the same processor.
 *
 * Rule: every sum keeps a fixed order of additions in eight lanes, and nothing is contracted to fused multiply-adds
 * (-ffp-contract=off), so that the same tables give the same evidence, bit for bit, whichever one runs. (The tables are made with the
 * exp and log of the C library and numpy, whose last digit may differ from one kind of processor to another.)
 */
#ifndef STREAMKL_CPU_H
#define STREAMKL_CPU_H

#include <stdint.h>
#include <stdlib.h>

enum { LANES = 8 };
typedef double lanes_t __attribute__((vector_size(32), aligned(8), may_alias));     /* half of them */
typedef int64_t mask_t __attribute__((vector_size(32)));
typedef uint16_t counts_t __attribute__((vector_size(8), may_alias));

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("default", "avx2"), noinline))
#else
#define FOR_EACH_CPU
#endif

#define INLINE static inline __attribute__((always_inline))

#endif
