# cython: language_level=3
"""C types for `aligned.py`."""

cimport cython

from kheap._core._native cimport i64
from kheap._core.heap cimport ChunkHeap


cdef class AlignedHeap(ChunkHeap):
    cdef readonly i64 sought
    cdef i64 sought_align, sought_rewind, sought_step

    @cython.locals(found=i64)
    cdef i64 take_aligned(self, i64 request_bytes, i64 align) noexcept nogil
    @cython.locals(rewind=i64, step=i64)
    cdef i64 seek(self, i64 request_bytes, i64 align) noexcept nogil
    @cython.final
    @cython.locals(size=i64, memory=i64, place=i64, c=i64, end=i64, stop=i64, freed=i64)
    cdef inline i64 place_aligned(self, i64 found, i64 request_bytes, i64 align, i64 rewind) noexcept nogil
    @cython.final
    cdef inline i64 gap(self, i64 offset) noexcept nogil
    cdef i64 usable(self, i64 c, i64 offset) noexcept nogil
    @cython.locals(freed=i64, c=i64, units=i64, answer=i64)
    cdef i64 resize(self, i64 offset, i64 request_bytes, i64 align) noexcept nogil
    @cython.final
    @cython.locals(size=i64, right=i64, right_size=i64)
    cdef inline i64 resize_in_place(self, i64 c, i64 units) noexcept nogil
    @cython.final
    @cython.locals(suffix=i64, end=i64, freed=i64)
    cdef inline void shrink(self, i64 c, i64 size, i64 units, i64 right_size) noexcept nogil
    @cython.final
    @cython.locals(right=i64, end=i64, rest=i64, freed=i64)
    cdef inline void grow(self, i64 c, i64 size, i64 units, i64 right_size) noexcept nogil
    @cython.final
    @cython.locals(found=i64, held=i64, moved=i64)
    cdef inline i64 move(self, i64 c, i64 offset, i64 request_bytes, i64 align) noexcept nogil

    @cython.locals(c=i64)
    cdef i64 block_end(self, i64 offset) noexcept nogil
    @cython.locals(c=i64)
    cdef void prefetch_sides(self, i64 offset) noexcept nogil
    @cython.locals(head=i64, c=i64, largest=i64)
    cdef i64 largest_free(self) noexcept nogil
