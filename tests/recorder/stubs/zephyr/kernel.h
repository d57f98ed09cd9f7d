/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * As much of a kernel as the recorder needs, on a host. The program sets what thread runs and
 * what time it is; a lock that is taken twice, or let go by another, ends the program.
 */

#ifndef ZEPHYR_KERNEL_H_
#define ZEPHYR_KERNEL_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zephyr/sys/sys_heap.h>

typedef struct {
	int64_t ticks;
} k_timeout_t;

#define K_NO_WAIT ((k_timeout_t){0})

struct k_spinlock {
	bool is_locked;
};

typedef struct {
	unsigned int depth;
} k_spinlock_key_t;

struct k_thread {
	int unused;
};

typedef struct k_thread *k_tid_t;

k_spinlock_key_t k_spin_lock(struct k_spinlock *lock);
void k_spin_unlock(struct k_spinlock *lock, k_spinlock_key_t key);

bool k_is_in_isr(void);
bool k_is_pre_kernel(void);
bool k_is_user_context(void);
k_tid_t k_current_get(void);
int64_t k_uptime_ticks(void);
uint64_t k_ticks_to_us_floor64(uint64_t ticks);
int32_t k_msleep(int32_t ms);

#define K_LOWEST_APPLICATION_THREAD_PRIO 14
#define K_THREAD_DEFINE(name, stack_size, entry, p1, p2, p3, prio, options, delay)                \
	void (*const name)(void *, void *, void *) = entry

struct k_heap {
	struct sys_heap heap;
};

void k_heap_init(struct k_heap *heap, void *mem, size_t bytes);
void *k_heap_alloc(struct k_heap *heap, size_t bytes, k_timeout_t timeout);
void *k_heap_aligned_alloc(struct k_heap *heap, size_t align, size_t bytes, k_timeout_t timeout);
void *k_heap_calloc(struct k_heap *heap, size_t num, size_t size, k_timeout_t timeout);
void *k_heap_realloc(struct k_heap *heap, void *ptr, size_t bytes, k_timeout_t timeout);
void k_heap_free(struct k_heap *heap, void *mem);

void *k_malloc(size_t size);
void *k_aligned_alloc(size_t align, size_t size);
void *k_calloc(size_t nmemb, size_t size);
void *k_realloc(void *ptr, size_t size);
void k_free(void *ptr);

#endif
