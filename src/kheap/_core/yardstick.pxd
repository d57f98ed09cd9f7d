# cython: language_level=3
"""C types for `yardstick.py`."""

cimport cython

from kheap._core._native cimport Column, Libc, Loop, i64


cdef class Yardstick:
    cdef i64 held


cdef class LibcLoop(Loop):
    cdef Column op, id, size, blocks
    cdef Libc libc

    @cython.locals(i=i64, block=i64)
    cdef i64 turn(self, i64 start, i64 stop) noexcept nogil

    @cython.locals(count=i64, block=i64)
    cpdef i64 give_all_back(self)
