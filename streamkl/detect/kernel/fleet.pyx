# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False, autotestdict=False
"""Fleet: many streams, one loop: observations of any of them, those of one stream in the order in which they came.

Rule 1: each observation is taken as its own stream's tracker takes it; nothing depends on the streams beside it.
Rule 2: what is not plain watching - learning, an episode - is a Python call; the loop stops where one observation caused something.
Rule 3: plain watching runs without the interpreter's lock; what changes a fleet meanwhile, from another thread, is refused.
"""

from libc.stdint cimport int16_t, int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from cpython.bytes cimport PyBytes_FromStringAndSize
from cython cimport final

from streamkl.detect.kernel.kernel cimport *
from streamkl.detect.kernel.tracker cimport Tracker


@final
cdef class Fleet:
    """Take observations for many streams; see fleet.pyi."""

    cdef slot_t *slots
    cdef Py_ssize_t size, capacity
    cdef list steps, trackers
    cdef bint is_busy                   # set and read with the interpreter's lock held

    def __cinit__(self):
        self.slots, self.size, self.capacity = NULL, 0, 0
        self.steps, self.trackers = [], []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.size):
            free(self.slots[i].tape)
        free(self.slots)

    def __len__(self):
        return self.size

    def grow(self, Py_ssize_t count):
        """Add empty slots; return the first."""
        self._refuse_threads()
        cdef Py_ssize_t first = self.size, capacity = self.capacity
        cdef slot_t *slots
        if first + count > capacity:
            capacity = max(2 * capacity, first + count, 64)
            slots = <slot_t *>realloc(self.slots, capacity * sizeof(slot_t))
            if slots == NULL:
                raise MemoryError(f"no memory for {capacity} streams")
            self.slots, self.capacity = slots, capacity
        memset(&self.slots[first], 0, count * sizeof(slot_t))
        self.size = first + count
        self.steps += [None] * count
        self.trackers += [None] * count
        return first

    def empty(self, Py_ssize_t slot):
        """Forget what the slot held."""
        cdef slot_t *a = self._at(slot)
        free(a.tape)
        memset(a, 0, sizeof(slot_t))
        self.steps[slot] = self.trackers[slot] = None

    def hold(self, Py_ssize_t slot):
        """From now on the slot's observations are not taken but listed as held."""
        self._at(slot).mode = HELD

    def follow(self, Py_ssize_t slot, step):
        """From now on the slot's observations are taken by a Python call."""
        self.empty(slot)
        self.steps[slot] = step
        self.slots[slot].mode = STEP

    def track(self, Py_ssize_t slot, Tracker tracker not None, int64_t room=0):
        """From now on a numeric slot's observations are taken by a tracker; room: and kept on a tape that has room for so many, 0: none."""
        self.empty(slot)
        cdef slot_t *a = &self.slots[slot]
        if not tracker.is_numeric:
            raise ValueError("only a numeric stream is tracked natively")
        if room > 0:
            a.tape, a.room = <double *>malloc(TAPE * sizeof(double)), <int16_t>min(room, <int64_t>TAPE)
            if a.tape == NULL:
                raise MemoryError("no memory for the newest values of a stream")
        a.tracker, a.cells, a.mode = tracker.t, &tracker.cells, TRACKED
        if tracker.follower is not None:
            a.follower, a.follower_cells = tracker.follower.t, &tracker.follower.cells
        self.trackers[slot] = tracker   # so that it lives as long as it is pointed at

    def tape(self, Py_ssize_t slot):
        """Return the doubles on the slot's tape, as bytes, and empty it."""
        cdef slot_t *a = self._at(slot)
        values = PyBytes_FromStringAndSize(<char *>a.tape, a.on_tape * sizeof(double)) if a.on_tape else b""
        a.on_tape = 0
        return values

    def make_room(self, Py_ssize_t slot, int64_t room):
        """Give an empty tape room for so many values."""
        cdef slot_t *a = self._at(slot)
        if a.tape == NULL or a.on_tape or room < 1:
            raise ValueError(f"slot {slot} has no empty tape, or no room was given")
        a.room = <int16_t>min(room, <int64_t>TAPE)

    def order(self, const int64_t[::1] slots, int64_t[::1] order not None):
        """Fill `order` with the indices of observations, stream by stream, those of one stream in their order."""
        if order.shape[0] != slots.shape[0]:
            raise ValueError(f"room for the order of {order.shape[0]} observations, and {slots.shape[0]} were given; give room for each")
        self._check(slots, slots.shape[0], 0)
        if slots.shape[0]:
            fleet_order(self.slots, &slots[0], &order[0], slots.shape[0])

    def take(self, const int64_t[::1] slots, const double[::1] values, const int64_t[::1] order, Py_ssize_t at, list held):
        """Take observations from order[at] on until one causes something; return (where it stopped, what it caused)."""
        cdef int verdict = QUIET
        cdef Py_ssize_t count = slots.shape[0], i
        if values.shape[0] != count or order.shape[0] != count:
            raise ValueError(f"{count} slots for {values.shape[0]} values in an order of {order.shape[0]}; give one for each")
        self._refuse_threads()
        while at < count and verdict == QUIET:
            self.is_busy = True
            with nogil:
                at = fleet_take(self.slots, &slots[0], &values[0], &order[0], at, count, &verdict)
            self.is_busy = False
            while at < count and verdict == QUIET and self.slots[slots[order[at]]].mode != TRACKED:
                i = order[at]
                at += 1
                if self.slots[slots[i]].mode == HELD:
                    held.append(i)
                else:
                    verdict = self.steps[slots[i]](values[i])
        return at, verdict

    def take_objects(self, const int64_t[::1] slots, list values, Py_ssize_t start, list held):
        """The same for values that are not all numbers."""
        cdef Py_ssize_t i
        cdef int verdict = QUIET
        self._refuse_threads()
        self._check(slots, len(values), start)
        for i in range(start, slots.shape[0]):
            if self.slots[slots[i]].mode == HELD:
                held.append(i)
            elif self.slots[slots[i]].mode == STEP:
                verdict = self.steps[slots[i]](values[i])
                if verdict != QUIET:
                    return i + 1, verdict
            else:
                raise ValueError(f"slot {slots[i]} takes numbers; give them as an array")
        return slots.shape[0], QUIET

    cdef int _refuse_threads(self) except -1:
        if self.is_busy:
            raise RuntimeError("another thread is updating these streams; give each thread its own pool, or take a lock around it")
        return 0

    cdef slot_t *_at(self, Py_ssize_t slot) except NULL:
        self._refuse_threads()
        if not 0 <= slot < self.size:
            raise IndexError(f"there is no slot {slot}, there are {self.size}; ask the pool for one first")
        return &self.slots[slot]

    cdef int _check(self, const int64_t[::1] slots, Py_ssize_t values, Py_ssize_t start) except -1:
        cdef Py_ssize_t i
        if slots.shape[0] != values:
            raise ValueError(f"{slots.shape[0]} slots for {values} values; give one for each")
        for i in range(start, slots.shape[0]):
            if not 0 <= slots[i] < self.size or self.slots[slots[i]].mode == EMPTY:
                raise IndexError(f"slot {slots[i]} holds no stream; ask the pool for a slot first")
        return 0
