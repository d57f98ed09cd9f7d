# cython: language_level=3
"""What typed Python cannot say: pinning memory, and letting the GIL go.

The pure twin, `_native.py`, holds the docstrings; both have the same names and answers.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.object cimport PyTypeObject
from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
)

COMPILED = True
BUSY = "the heap is called while this thread is busy with it: by a listener, or a signal handler"
CLOSED = "the block is closed: freed, handed on, or being moved"


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


cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        pass

    ctypedef struct PyMethodDescrObject:
        PyMethodDef *d_method

    object PyDescr_NewMethod(PyTypeObject *owner, PyMethodDef *method)


def own_calls(cls, names):
    cdef PyMethodDef *method
    for name in names:
        call = getattr(cls, name)
        if type(call) is type(str.join):
            method = (<PyMethodDescrObject *> call).d_method
            setattr(cls, name, PyDescr_NewMethod(<PyTypeObject *> cls, method))


cdef class Latch:
    def __cinit__(self):
        self._gate = PyThread_allocate_lock()
        if self._gate == NULL:
            raise MemoryError("no lock can be made")
        PyThread_acquire_lock(self._gate, NOWAIT_LOCK)

    def __dealloc__(self):
        if self._gate != NULL:
            PyThread_release_lock(self._gate)
            PyThread_free_lock(self._gate)

    cdef int take(self) except -1:
        if not self.try_take():
            if self._owner == PyThread_get_thread_ident():
                raise RuntimeError(BUSY)
            if kheap_add(&self._holders, 1) > 0:
                with nogil:
                    PyThread_acquire_lock(self._gate, WAIT_LOCK)
        self.claim()
        return 0

    def __enter__(self):
        self.take()

    def __exit__(self, kind, error, trace):
        self.let_go()


cdef class Owner:
    def __cinit__(self):
        self._latch = Latch()

    cdef drop(self, i64 offset):
        pass

    cdef free_block(self, Memory block):
        pass


# The garbage collector does not clear it: a memory that goes must still find its heap.
@cython.freelist(256)
@cython.no_gc_clear
cdef class Memory:
    def __dealloc__(self):
        if self.heap is not None and self.shut() == 0:
            self.heap.drop(self.offset)

    def _shut(self):
        return self.shut()

    def _reopen(self):
        kheap_swap(&self._exports, -1, 0)

    def view(self):
        return memoryview(self)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef int exports = self._exports
        while exports >= 0 and not kheap_swap(&self._exports, exports, exports + 1):
            exports = self._exports
        if exports < 0:
            raise BufferError(CLOSED)
        PyBuffer_FillInfo(buffer, self, self._first, self.nbytes, 0, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        kheap_add(&self._exports, -1)


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
