/* Instruction sets: the same C compiled twice, the faster one chosen when the program is loaded.
 *
 * Rule: every loop keeps a fixed order of additions in eight lanes, and nothing is contracted to fused multiply-adds
 * (-ffp-contract=off), so that the evidence is bit-identical whichever one runs.
 */
#ifndef STREAMKL_CPU_H
#define STREAMKL_CPU_H

#include <stdlib.h>

enum { LANES = 8 };

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("default", "avx2"), noinline))
#else
#define FOR_EACH_CPU
#endif

#endif
