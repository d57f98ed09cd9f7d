# cython: language_level=3
"""C types for `buddy.py`."""

cimport cython

from kheap._core._native cimport Column, i64
from kheap._core.block_tree cimport BlockTree


cdef class BuddyPool(BlockTree):
    cdef Column ahead, behind, head, tail

    @cython.locals(level=i64, found=i64, block=i64)
    cpdef i64 take(self, i64 request_bytes) except -2
    @cython.locals(block=i64, q=i64, level=i64)
    cpdef i64 give(self, i64 offset) noexcept
    @cython.final
    @cython.locals(k=i64, block=i64)
    cdef inline i64 quad_recombine(self, i64 q, i64 level) noexcept
    @cython.locals(last=i64)
    cdef void queue_add(self, i64 block, i64 level) noexcept
    @cython.final
    @cython.locals(before=i64, after=i64)
    cdef inline void queue_remove(self, i64 block, i64 level) noexcept
    cpdef i64 free_after(self, i64 level, i64 block) noexcept
