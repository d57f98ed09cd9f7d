# cython: language_level=3
"""Raw memory and bit counting for the compiled core; `_native.py` is the pure twin."""

cimport cython
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.pythread cimport PyThread_get_thread_ident, PyThread_release_lock, PyThread_type_lock
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

ctypedef long long i64

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__GNUC__)
    #  define KHEAP_ANY_ADDRESS __attribute__((aligned(1)))
    #  define kheap_clz(x) __builtin_clzll(x)
    #  define kheap_ctz(x) __builtin_ctzll(x)
    #  define kheap_prefetch(p) __builtin_prefetch(p)
    #else
    #  include <intrin.h>
    #  define KHEAP_ANY_ADDRESS
    #  define kheap_clz(x) ((int)__lzcnt64(x))
    #  define kheap_ctz(x) ((int)_tzcnt_u64(x))
    #  define kheap_prefetch(p) ((void)(p))
    #endif
    /* Whether a number is an int of one digit, and which: most are, and no call is needed. */
    static inline int kheap_compact(PyObject *number, long long *value) {
        if (!PyLong_CheckExact(number)) return 0;
    #if PY_VERSION_HEX >= 0x030C0000
        if (!PyUnstable_Long_IsCompact((PyLongObject *) number)) return 0;
        *value = PyUnstable_Long_CompactValue((PyLongObject *) number);
        return 1;
    #else
        Py_ssize_t digits = Py_SIZE(number);
        *value = digits == 1 ? (long long) ((PyLongObject *) number)->ob_digit[0] : 0;
        return digits == 0 || digits == 1;
    #endif
    }
    /* Counters that threads share.  With a GIL it guards them; without one they are atomic. */
    #if defined(Py_GIL_DISABLED) && defined(__GNUC__)
    static inline int kheap_add(int *counter, int change) {
        return __atomic_fetch_add(counter, change, __ATOMIC_SEQ_CST);
    }
    static inline int kheap_swap(int *counter, int from, int to) {
        return __atomic_compare_exchange_n(
            counter, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    #elif defined(Py_GIL_DISABLED)
    static inline int kheap_add(int *counter, int change) {
        return (int) _InterlockedExchangeAdd((volatile long *) counter, change);
    }
    static inline int kheap_swap(int *counter, int from, int to) {
        return (int) _InterlockedCompareExchange((volatile long *) counter, to, from) == from;
    }
    #else
    static inline int kheap_add(int *counter, int change) {
        int before = *counter;
        *counter = before + change;
        return before;
    }
    static inline int kheap_swap(int *counter, int from, int to) {
        if (*counter != from) return 0;
        *counter = to;
        return 1;
    }
    #endif
    typedef uint16_t kheap_u16 KHEAP_ANY_ADDRESS;
    typedef uint32_t kheap_u32 KHEAP_ANY_ADDRESS;
    typedef uint64_t kheap_u64 KHEAP_ANY_ADDRESS;
    """
    ctypedef unsigned short u16_at "kheap_u16"
    ctypedef unsigned int u32_at "kheap_u32"
    ctypedef unsigned long long u64_at "kheap_u64"
    int kheap_clz(unsigned long long x) nogil
    int kheap_ctz(unsigned long long x) nogil
    void kheap_prefetch(void *p) nogil
    bint kheap_compact(object number, long long *value)
    int kheap_add(int *counter, int change) nogil
    bint kheap_swap(int *counter, int before, int after) nogil


cdef class Pin:
    cdef Py_buffer _buffer
    cdef bint _held
    cdef readonly i64 size_bytes
    cdef unsigned char *u8


cdef class Column(Pin):
    cdef signed char *i8
    cdef int *i32
    cdef long long *i64


cdef class Region(Pin):
    cdef u16_at *u16
    cdef u32_at *u32
    cdef u64_at *_stat64
    cdef u32_at *_stat32
    cdef unsigned long long _own_stats[3]

    cdef i64 big, first, span

    cdef void aim(self, i64 start, bint big, i64 first, i64 end, i64 stat_bytes)
    cdef void unaim(self)

    @cython.final
    cdef inline i64 chunk_left(self, i64 c) noexcept nogil:
        if self.big:
            return self.u32[2 * c]
        return self.u16[4 * c]

    @cython.final
    cdef inline i64 chunk_field(self, i64 c) noexcept nogil:
        if self.big:
            return self.u32[2 * c + 1]
        return self.u16[4 * c + 1]

    @cython.final
    cdef inline i64 free_prev(self, i64 c) noexcept nogil:
        if self.big:
            return self.u32[2 * c + 2]
        return self.u16[4 * c + 2]

    @cython.final
    cdef inline i64 free_next(self, i64 c) noexcept nogil:
        if self.big:
            return self.u32[2 * c + 3]
        return self.u16[4 * c + 3]

    @cython.final
    cdef inline void set_left(self, i64 c, i64 units) noexcept nogil:
        if self.big:
            self.u32[2 * c] = <unsigned int> units
        else:
            self.u16[4 * c] = <unsigned short> units

    @cython.final
    cdef inline void set_size(self, i64 c, i64 units, i64 used) noexcept nogil:
        if self.big:
            self.u32[2 * c + 1] = <unsigned int> (2 * units + used)
        else:
            self.u16[4 * c + 1] = <unsigned short> (2 * units + used)

    @cython.final
    cdef inline void set_prev(self, i64 c, i64 other) noexcept nogil:
        if self.big:
            self.u32[2 * c + 2] = <unsigned int> other
        else:
            self.u16[4 * c + 2] = <unsigned short> other

    @cython.final
    cdef inline void set_next(self, i64 c, i64 other) noexcept nogil:
        if self.big:
            self.u32[2 * c + 3] = <unsigned int> other
        else:
            self.u16[4 * c + 3] = <unsigned short> other

    @cython.final
    cdef inline i64 whole(self, object number) except? -1:
        cdef int overflow = 0
        cdef i64 value
        if kheap_compact(number, &value):
            return value
        value = PyLong_AsLongLongAndOverflow(number, &overflow)
        if overflow:
            if overflow < 0:
                return -0x7FFFFFFFFFFFFFFF
            return 0x7FFFFFFFFFFFFFFF if number & (number - 1) else 0x4000000000000000
        return value

    @cython.final
    cdef inline i64 top_bit(self, i64 x) noexcept nogil:
        return 63 ^ kheap_clz(<unsigned long long> x)  # As 63 - it; GCC sees one instruction.

    @cython.final
    cdef inline i64 low_bit(self, i64 x) noexcept nogil:
        return kheap_ctz(<unsigned long long> x)

    @cython.final
    cdef inline bint inside(self, i64 c) noexcept nogil:
        return <unsigned long long> (c - self.first) < <unsigned long long> self.span

    @cython.final
    cdef inline unsigned long long stat_get(self, i64 i) noexcept nogil:
        if self._stat32 != NULL:
            return self._stat32[i]
        return self._stat64[i]

    @cython.final
    cdef inline void stat_set(self, i64 i, unsigned long long value) noexcept nogil:
        if self._stat32 != NULL:
            self._stat32[i] = <unsigned int> value
        else:
            self._stat64[i] = value

    @cython.final
    cdef inline void stat_change(self, i64 free_bytes, i64 used_bytes) noexcept nogil:
        if self._stat32 != NULL:
            self._stat32[0] += <unsigned int> free_bytes
            self._stat32[1] += <unsigned int> used_bytes
            if self._stat32[1] > self._stat32[2]:
                self._stat32[2] = self._stat32[1]
        else:
            self._stat64[0] += <unsigned long long> free_bytes
            self._stat64[1] += <unsigned long long> used_bytes
            if self._stat64[1] > self._stat64[2]:
                self._stat64[2] = self._stat64[1]

    # A canary lies where fields of other widths lay before: memcpy keeps the compiler from
    # taking the two for different objects.
    @cython.final
    cdef inline unsigned long long quad_get(self, i64 byte) noexcept nogil:
        cdef unsigned long long value
        memcpy(&value, self.u8 + byte, 8)
        return value

    @cython.final
    cdef inline void quad_set(self, i64 byte, unsigned long long value) noexcept nogil:
        memcpy(self.u8 + byte, &value, 8)

    @cython.final
    cdef inline void copy(self, i64 target, i64 source, i64 count) noexcept nogil:
        memmove(self.u8 + target, self.u8 + source, count)

    @cython.final
    cdef inline void prefetch(self, i64 byte) noexcept nogil:
        kheap_prefetch(self.u8 + byte)


# `_holders` counts who holds the latch and who waits for it.  A holder who lets go while
# others wait opens the gate once, for one of them; so nobody takes the latch in between.
cdef class Latch:
    cdef int _holders
    cdef unsigned long _owner
    cdef PyThread_type_lock _gate

    @cython.final
    cdef inline bint try_take(self) noexcept nogil:
        return kheap_swap(&self._holders, 0, 1)

    cdef int take(self) except -1

    @cython.final
    cdef inline void claim(self) noexcept:
        self._owner = PyThread_get_thread_ident()

    @cython.final
    cdef inline void let_go(self) noexcept nogil:
        self._owner = 0
        if kheap_add(&self._holders, -1) > 1:
            PyThread_release_lock(self._gate)


cdef class Owner:
    cdef readonly Latch _latch
    cdef public bint _ready

    cdef drop(self, i64 offset)
    cdef free_block(self, Memory block)


cdef class Memory:
    cdef readonly Owner heap
    cdef readonly i64 offset, nbytes
    cdef unsigned char *_first
    cdef int _exports

    @cython.final
    cdef inline void be(self, Owner heap, Region region, i64 offset, i64 size_bytes):
        self.heap = heap
        self.offset = offset
        self.nbytes = size_bytes
        self._first = region.u8 + offset

    @cython.final
    cdef inline i64 shut(self) noexcept:
        if kheap_swap(&self._exports, 0, -1):
            return 0
        return 2 if self._exports < 0 else 1

    @cython.final
    cdef inline bint is_shut(self) noexcept:
        return self._exports < 0


cdef class Loop:
    cdef i64 turn(self, i64 start, i64 stop) noexcept nogil


cdef class Libc:
    @cython.final
    cdef inline i64 obtain(self, i64 size_bytes) noexcept nogil:
        return <i64> malloc(<size_t> size_bytes)

    @cython.final
    cdef inline void give_back(self, i64 address) noexcept nogil:
        free(<void *> address)
