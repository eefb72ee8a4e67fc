/* Slab: the memory of many streams, one piece each, side by side in huge pages.
 *
 * Rule 1: a piece begins with a line of the cache and is zeroed. Pieces of one size that were given back are used again; chunks are kept.
 * Rule 2: the first chunk is small, as most programs have one stream; each later one is twice as large, up to LARGEST_CHUNK.
 * Rule 3: called with the interpreter's lock held.
 */
#ifndef STREAMKL_SLAB_H
#define STREAMKL_SLAB_H

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { PIECE = 64, SIZES = 512, FIRST_CHUNK = 1 << 16, HUGE_PAGE = 1 << 21, LARGEST_CHUNK = 1 << 26 };

typedef struct free_piece { struct free_piece *next; } free_piece_t;

static struct {
    free_piece_t *free[SIZES];      /* of PIECE, 2 PIECE, ... bytes */
    char *chunk;
    size_t used, size, held;        /* of the chunk; held: bytes of all pieces that are in use */
} slab;

static int slab_grow(void)
{
    const size_t size = slab.size == 0 ? FIRST_CHUNK : slab.size < LARGEST_CHUNK ? 2 * slab.size : LARGEST_CHUNK;
    char *chunk = aligned_alloc(size < HUGE_PAGE ? PIECE : HUGE_PAGE, size);
    if (chunk == NULL)
        return -1;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size >= HUGE_PAGE)
        madvise(chunk, size, MADV_HUGEPAGE);
#endif
    slab.chunk = chunk;
    slab.size = size;
    slab.used = 0;
    return 0;
}

/* Return a zeroed piece of so many bytes; NULL: there is no memory. */
static void *slab_take(size_t bytes)
{
    const size_t pieces = (bytes + PIECE - 1) / PIECE, size = pieces * PIECE;
    char *piece;
    if (pieces >= SIZES) {
        piece = aligned_alloc(PIECE, size);
    } else if (slab.free[pieces] != NULL) {
        piece = (char *)slab.free[pieces];
        slab.free[pieces] = slab.free[pieces]->next;
    } else {
        if (slab.size - slab.used < size && slab_grow() < 0)
            return NULL;
        piece = slab.chunk + slab.used;
        slab.used += size;
    }
    if (piece != NULL) {
        memset(piece, 0, size);
        slab.held += size;
    }
    return piece;
}

/* Give a piece back. */
static void slab_give(void *piece, size_t bytes)
{
    const size_t pieces = (bytes + PIECE - 1) / PIECE;
    if (piece == NULL)
        return;
    slab.held -= pieces * PIECE;
    if (pieces >= SIZES) {
        free(piece);
    } else {
        ((free_piece_t *)piece)->next = slab.free[pieces];
        slab.free[pieces] = piece;
    }
}

static size_t slab_held(void)
{
    return slab.held;
}

#endif
