# cython: language_level=3
"""C types for `survey.py`."""

cimport cython

from kheap._core._native cimport Column, i64
from kheap._core.check cimport HeapWalk
from kheap._core.heap cimport ChunkHeap


cdef class Survey(HeapWalk):
    cpdef i64 left_of(self, i64 c)
    cpdef i64 field_of(self, i64 c)
    cpdef i64 prev_of(self, i64 c)
    cpdef i64 next_of(self, i64 c)
    cpdef i64 bucket_for(self, i64 units)
    @cython.locals(fault=i64)
    cpdef bint knows_right(self, i64 c)
    @cython.locals(c=i64, right=i64)
    cpdef i64 forward(self, i64 start, i64 stop)
    @cython.locals(heap=ChunkHeap, c=i64, units=i64)
    cpdef i64 back(self, i64 stop, i64 least)
    @cython.locals(u=i64)
    cpdef i64 find(self, i64 start, i64 stop)
    @cython.final
    @cython.locals(c=i64, left=i64)
    cdef inline bint runs(self, i64 start, i64 stop)
    @cython.locals(c=i64, rows=i64)
    cpdef i64 fill(self, i64 start, i64 stop, Column ids, i64 at, i64 room)
    @cython.locals(c=i64, rows=i64)
    cpdef i64 length(self, i64 start, i64 stop)
    @cython.locals(heap=ChunkHeap, i=i64, c=i64, field=i64)
    cpdef states(self, Column ids, i64 rows, Column units, Column states)
