# cython: language_level=3
"""What typed Python cannot say: pinning memory, and letting the GIL go.

The pure twin, `_native.py`, holds the docstrings; both have the same names and answers.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

COMPILED = True


cdef class Pin:
    def _hold(self, buffer):
        if self._held:
            raise ValueError("already holds a buffer")
        PyObject_GetBuffer(buffer, &self._buffer, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        self.size_bytes = self._buffer.len
        self.u8 = <unsigned char *> self._buffer.buf

    def _let_go(self):
        if self._held:
            self._held = False
            self.u8 = NULL
            self.size_bytes = 0
            PyBuffer_Release(&self._buffer)

    def real_address(self):
        return <unsigned long long> self.u8

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._buffer)


cdef class Column(Pin):
    def __init__(self, buffer):
        self._hold(buffer)
        self.i8 = <signed char *> self.u8
        self.i32 = <int *> self.u8
        self.i64 = <long long *> self.u8


cdef class Region(Pin):
    cdef void aim(self, i64 start, bint big, i64 first, i64 end, i64 stat_bytes):
        self.big = big
        self.first = first
        self.span = end - first
        self.u16 = <u16_at *> (self.u8 + start)
        self.u32 = <u32_at *> (self.u8 + start)
        self._stat32 = self.u32 + 4 if stat_bytes == 12 else NULL
        self._stat64 = <u64_at *> (self.u8 + start + 16)
        if stat_bytes == 0:
            self._stat64 = <u64_at *> self._own_stats

    cdef void unaim(self):
        self.u16 = NULL
        self.u32 = NULL


cdef class Libc:
    pass


cdef class Loop:
    cdef i64 turn(self, i64 start, i64 stop) noexcept nogil:
        return start


def run(Loop loop, i64 start, i64 stop):
    cdef i64 reached
    with nogil:
        reached = loop.turn(start, stop)
    return reached
