# cython: language_level=3
"""C types for `fit.py`."""

cimport cython

from kheap._core._native cimport i64
from kheap._core.aligned cimport AlignedHeap
from kheap._core.replay cimport ReplayLoop


cdef class FitLoop(ReplayLoop):
    cdef readonly i64 slack
    cdef i64 last_units

    @cython.locals(i=i64, op=i64, block=i64, old=i64)
    cdef i64 turn(self, i64 start, i64 stop) noexcept nogil
    @cython.final
    @cython.locals(units=i64, last=i64, b=i64)
    cdef inline void look(self) noexcept nogil
    @cython.final
    cdef inline void bound(self, i64 units) noexcept nogil
    @cython.final
    @cython.locals(wanted=i64)
    cdef inline void bound_search(self, i64 i) noexcept nogil
    @cython.final
    @cython.locals(align=i64, c=i64, units=i64, wanted=i64)
    cdef inline void bound_resize(self, i64 i, i64 offset) noexcept nogil
