/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * Wrappers that the linker puts around the heap's functions (`--wrap=NAME`): __wrap_NAME is
 * what others call, __real_NAME is the function itself. Unlike a heap listener they see what
 * was asked for, and what was refused.
 *
 * A sys_heap is called under the lock of its owner, so the order of the records is the order
 * of the calls. What lies above it (k_heap, k_malloc, the C library) only lends its call site.
 *
 * Each wrapper is a section of its own, which the linker drops if nobody calls the function:
 * a release or a configuration that has no such function is no matter.
 */

#include "kheap_recorder.h"

#include <zephyr/kernel.h>
#include <zephyr/sys/sys_heap.h>

#define CALLER __builtin_return_address(0)

/* ------------------------------------------------------------------ sys_heap: what is recorded */

void __real_sys_heap_init(struct sys_heap *heap, void *mem, size_t bytes);
void __wrap_sys_heap_init(struct sys_heap *heap, void *mem, size_t bytes);
void *__real_sys_heap_alloc(struct sys_heap *heap, size_t bytes);
void *__wrap_sys_heap_alloc(struct sys_heap *heap, size_t bytes);
void *__real_sys_heap_aligned_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void *__wrap_sys_heap_aligned_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void *__real_sys_heap_noalign_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void *__wrap_sys_heap_noalign_alloc(struct sys_heap *heap, size_t align, size_t bytes);
void __real_sys_heap_free(struct sys_heap *heap, void *mem);
void __wrap_sys_heap_free(struct sys_heap *heap, void *mem);
void *__real_sys_heap_realloc(struct sys_heap *heap, void *ptr, size_t bytes);
void *__wrap_sys_heap_realloc(struct sys_heap *heap, void *ptr, size_t bytes);
void *__real_sys_heap_aligned_realloc(struct sys_heap *heap, void *ptr, size_t align,
				      size_t bytes);
void *__wrap_sys_heap_aligned_realloc(struct sys_heap *heap, void *ptr, size_t align,
				      size_t bytes);

static void end_alloc(const struct kheap_scope *scope, const void *mem, size_t align, size_t bytes)
{
	struct kheap_record record = {
		.op = KHEAP_RECORDER_ALLOC,
		.pointer = (uintptr_t)mem,
		.size = bytes,
		.align = align,
	};

	kheap_recorder_end(scope, &record);
}

static void end_realloc(const struct kheap_scope *scope, uintptr_t old, const void *mem,
			size_t align, size_t bytes)
{
	struct kheap_record record = {
		.op = KHEAP_RECORDER_REALLOC,
		.pointer = (uintptr_t)mem,
		.old = old,
		.size = bytes,
		.align = align,
	};

	kheap_recorder_end(scope, &record);
}

void __wrap_sys_heap_init(struct sys_heap *heap, void *mem, size_t bytes)
{
	struct kheap_record record = {
		.op = KHEAP_RECORDER_INIT,
		.pointer = (uintptr_t)mem,
		.size = bytes,
	};
	struct kheap_scope scope;

	kheap_recorder_begin(&scope, heap, CALLER);
	__real_sys_heap_init(heap, mem, bytes);
	kheap_recorder_end(&scope, &record);
}

void *__wrap_sys_heap_alloc(struct sys_heap *heap, size_t bytes)
{
	struct kheap_scope scope;
	void *mem;

	kheap_recorder_begin(&scope, heap, CALLER);
	mem = __real_sys_heap_alloc(heap, bytes);
	end_alloc(&scope, mem, 0, bytes);
	return mem;
}

void *__wrap_sys_heap_aligned_alloc(struct sys_heap *heap, size_t align, size_t bytes)
{
	struct kheap_scope scope;
	void *mem;

	kheap_recorder_begin(&scope, heap, CALLER);
	mem = __real_sys_heap_aligned_alloc(heap, align, bytes);
	end_alloc(&scope, mem, align, bytes);
	return mem;
}

/* Has the arguments of the aligned one, and passes over the alignment. */
void *__wrap_sys_heap_noalign_alloc(struct sys_heap *heap, size_t align, size_t bytes)
{
	struct kheap_scope scope;
	void *mem;

	kheap_recorder_begin(&scope, heap, CALLER);
	mem = __real_sys_heap_noalign_alloc(heap, align, bytes);
	end_alloc(&scope, mem, 0, bytes);
	return mem;
}

