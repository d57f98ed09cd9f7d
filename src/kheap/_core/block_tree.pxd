# cython: language_level=3
"""C types for `block_tree.py`."""

cimport cython

from kheap._core._native cimport Column, i64


cdef class BlockTree:
    cdef readonly i64 levels, used_bytes, peak_bytes
    cdef i64 n_max, roots, end, spare, made, room
    cdef Column size, count, start, level, mask, up, held

    @cython.locals(i=i64, wider=Column)
    cdef Column widened(self, Column column, i64 count)
    cdef int reserve(self) except -1
    @cython.locals(q=i64, k=i64)
    cdef i64 quad_add(self, i64 level, i64 start, i64 up, i64 mask) noexcept
    @cython.final
    cdef inline void quad_drop(self, i64 q) noexcept
    @cython.final
    @cython.locals(q=i64)
    cdef inline i64 cut(self, i64 block, i64 mask) noexcept
    @cython.final
    @cython.locals(q=i64)
    cdef inline void mark_free(self, i64 block) noexcept
    @cython.final
    @cython.locals(q=i64)
    cdef inline void unmark_free(self, i64 block) noexcept
    @cython.final
    cdef inline i64 use(self, i64 block, i64 request_bytes) noexcept
    @cython.locals(q=i64)
    cpdef i64 place(self, i64 block) noexcept
    @cython.locals(block=i64, rest=i64, q=i64, size=i64, k=i64)
    cpdef i64 locate(self, i64 offset) noexcept
    cpdef i64 block_after(self, i64 block) noexcept
    cpdef i64 held_by(self, i64 block) noexcept
    cpdef i64 level_of(self, i64 block) noexcept
    cpdef i64 free_count(self, i64 level) noexcept
