/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * Does what its standard input says, a command a line, and writes into the file named by its
 * argument what came of each. What the recorder prints goes to standard output.
 */

#include "kheap_recorder.h"
#include "stubs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAPS      4
#define REGION     (1 << 20)
#define NOINLINE   __attribute__((noinline))
#define IS(word)   (strcmp(command, word) == 0)

static struct k_heap other_heaps[HEAPS];
static char regions[HEAPS][REGION] __attribute__((aligned(4096)));
static struct k_thread threads[8];
static void *blocks[1024];
static FILE *answers;

static struct k_heap *heap_of(long number)
{
	return number == 0 ? &_system_heap : &other_heaps[number];
}

static void answer(const char *command, const void *result)
{
	fprintf(answers, "%s 0x%" PRIxPTR "\n", command, (uintptr_t)result);
}

/* ------------------------------------------------------------------ requests, each at its own place */

static NOINLINE void *do_k_malloc(const long *n, void *old)
{
	(void)old;
	return k_malloc((size_t)n[1]);
}

static NOINLINE void *do_k_aligned_alloc(const long *n, void *old)
{
	(void)old;
	return k_aligned_alloc((size_t)n[2], (size_t)n[1]);
}

static NOINLINE void *do_k_calloc(const long *n, void *old)
{
	(void)old;
	return k_calloc((size_t)n[2], (size_t)n[1]);
}

static NOINLINE void *do_k_free(const long *n, void *old)
{
	(void)n;
	k_free(old);
	return NULL;
}

static NOINLINE void *do_k_heap_alloc(const long *n, void *old)
{
	(void)old;
	return k_heap_alloc(heap_of(n[3]), (size_t)n[1], K_NO_WAIT);
}

static NOINLINE void *do_k_heap_aligned_alloc(const long *n, void *old)
{
	(void)old;
	return k_heap_aligned_alloc(heap_of(n[3]), (size_t)n[2], (size_t)n[1], K_NO_WAIT);
}

static NOINLINE void *do_k_heap_calloc(const long *n, void *old)
{
	(void)old;
	return k_heap_calloc(heap_of(n[3]), (size_t)n[2], (size_t)n[1], K_NO_WAIT);
}

static NOINLINE void *do_k_heap_free(const long *n, void *old)
{
	k_heap_free(heap_of(n[3]), old);
	return NULL;
}

static NOINLINE void *do_sys_heap_alloc(const long *n, void *old)
{
	(void)old;
	return sys_heap_alloc(&heap_of(n[3])->heap, (size_t)n[1]);
}

static NOINLINE void *do_sys_heap_aligned_alloc(const long *n, void *old)
{
	(void)old;
	return sys_heap_aligned_alloc(&heap_of(n[3])->heap, (size_t)n[2], (size_t)n[1]);
}

static NOINLINE void *do_sys_heap_aligned_realloc(const long *n, void *old)
{
	return sys_heap_aligned_realloc(&heap_of(n[3])->heap, old, (size_t)n[2], (size_t)n[1]);
}

static NOINLINE void *do_sys_heap_free(const long *n, void *old)
{
	sys_heap_free(&heap_of(n[3])->heap, old);
	return NULL;
}

#ifndef STUB_HAS_NO_REALLOC
static NOINLINE void *do_k_realloc(const long *n, void *old)
{
	return k_realloc(old, (size_t)n[1]);
}

static NOINLINE void *do_k_heap_realloc(const long *n, void *old)
{
	return k_heap_realloc(heap_of(n[3]), old, (size_t)n[1], K_NO_WAIT);
}

static NOINLINE void *do_sys_heap_realloc(const long *n, void *old)
{
	return sys_heap_realloc(&heap_of(n[3])->heap, old, (size_t)n[1]);
}
#endif

struct request {
	const char *name;
	void *(*call)(const long *n, void *old);
	bool is_realloc;
};

static const struct request requests[] = {
	{"k_malloc", do_k_malloc, false},
	{"k_aligned_alloc", do_k_aligned_alloc, false},
	{"k_calloc", do_k_calloc, false},
	{"k_free", do_k_free, false},
	{"k_heap_alloc", do_k_heap_alloc, false},
	{"k_heap_aligned_alloc", do_k_heap_aligned_alloc, false},
	{"k_heap_calloc", do_k_heap_calloc, false},
	{"k_heap_free", do_k_heap_free, false},
	{"sys_heap_alloc", do_sys_heap_alloc, false},
	{"sys_heap_aligned_alloc", do_sys_heap_aligned_alloc, false},
	{"sys_heap_aligned_realloc", do_sys_heap_aligned_realloc, true},
	{"sys_heap_free", do_sys_heap_free, false},
#ifndef STUB_HAS_NO_REALLOC
	{"k_realloc", do_k_realloc, true},
	{"k_heap_realloc", do_k_heap_realloc, true},
	{"sys_heap_realloc", do_sys_heap_realloc, true},
#endif
};

