/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * A heap that gives out its region from the left, and each block once.
 */

#ifndef ZEPHYR_SYS_SYS_HEAP_H_
#define ZEPHYR_SYS_SYS_HEAP_H_

#include <stddef.h>
#include <stdint.h>

struct sys_heap {
	char *mem;
	size_t bytes;
	size_t used;
};

void sys_heap_init(struct sys_heap *heap, void *mem, size_t bytes);
void *sys_heap_alloc(struct sys_heap *heap, size_t bytes);
void *sys_heap_aligned_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void *sys_heap_noalign_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void sys_heap_free(struct sys_heap *heap, void *mem);
void *sys_heap_realloc(struct sys_heap *heap, void *ptr, size_t bytes);
void *sys_heap_aligned_realloc(struct sys_heap *heap, void *ptr, size_t align, size_t bytes);

#endif
