# cython: language_level=3
"""C types for `quad.py`."""

cimport cython

from kheap._core._native cimport Column, i64
from kheap._core.block_tree cimport BlockTree


cdef class QuadPool(BlockTree):
    cdef Column ahead, behind, order, head, tail, first, whole
    cdef i64 min_bytes, policy, stamp

    @cython.locals(level=i64, block=i64)
    cpdef i64 take(self, i64 request_bytes) except -2
    @cython.locals(block=i64)
    cpdef i64 give(self, i64 offset) noexcept
    @cython.final
    @cython.locals(level=i64, bound=i64)
    cdef inline i64 level_for(self, i64 request_bytes) noexcept
    @cython.final
    @cython.locals(block=i64)
    cdef inline i64 find(self, i64 level) noexcept
    @cython.final
    @cython.locals(q=i64, mask=i64, block=i64)
    cdef inline i64 pick(self, i64 level) noexcept
    @cython.final
    @cython.locals(above=i64, block=i64, q=i64)
    cdef inline i64 break_for(self, i64 level) noexcept
    @cython.final
    @cython.locals(q=i64, level=i64, first=i64)
    cdef inline void give_back(self, i64 block) noexcept
    @cython.locals(below=i64, q=i64)
    cpdef void recombine(self, i64 level) noexcept
    @cython.final
    @cython.locals(block=i64, moved=i64)
    cdef inline i64 quad_recombine(self, i64 q, i64 level) noexcept
    @cython.locals(last=i64)
    cdef void list_add(self, i64 q, i64 level) noexcept
    @cython.locals(last=i64, before=i64, after=i64)
    cdef i64 list_remove(self, i64 q, i64 level) noexcept
    @cython.final
    cdef inline void link(self, i64 before, i64 after, i64 level) noexcept
    cpdef i64 quad_after(self, i64 level, i64 q) noexcept
    cpdef i64 mask_of(self, i64 q) noexcept
    @cython.locals(q=i64, k=i64)
    cpdef i64 free_after(self, i64 level, i64 block) noexcept
