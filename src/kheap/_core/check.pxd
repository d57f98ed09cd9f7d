# cython: language_level=3
"""C types for `check.py`."""

cimport cython

from kheap._core._native cimport Column, i64
from kheap._core.heap cimport ChunkHeap


cdef class HeapWalk:
    cdef ChunkHeap heap
    cdef readonly i64 fault, fault_chunk, visits
    cdef readonly i64 ring, ring_before, ring_at
    cdef readonly i64 used_count, used_units
    cdef readonly i64 free_count, free_units, undersized_count, largest_units
    cdef readonly double square_sum
    cdef readonly object bucket_count, bucket_largest
    cdef object mark_bytes
    cdef Column count_by, largest_by, marks

    @cython.locals(heap=ChunkHeap, free=i64, used=i64, highest=i64)
    cpdef bint sums(self)
    @cython.final
    cdef inline i64 report(self, i64 c, i64 invariant) noexcept
    @cython.locals(heap=ChunkHeap, field=i64, units=i64)
    cpdef i64 chunk_fault(self, i64 c) noexcept
    cpdef i64 control_fault(self) noexcept
    @cython.locals(heap=ChunkHeap, c=i64, fault=i64, units=i64)
    cdef i64 turn(self, i64 start, i64 stop) noexcept
    @cython.final
    @cython.locals(heap=ChunkHeap, b=i64)
    cdef inline void count(self, i64 c, i64 units) noexcept
    @cython.locals(heap=ChunkHeap, b=i64, head=i64, i=i64)
    cdef i64 walk_rings(self) noexcept
    @cython.final
    @cython.locals(heap=ChunkHeap, c=i64, before=i64)
    cdef inline i64 walk_ring(self, i64 b, i64 head) noexcept
