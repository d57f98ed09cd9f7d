/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * The kernel of the stubs, and what lies above its heaps: k_heap and k_malloc.
 */

#include "stubs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zephyr/sys/printk.h>

struct k_thread *stub_thread;
int64_t stub_ticks;
bool stub_is_in_isr, stub_is_pre_kernel, stub_is_user;
unsigned int stub_locks;
struct k_heap _system_heap;

static void die(const char *reason)
{
	fprintf(stderr, "stub kernel: %s\n", reason);
	exit(3);
}

k_spinlock_key_t k_spin_lock(struct k_spinlock *lock)
{
	if (lock->is_locked) {
		die("a lock is taken twice");
	}
	if (stub_is_user) {
		die("a user thread takes a lock");
	}
	lock->is_locked = true;
	return (k_spinlock_key_t){.depth = stub_locks++};
}

void k_spin_unlock(struct k_spinlock *lock, k_spinlock_key_t key)
{
	if (!lock->is_locked || key.depth + 1 != stub_locks) {
		die("locks are let go in the wrong order");
	}
	lock->is_locked = false;
	stub_locks--;
}

bool k_is_in_isr(void)
{
	return stub_is_in_isr;
}

bool k_is_pre_kernel(void)
{
	return stub_is_pre_kernel;
}

bool k_is_user_context(void)
{
	return stub_is_user;
}

k_tid_t k_current_get(void)
{
	if (stub_is_pre_kernel) {
		die("there is no thread yet");
	}
	return stub_thread;
}

int64_t k_uptime_ticks(void)
{
	if (stub_is_pre_kernel) {
		die("there is no time yet");
	}
	return stub_ticks;
}

uint64_t k_ticks_to_us_floor64(uint64_t ticks)
{
	return ticks * 1000000 / 32768;
}

int32_t k_msleep(int32_t ms)
{
	stub_ticks += ms * 32768 / 1000;
	return 0;
}

void printk(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
}

/* ------------------------------------------------------------------ k_heap, under a lock */

static struct k_spinlock heap_lock;

void k_heap_init(struct k_heap *heap, void *mem, size_t bytes)
{
	sys_heap_init(&heap->heap, mem, bytes);
}

void *k_heap_aligned_alloc(struct k_heap *heap, size_t align, size_t bytes, k_timeout_t timeout)
{
	k_spinlock_key_t key = k_spin_lock(&heap_lock);
	void *mem = sys_heap_aligned_alloc(&heap->heap, align, bytes);

	(void)timeout;
	k_spin_unlock(&heap_lock, key);
	return mem;
}

void *k_heap_alloc(struct k_heap *heap, size_t bytes, k_timeout_t timeout)
{
	k_spinlock_key_t key = k_spin_lock(&heap_lock);
	void *mem = sys_heap_noalign_alloc(&heap->heap, 64, bytes);

	(void)timeout;
	k_spin_unlock(&heap_lock, key);
	return mem;
}

void *k_heap_calloc(struct k_heap *heap, size_t num, size_t size, k_timeout_t timeout)
{
	void *mem = k_heap_alloc(heap, num * size, timeout);

	return mem == NULL ? NULL : memset(mem, 0, num * size);
}

void *k_heap_realloc(struct k_heap *heap, void *ptr, size_t bytes, k_timeout_t timeout)
{
	k_spinlock_key_t key = k_spin_lock(&heap_lock);
	void *mem = sys_heap_realloc(&heap->heap, ptr, bytes);

	(void)timeout;
	k_spin_unlock(&heap_lock, key);
	return mem;
}

void k_heap_free(struct k_heap *heap, void *mem)
{
	k_spinlock_key_t key = k_spin_lock(&heap_lock);

	sys_heap_free(&heap->heap, mem);
	k_spin_unlock(&heap_lock, key);
}

/* ------------------------------------------------------------------ k_malloc: one word more */

#define WORD sizeof(void *)

static void *above_word(void *mem)
{
	return mem == NULL ? NULL : (char *)mem + WORD;
}

static void *below_word(void *ptr)
{
	return ptr == NULL ? NULL : (char *)ptr - WORD;
}

void *k_malloc(size_t size)
{
	return above_word(sys_heap_noalign_alloc(&_system_heap.heap, 0, size + WORD));
}

void *k_aligned_alloc(size_t align, size_t size)
{
	return above_word(sys_heap_aligned_alloc(&_system_heap.heap, align | WORD, size + WORD));
}

void *k_calloc(size_t nmemb, size_t size)
{
	void *ptr = k_malloc(nmemb * size);

	return ptr == NULL ? NULL : memset(ptr, 0, nmemb * size);
}

void *k_realloc(void *ptr, size_t size)
{
	if (size == 0) {
		k_free(ptr);
		return NULL;
	}
	return above_word(sys_heap_realloc(&_system_heap.heap, below_word(ptr), size + WORD));
}

void k_free(void *ptr)
{
	if (ptr != NULL) {
		sys_heap_free(&_system_heap.heap, below_word(ptr));
	}
}
