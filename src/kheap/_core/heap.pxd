# cython: language_level=3
"""C types for `heap.py`."""

cimport cython

from kheap._core._native cimport Region, i64


cdef class ChunkHeap(Region):
    cdef readonly i64 start, n, c0, m, nb, hdr, trail, loops, checks, fault, fault_chunk
    cdef readonly i64 state
    cdef readonly i64 uncounted
    cdef i64 table, phase, padding, limit, grain, turned, turned_bucket
    cdef bint clamps, gap_counts, event_gap
    cdef unsigned long long address, ones, salt, poison
    cdef readonly bint watched
    cdef public bint ended

    cpdef _place(self, layout, geometry, base_address)

    @cython.final
    cdef inline i64 chunk_size(self, i64 c) noexcept nogil
    @cython.final
    cdef inline i64 counted(self, i64 units) noexcept nogil
    @cython.final
    cdef inline i64 counted_free(self, i64 units) noexcept nogil
    @cython.final
    cdef inline unsigned long long canary(self, i64 c, i64 units) noexcept nogil
    @cython.final
    cdef inline void canary_write(self, i64 c, i64 units) noexcept nogil
    @cython.final
    @cython.locals(units=i64)
    cdef inline bint canary_holds(self, i64 c) noexcept nogil

    @cython.final
    cdef inline i64 corrupt(self, i64 c, i64 invariant) noexcept nogil
    @cython.final
    cdef inline i64 no_block(self, i64 reason) noexcept nogil
    @cython.final
    @cython.locals(b=i64, head=i64)
    cdef inline bint ring_holds(self, i64 units) noexcept nogil
    @cython.final
    @cython.locals(left=i64)
    cdef inline bint sides_hold(self, i64 c, i64 units) noexcept nogil

    @cython.final
    cdef inline i64 bucket_head(self, i64 b) noexcept nogil
    @cython.final
    cdef inline i64 bucket_mask(self) noexcept nogil
    @cython.final
    @cython.locals(field=i64)
    cdef inline bint control_holds(self) noexcept nogil
    @cython.final
    cdef inline i64 bucket_of(self, i64 units) noexcept nogil
    @cython.final
    @cython.locals(b=i64, head=i64, c=i64, tries=i64)
    cdef inline i64 bucket_find(self, i64 units) noexcept nogil
    @cython.final
    @cython.locals(above=i64, c=i64)
    cdef inline i64 bucket_above(self, i64 b, i64 units) noexcept nogil
    @cython.final
    cdef inline void bucket_turn(self) noexcept nogil
    @cython.final
    @cython.locals(b=i64, following=i64, previous=i64)
    cdef inline void bucket_remove(self, i64 c, i64 units) noexcept nogil
    @cython.final
    @cython.locals(b=i64, head=i64, tail=i64)
    cdef inline void bucket_add(self, i64 c, i64 units) noexcept nogil

    @cython.final
    cdef inline void chunk_split(self, i64 c, i64 right, i64 end) noexcept nogil
    @cython.final
    @cython.locals(limit=i64, units=i64)
    cdef inline i64 units_for(self, i64 request_bytes, i64 extra_bytes) noexcept nogil
    cdef i64 take(self, i64 request_bytes, i64 align) noexcept nogil
    cdef i64 take_aligned(self, i64 request_bytes, i64 align) noexcept nogil
    @cython.locals(c=i64, answer=i64)
    cdef i64 give(self, i64 offset) noexcept nogil
    @cython.final
    @cython.locals(units=i64, right=i64, field=i64, right_units=i64, left_units=i64, left=i64)
    cdef inline i64 release(self, i64 c, bint write) noexcept nogil
    @cython.final
    cdef inline i64 free_holds(self, i64 c, i64 units) noexcept nogil
    @cython.final
    @cython.locals(following=i64, previous=i64, left=i64)
    cdef inline i64 free_holds_well(self, i64 c, i64 units) noexcept nogil
    @cython.final
    @cython.locals(field=i64)
    cdef inline i64 found(self, i64 c) noexcept nogil
    @cython.final
    @cython.locals(rest=i64, c=i64, field=i64, units=i64)
    cdef inline i64 locate(self, i64 offset) noexcept nogil
    @cython.final
    cdef inline void chunk_use(self, i64 c, i64 units, i64 freed) noexcept nogil
    @cython.final
    @cython.locals(units=i64, c=i64, size=i64, rest=i64)
    cdef inline i64 take_plain(self, i64 request_bytes) noexcept nogil
    @cython.final
    @cython.locals(b=i64)
    cdef inline void bucket_replace(self, i64 c, i64 units, i64 other, i64 other_units) noexcept nogil
    @cython.final
    @cython.locals(right=i64, start=i64, total=i64, taken=i64)
    cdef inline void chunk_merge(self, i64 c, i64 units, i64 left_units, i64 right_units) noexcept nogil