/* n: the id of the block, bytes, alignment or count, heap. */
static bool do_request(const char *command, const long *n)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		void **block, *result;

		if (!IS(requests[i].name)) {
			continue;
		}
		block = &blocks[n[0]];
		result = requests[i].call(n, *block);
		if (result != NULL || !requests[i].is_realloc || n[1] == 0) {
			*block = result;
		}
		answer(command, result);
		return true;
	}
	return false;
}

/* ------------------------------------------------------------------ what else a program does */

/* An interrupt in the middle of a request, or another thread: both use heap 1. */
static void handle_interrupt(void)
{
	stub_is_in_isr = true;
	answer("interrupt", k_heap_alloc(&other_heaps[1], 24, K_NO_WAIT));
	stub_is_in_isr = false;
}

static void switch_threads(void)
{
	struct k_thread *interrupted = stub_thread;

	stub_thread = &threads[7];
	answer("switched", sys_heap_alloc(&other_heaps[1].heap, 40));
	stub_thread = interrupted;
}

/* Threads that never come back: each leaves the middle of a call, as if it were aborted. */
static void abort_threads(long count)
{
	static struct k_thread aborted[64];
	struct kheap_scope scope;

	for (long i = 0; i < count; i++) {
		stub_thread = &aborted[i];
		kheap_recorder_begin(&scope, NULL, "somewhere");
	}
	stub_thread = &threads[0];
}

static void save_ring(const char *path)
{
	FILE *file = fopen(path, "wb");

	if (file == NULL || fwrite(&kheap_recorder_ring, sizeof(kheap_recorder_ring), 1, file) != 1) {
		exit(4);
	}
	fclose(file);
}

#ifdef OUTPUT_ALLOCATES
/* A log backend that takes memory for each line, and a heap that it frees it to. */
void kheap_recorder_write(const char *line)
{
	void *buffer = k_malloc(16);

	if (stub_locks > 0) {
		fprintf(stderr, "a line is written while a lock is held\n");
		exit(5);
	}
	printf("[%08ld] <inf> app: %s\r\n", (long)stub_ticks, line);
	kheap_recorder_print();
	k_free(buffer);
}
#endif

static void do_state(const char *command, const long *n)
{
	if (IS("heap")) {
		k_heap_init(heap_of(n[0]), regions[n[0]], (size_t)n[1]);
		answer(command, heap_of(n[0]));
		answer("region", regions[n[0]]);
	} else if (IS("thread")) {
		stub_thread = &threads[n[0]];
		answer(command, stub_thread);
	} else if (IS("ticks")) {
		stub_ticks = n[0];
	} else if (IS("isr")) {
		stub_is_in_isr = n[0];
	} else if (IS("boot")) {
		stub_is_pre_kernel = n[0];
	} else if (IS("user")) {
		stub_is_user = n[0];
	} else if (IS("answer")) {
		stub_answer = n[0];
	} else if (IS("interrupt")) {
		stub_interrupt = handle_interrupt;
	} else if (IS("switch")) {
		stub_interrupt = switch_threads;
	} else if (IS("abort")) {
		abort_threads(n[0]);
	} else {
		fprintf(stderr, "unknown command %s\n", command);
		exit(2);
	}
}

static void do_recorder(const char *command, const long *n, const char *text)
{
	if (IS("stop")) {
		kheap_recorder_stop();
	} else if (IS("start")) {
		kheap_recorder_start();
	} else if (IS("print")) {
		fprintf(answers, "print %zu\n", kheap_recorder_print());
	} else if (IS("text")) {
		printf("%s", text);
	} else if (IS("line")) {
		printf("%s\n", text);
	} else if (IS("save")) {
		save_ring(text);
	} else if (IS("name")) {
		fprintf(answers, "name %d\n", kheap_recorder_name(heap_of(n[0]), text));
	} else if (IS("name_thread")) {
		fprintf(answers, "name %d\n", kheap_recorder_name(&threads[n[0]], text));
#ifdef CONFIG_SYS_HEAP_LISTENER
	} else if (IS("listen")) {
		fprintf(answers, "listen %d\n", kheap_recorder_listen(&heap_of(n[0])->heap));
#endif
	} else {
		do_state(command, n);
	}
}

int main(int argc, char **argv)
{
	char line[512];

	stub_thread = &threads[0];
	answers = argc > 1 ? fopen(argv[1], "w") : NULL;
	if (answers == NULL) {
		return 2;
	}
	answer("main", (void *)(uintptr_t)main);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char command[64] = "", text[256] = "";
		long n[4] = {0, 0, 0, 0};

		line[strcspn(line, "\n")] = '\0';
		sscanf(line, "%63s %ld %ld %ld %ld", command, &n[0], &n[1], &n[2], &n[3]);
		/* Text follows the first word, or the number of what it names. */
		sscanf(line, strncmp(line, "name", 4) == 0 ? "%*s %*d %255[^\n]" : "%*s %255[^\n]",
		       text);
		if (!do_request(command, n)) {
			do_recorder(command, n, text);
		}
	}
	fclose(answers);
	return 0;
}
