"""Zephyr's heaps by their C names, with C's meaning, for code that is ported or tested in Python.

Addresses are integers, and ``NULL`` is None (0 is taken for it too); ``memory(address, n)`` is
what lies there.  Where C returns an errno value, so do these.  Where C asserts, they raise.
There is one board, which :func:`configure` sets up from Kconfig values::

    from kheap.zephyr import *

    configure({"CONFIG_HEAP_MEM_POOL_SIZE": 1024})
    my_heap = K_HEAP_DEFINE("my_heap", 2048)
    mem = k_heap_alloc(my_heap, 200, K_MSEC(100))
    memory(mem, 5)[:] = b"hello"
    k_heap_free(my_heap, mem)

Python's own names for the same heaps are in :mod:`kheap`.
"""

from __future__ import annotations

from errno import EAGAIN, EALREADY, EINVAL, ENOMEM

from kheap.zephyr.board import (
    NULL,
    configure,
    memory,
    static_memory,
)
from kheap.zephyr.k_heaps import (
    K_HEAP_DEFINE,
    K_HEAP_DEFINE_NOCACHE,
    k_heap,
    k_heap_aligned_alloc,
    k_heap_alloc,
    k_heap_array_get,
    k_heap_calloc,
    k_heap_free,
    k_heap_init,
    k_heap_realloc,
)
from kheap.zephyr.k_malloc import k_aligned_alloc, k_calloc, k_free, k_malloc, k_realloc
from kheap.zephyr.listeners import (
    HEAP_ID_FROM_POINTER,
    HEAP_LISTENER_ALLOC_DEFINE,
    HEAP_LISTENER_FREE_DEFINE,
    heap_listener,
    heap_listener_register,
    heap_listener_unregister,
)
from kheap.zephyr.mem_pools import (
    K_MEM_POOL_DEFINE,
    k_mem_block,
    k_mem_pool,
    k_mem_pool_alloc,
    k_mem_pool_defrag,
    k_mem_pool_free,
)
from kheap.zephyr.multi_heaps import (
    SMH_REG_ATTR_CACHEABLE,
    SMH_REG_ATTR_NON_CACHEABLE,
    SMH_REG_ATTR_NUM,
    shared_multi_heap_add,
    shared_multi_heap_aligned_alloc,
    shared_multi_heap_alloc,
    shared_multi_heap_free,
    shared_multi_heap_pool_init,
    shared_multi_heap_realloc,
    shared_multi_heap_region,
    sys_multi_heap,
    sys_multi_heap_add_heap,
    sys_multi_heap_aligned_alloc,
    sys_multi_heap_aligned_realloc,
    sys_multi_heap_alloc,
    sys_multi_heap_free,
    sys_multi_heap_get_heap,
    sys_multi_heap_init,
    sys_multi_heap_realloc,
    sys_multi_heap_rec,
)
from kheap.zephyr.sys_heaps import (
    sys_heap,
    sys_heap_aligned_alloc,
    sys_heap_aligned_realloc,
    sys_heap_alloc,
    sys_heap_array_get,
    sys_heap_free,
    sys_heap_init,
    sys_heap_print_info,
    sys_heap_realloc,
    sys_heap_runtime_stats_get,
    sys_heap_runtime_stats_reset_max,
    sys_heap_usable_size,
    sys_heap_validate,
    sys_memory_stats,
)
from kheap.zephyr.threads import (
    k_current_get,
    k_thread,
    k_thread_priority_get,
    k_thread_priority_set,
)
from kheap.zephyr.timeouts import (
    K_FOREVER,
    K_HOURS,
    K_MINUTES,
    K_MSEC,
    K_NO_WAIT,
    K_NSEC,
    K_SECONDS,
    K_TICKS,
    K_TIMEOUT_EQ,
    K_USEC,
    k_timeout_t,
)

__all__ = [
    "EAGAIN",
    "EALREADY",
    "EINVAL",
    "ENOMEM",
    "HEAP_ID_FROM_POINTER",
    "HEAP_LISTENER_ALLOC_DEFINE",
    "HEAP_LISTENER_FREE_DEFINE",
    "K_FOREVER",
    "K_HEAP_DEFINE",
    "K_HEAP_DEFINE_NOCACHE",
    "K_HOURS",
    "K_MEM_POOL_DEFINE",
    "K_MINUTES",
    "K_MSEC",
    "K_NO_WAIT",
    "K_NSEC",
    "K_SECONDS",
    "K_TICKS",
    "K_TIMEOUT_EQ",
    "K_USEC",
    "NULL",
    "SMH_REG_ATTR_CACHEABLE",
    "SMH_REG_ATTR_NON_CACHEABLE",
    "SMH_REG_ATTR_NUM",
    "configure",
    "heap_listener",
    "heap_listener_register",
    "heap_listener_unregister",
    "k_aligned_alloc",
    "k_calloc",
    "k_current_get",
    "k_free",
    "k_heap",
    "k_heap_aligned_alloc",
    "k_heap_alloc",
    "k_heap_array_get",
    "k_heap_calloc",
    "k_heap_free",
    "k_heap_init",
    "k_heap_realloc",
    "k_malloc",
    "k_mem_block",
    "k_mem_pool",
    "k_mem_pool_alloc",
    "k_mem_pool_defrag",
    "k_mem_pool_free",
    "k_realloc",
    "k_thread",
    "k_thread_priority_get",
    "k_thread_priority_set",
    "k_timeout_t",
    "memory",
    "shared_multi_heap_add",
    "shared_multi_heap_aligned_alloc",
    "shared_multi_heap_alloc",
    "shared_multi_heap_free",
    "shared_multi_heap_pool_init",
    "shared_multi_heap_realloc",
    "shared_multi_heap_region",
    "static_memory",
    "sys_heap",
    "sys_heap_aligned_alloc",
    "sys_heap_aligned_realloc",
    "sys_heap_alloc",
    "sys_heap_array_get",
    "sys_heap_free",
    "sys_heap_init",
    "sys_heap_print_info",
    "sys_heap_realloc",
    "sys_heap_runtime_stats_get",
    "sys_heap_runtime_stats_reset_max",
    "sys_heap_usable_size",
    "sys_heap_validate",
    "sys_memory_stats",
    "sys_multi_heap",
    "sys_multi_heap_add_heap",
    "sys_multi_heap_aligned_alloc",
    "sys_multi_heap_aligned_realloc",
    "sys_multi_heap_alloc",
    "sys_multi_heap_free",
    "sys_multi_heap_get_heap",
    "sys_multi_heap_init",
    "sys_multi_heap_realloc",
    "sys_multi_heap_rec",
]
