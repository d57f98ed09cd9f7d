/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * Records what a Zephyr program asks of its heaps, for kheap to replay.
 *
 * Every request, served or not, becomes one record of fixed size in a ring in RAM. The ring
 * leaves the device in either of two ways: as lines of text, by kheap_recorder_print(), or as
 * it lies in memory, by a debugger. kheap.read_trace() reads both.
 *
 * Nothing here allocates. Recording may happen in threads, in interrupts, before the kernel
 * runs, and while a heap is locked.
 */

#ifndef KHEAP_RECORDER_H_
#define KHEAP_RECORDER_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sys_heap;

/* Records in the ring, a power of two: 44 bytes each on 32 bits, 72 on 64. */
#ifdef CONFIG_KHEAP_RECORDER_RECORDS
#define KHEAP_RECORDER_RECORDS CONFIG_KHEAP_RECORDER_RECORDS
#else
#define KHEAP_RECORDER_RECORDS 256
#endif

/* How many heaps and threads can have names. */
#ifdef CONFIG_KHEAP_RECORDER_NAMES
#define KHEAP_RECORDER_NAMES CONFIG_KHEAP_RECORDER_NAMES
#else
#define KHEAP_RECORDER_NAMES 8
#endif

/* Bytes of a name, its end marker included. */
#define KHEAP_RECORDER_NAME_BYTES 24

/* What stands for the thread where there is none. */
#define KHEAP_RECORDER_IN_INTERRUPT 1
#define KHEAP_RECORDER_AT_BOOT      2

enum kheap_recorder_op {
	KHEAP_RECORDER_INIT = 'i',         /* pointer: the region; size: its bytes */
	KHEAP_RECORDER_ALLOC = 'a',        /* pointer: 0 where the request failed */
	KHEAP_RECORDER_REALLOC = 'r',      /* old: the block; pointer: what it became, 0 if failed */
	KHEAP_RECORDER_FREE = 'f',
	KHEAP_RECORDER_HEARD_ALLOC = 'A',  /* from a heap listener: size as the heap rounded it */
	KHEAP_RECORDER_HEARD_FREE = 'F',
};

/* One request. No field is wider than a pointer, so that there is no padding. */
struct kheap_record {
	uint32_t sequence;                 /* counts from 0 since boot */
	uint32_t op;
	uint32_t time_low;                 /* microseconds of uptime */
	uint32_t time_high;
	uintptr_t heap;                    /* the struct sys_heap */
	uintptr_t pointer;
	uintptr_t old;
	uintptr_t size;
	uintptr_t align;
	uintptr_t thread;
	uintptr_t caller;
};

struct kheap_record_name {
	uintptr_t address;
	char text[KHEAP_RECORDER_NAME_BYTES];
};

/* All that a reader needs is in here: sizes, byte order, and which Zephyr this is. */
struct kheap_ring {
	char magic[6];                     /* "KHRING" once anything is recorded */
	uint8_t version;                   /* 1 */
	uint8_t pointer_bytes;
	uint32_t byte_order;               /* 0x01020304 */
	uint32_t header_bytes;             /* from here to the first record */
	uint32_t record_bytes;
	uint32_t record_count;             /* slots for records */
	uint32_t name_count;               /* slots for names */
	uint32_t written;                  /* records since boot; the next goes to slot
					    * written % record_count */
	char profile[96];                  /* as `kheap --profile` takes it */
	struct kheap_record_name names[KHEAP_RECORDER_NAMES];
	struct kheap_record records[KHEAP_RECORDER_RECORDS];
};

/* For debuggers: `dump binary value ring.bin kheap_recorder_ring`. */
extern struct kheap_ring kheap_recorder_ring;

/* Recording is on from boot; what happens between stop and start is not in the trace. */
void kheap_recorder_stop(void);
void kheap_recorder_start(void);

/*
 * Print the records that are not printed yet, as lines, oldest first.
 * Returns their number; 0 if another thread is printing.
 */
size_t kheap_recorder_print(void);

/*
 * Where lines go: printk() unless the application defines a function of this name. It gets
 * one line without its end. It may allocate; what it asks for itself is not recorded.
 */
void kheap_recorder_write(const char *line);

/* Name the heap or thread at an address; false if the table is full. */
bool kheap_recorder_name(const void *object, const char *name);

/*
 * Listen to a heap whose calls are not wrapped: failed requests stay unseen, and sizes are
 * those of the blocks. Safe to use beside the wrappers: a wrapped call is recorded once.
 * Needs CONFIG_SYS_HEAP_LISTENER. Returns 0, or -ENOMEM if too many heaps are listened to.
 */
int kheap_recorder_listen(struct sys_heap *heap);

/*
 * For wrappers: begin() before the call, end() after it, both with the same scope. With a
 * heap the call is one of that heap, and recorded unless it comes from within another;
 * without, only its call site is kept, for the calls that it leads to.
 */
struct kheap_scope {
	uintptr_t heap;
	uintptr_t caller;
	uintptr_t thread;
	uintptr_t outer_heap;
	uintptr_t outer_caller;
	size_t slot;
	bool is_recorded;
};

void kheap_recorder_begin(struct kheap_scope *scope, const void *heap, const void *caller);
void kheap_recorder_end(const struct kheap_scope *scope, const struct kheap_record *record);

#ifdef __cplusplus
}
#endif

#endif /* KHEAP_RECORDER_H_ */
