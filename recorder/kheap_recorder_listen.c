/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * Heaps that are listened to, for where calls cannot be wrapped.
 */

#include "kheap_recorder_private.h"

#include <errno.h>

#include <zephyr/sys/heap_listener.h>
#include <zephyr/sys/sys_heap.h>

#ifdef CONFIG_KHEAP_RECORDER_LISTENED
#define LISTENED CONFIG_KHEAP_RECORDER_LISTENED
#else
#define LISTENED 4
#endif

static struct heap_listener listeners[2 * LISTENED];
static size_t listened;

/* Record an event, unless the call that it belongs to is going to be recorded. */
static void hear(enum kheap_recorder_op op, uintptr_t heap, const void *mem, size_t bytes)
{
	struct kheap_record record = {.op = op, .pointer = (uintptr_t)mem, .size = bytes};
	struct kheap_scope scope;

	kheap_recorder_begin(&scope, (const void *)heap, NULL);
	kheap_recorder_end(&scope, &record);
}

static void hear_alloc(uintptr_t heap, void *mem, size_t bytes)
{
	hear(KHEAP_RECORDER_HEARD_ALLOC, heap, mem, bytes);
}

static void hear_free(uintptr_t heap, void *mem, size_t bytes)
{
	hear(KHEAP_RECORDER_HEARD_FREE, heap, mem, bytes);
}

int kheap_recorder_listen(struct sys_heap *heap)
{
	k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);
	struct heap_listener *pair = listened < LISTENED ? &listeners[2 * listened++] : NULL;

	k_spin_unlock(&kheap_recorder_lock, key);
	if (pair == NULL) {
		return -ENOMEM;
	}
	pair[0].heap_id = pair[1].heap_id = HEAP_ID_FROM_POINTER(heap);
	pair[0].event = HEAP_ALLOC;
	pair[0].alloc_cb = hear_alloc;
	pair[1].event = HEAP_FREE;
	pair[1].free_cb = hear_free;
	heap_listener_register(&pair[0]);
	heap_listener_register(&pair[1]);
	return 0;
}
