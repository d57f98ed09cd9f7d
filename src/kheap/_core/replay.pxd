# cython: language_level=3
"""C types for `replay.py`."""

cimport cython

from kheap._core._native cimport Column, Loop, i64
from kheap._core.aligned cimport AlignedHeap


cdef class ReplayLoop(Loop):
    cdef AlignedHeap heap
    cdef Column op, id, size, align, heap_of, blocks, offsets, allocated, free, largest
    cdef i64 only
    cdef bint timed, far
    cdef readonly i64 answer, peak_end, failed

    @cython.locals(i=i64)
    cdef i64 turn(self, i64 start, i64 stop) noexcept nogil
    @cython.final
    cdef inline void look_ahead(self, i64 i) noexcept nogil
    @cython.final
    @cython.locals(old=i64, answer=i64, size=i64, place=i64)
    cdef inline i64 step(self, i64 i, i64 op, i64 id) noexcept nogil
    @cython.final
    cdef inline void note(self, i64 i) noexcept nogil