void __wrap_sys_heap_free(struct sys_heap *heap, void *mem)
{
	struct kheap_record record = {.op = KHEAP_RECORDER_FREE, .pointer = (uintptr_t)mem};
	struct kheap_scope scope;

	kheap_recorder_begin(&scope, heap, CALLER);
	__real_sys_heap_free(heap, mem);
	/* A free of NULL does nothing, and is not worth a record. */
	kheap_recorder_end(&scope, record.pointer != 0 ? &record : NULL);
}

void *__wrap_sys_heap_realloc(struct sys_heap *heap, void *ptr, size_t bytes)
{
	uintptr_t old = (uintptr_t)ptr;
	struct kheap_scope scope;
	void *mem;

	kheap_recorder_begin(&scope, heap, CALLER);
	mem = __real_sys_heap_realloc(heap, ptr, bytes);
	end_realloc(&scope, old, mem, 0, bytes);
	return mem;
}

void *__wrap_sys_heap_aligned_realloc(struct sys_heap *heap, void *ptr, size_t align, size_t bytes)
{
	uintptr_t old = (uintptr_t)ptr;
	struct kheap_scope scope;
	void *mem;

	kheap_recorder_begin(&scope, heap, CALLER);
	mem = __real_sys_heap_aligned_realloc(heap, ptr, align, bytes);
	end_realloc(&scope, old, mem, align, bytes);
	return mem;
}

/* ------------------------------------------------------------------ above it: call sites */

/*
 * Define the wrapper of a function that answers a pointer: its name, its parameters, and its
 * arguments.
 */
#define WRAP(name, parameters, arguments)                                                         \
	void *__real_##name parameters;                                                           \
	void *__wrap_##name parameters;                                                           \
	void *__wrap_##name parameters                                                            \
	{                                                                                         \
		struct kheap_scope scope;                                                         \
		void *mem;                                                                        \
                                                                                                  \
		kheap_recorder_begin(&scope, NULL, CALLER);                                       \
		mem = __real_##name arguments;                                                    \
		kheap_recorder_end(&scope, NULL);                                                 \
		return mem;                                                                       \
	}

/* The same for a function that answers nothing. */
#define WRAP_VOID(name, parameters, arguments)                                                    \
	void __real_##name parameters;                                                            \
	void __wrap_##name parameters;                                                            \
	void __wrap_##name parameters                                                             \
	{                                                                                         \
		struct kheap_scope scope;                                                         \
                                                                                                  \
		kheap_recorder_begin(&scope, NULL, CALLER);                                       \
		__real_##name arguments;                                                          \
		kheap_recorder_end(&scope, NULL);                                                 \
	}

WRAP(k_malloc, (size_t size), (size))
WRAP(k_aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(k_calloc, (size_t nmemb, size_t size), (nmemb, size))
WRAP(k_realloc, (void *ptr, size_t size), (ptr, size))
WRAP_VOID(k_free, (void *ptr), (ptr))

WRAP(k_heap_alloc, (struct k_heap *heap, size_t bytes, k_timeout_t timeout),
     (heap, bytes, timeout))
WRAP(k_heap_aligned_alloc,
     (struct k_heap *heap, size_t align, size_t bytes, k_timeout_t timeout),
     (heap, align, bytes, timeout))
WRAP(k_heap_calloc, (struct k_heap *heap, size_t num, size_t size, k_timeout_t timeout),
     (heap, num, size, timeout))
WRAP(k_heap_realloc, (struct k_heap *heap, void *ptr, size_t bytes, k_timeout_t timeout),
     (heap, ptr, bytes, timeout))
WRAP_VOID(k_heap_free, (struct k_heap *heap, void *mem), (heap, mem))

#ifdef CONFIG_KHEAP_RECORDER_WRAP_LIBC
WRAP(malloc, (size_t size), (size))
WRAP(aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(calloc, (size_t nmemb, size_t size), (nmemb, size))
WRAP(realloc, (void *ptr, size_t size), (ptr, size))
WRAP_VOID(free, (void *ptr), (ptr))
#endif
