# The memory of trackers; its state is that of the one module that takes from it.

cdef extern from "slab.h":
    void *slab_take(size_t bytes)
    void slab_give(void *piece, size_t bytes)
    size_t slab_held()
