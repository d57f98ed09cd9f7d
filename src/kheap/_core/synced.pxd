# cython: language_level=3
"""C types for `synced.py`."""

cimport cython

from kheap._core._native cimport Memory, Owner, i64
from kheap._core.calls cimport HeapCalls

cdef object NO_WAIT


cdef class Block(Memory):
    @cython.final
    @cython.locals(heap=SyncedHeap)
    cdef inline SyncedHeap home(self)


cdef class SyncedHeap(Owner):
    cdef object __weakref__
    cdef readonly HeapCalls sys_heap
    cdef public i64 _live
    cdef public bint _crowded
    cdef readonly list _dropped

    @cython.final
    cdef inline int enter(self) except -1
    @cython.final
    cdef inline int leave(self) except -1
    cdef int sweep(self) except -1
    @cython.locals(offset=i64)
    cpdef _obtain(self, request_bytes, align)
    @cython.final
    @cython.locals(block=Block)
    cdef inline Block block_at(self, i64 offset, i64 request_bytes)
    @cython.locals(code=i64)
    cdef free_block(self, Memory block)
    cdef drop(self, i64 offset)


cdef class Locked:
    cdef SyncedHeap heap
