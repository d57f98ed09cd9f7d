/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * The heap of the stubs, and its listeners. Each block has a word below it with its size.
 * Requests call one another as they do in a real heap, behind the back of any wrapper.
 */

#include "stubs.h"

#include <string.h>

#include <zephyr/sys/heap_listener.h>

long stub_answer = -1;
void (*stub_interrupt)(void);

static struct heap_listener *listeners;

void heap_listener_register(struct heap_listener *listener)
{
	listener->next = listeners;
	listeners = listener;
}

static void notify(struct sys_heap *heap, enum heap_event_types event, void *mem, size_t bytes)
{
	struct heap_listener *listener;

	for (listener = listeners; listener != NULL; listener = listener->next) {
		if (listener->heap_id != (uintptr_t)heap || listener->event != event) {
			continue;
		}
		if (event == HEAP_ALLOC) {
			listener->alloc_cb((uintptr_t)heap, mem, bytes);
		} else {
			listener->free_cb((uintptr_t)heap, mem, bytes);
		}
	}
}

static size_t *size_of(void *mem)
{
	return (size_t *)mem - 1;
}

static void interrupt(void)
{
	void (*handler)(void) = stub_interrupt;

	stub_interrupt = NULL;
	if (handler != NULL) {
		handler();
	}
}

void sys_heap_init(struct sys_heap *heap, void *mem, size_t bytes)
{
	heap->mem = mem;
	heap->bytes = bytes;
	heap->used = 0;
}

void *sys_heap_aligned_alloc(struct sys_heap *heap, size_t align, size_t bytes)
{
	size_t step = align < 2 * sizeof(size_t) ? 2 * sizeof(size_t) : align & -align;
	uintptr_t place = (uintptr_t)heap->mem + heap->used + sizeof(size_t);
	size_t rounded = (bytes + 7) / 8 * 8;
	size_t start = (place + step - 1) / step * step - (uintptr_t)heap->mem;

	interrupt();
	if (stub_answer >= 0) {
		start = (size_t)stub_answer;
	} else if (stub_answer == -2) {
		start = heap->bytes;
	}
	stub_answer = -1;
	if (bytes == 0 || rounded < bytes || start > heap->bytes ||
	    rounded > heap->bytes - start) {
		return NULL;
	}
	heap->used = start + rounded;
	*size_of(heap->mem + start) = rounded;
	notify(heap, HEAP_ALLOC, heap->mem + start, rounded);
	return heap->mem + start;
}

void *sys_heap_alloc(struct sys_heap *heap, size_t bytes)
{
	return sys_heap_aligned_alloc(heap, 0, bytes);
}

void *sys_heap_noalign_alloc(struct sys_heap *heap, size_t align, size_t bytes)
{
	(void)align;
	return sys_heap_alloc(heap, bytes);
}

void sys_heap_free(struct sys_heap *heap, void *mem)
{
	if (mem != NULL) {
		notify(heap, HEAP_FREE, mem, *size_of(mem));
	}
}

void *sys_heap_aligned_realloc(struct sys_heap *heap, void *ptr, size_t align, size_t bytes)
{
	void *mem;
	size_t old;

	if (ptr == NULL) {
		return sys_heap_aligned_alloc(heap, align, bytes);
	}
	if (bytes == 0) {
		sys_heap_free(heap, ptr);
		return NULL;
	}
	old = *size_of(ptr);
	if (bytes <= old && stub_answer == -1) {
		*size_of(ptr) = (bytes + 7) / 8 * 8;
		notify(heap, HEAP_ALLOC, ptr, *size_of(ptr));
		notify(heap, HEAP_FREE, ptr, old);
		return ptr;
	}
	mem = sys_heap_aligned_alloc(heap, align, bytes);
	if (mem != NULL && mem != ptr) {
		memmove(mem, ptr, old < bytes ? old : bytes);
		sys_heap_free(heap, ptr);
	}
	return mem;
}

#ifndef STUB_HAS_NO_REALLOC
void *sys_heap_realloc(struct sys_heap *heap, void *ptr, size_t bytes)
{
	return sys_heap_aligned_realloc(heap, ptr, 0, bytes);
}
#endif
