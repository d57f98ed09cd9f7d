# cython: language_level=3
"""C types for `calls.py`."""

from kheap._core._native cimport i64
from kheap._core.aligned cimport AlignedHeap


cdef class HeapCalls(AlignedHeap):
    pass
