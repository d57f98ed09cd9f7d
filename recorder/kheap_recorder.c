/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * The ring of records. What is recorded comes from kheap_recorder_wrap.c, or from heap
 * listeners (kheap_recorder_listen.c); the way out as text is kheap_recorder_lines.c.
 */

#include "kheap_recorder_private.h"

#include <string.h>

#include <zephyr/version.h>

#ifdef CONFIG_KHEAP_RECORDER_CONTEXTS
#define CONTEXTS CONFIG_KHEAP_RECORDER_CONTEXTS
#else
#define CONTEXTS 8
#endif

#define NO_SLOT ((size_t)-1)

/* Sequence numbers find their slot by a mask, also after they have wrapped around. */
typedef char records_is_a_power_of_two
	[(KHEAP_RECORDER_RECORDS & (KHEAP_RECORDER_RECORDS - 1)) == 0 ? 1 : -1];

/* What a thread, or an interrupt, is doing with heaps right now. */
struct context {
	uintptr_t thread;
	uintptr_t heap;
	uintptr_t caller;
};

struct kheap_ring kheap_recorder_ring;
struct k_spinlock kheap_recorder_lock;
bool kheap_recorder_names_changed;
uintptr_t kheap_recorder_printer;

static struct context contexts[CONTEXTS];
static size_t next_victim;
static bool is_stopped;

/* ------------------------------------------------------------------ which Zephyr this is */

#define TEXT_OF(value)  #value
#define TEXT(value)     TEXT_OF(value)

#ifdef CONFIG_64BIT
#define BITS "64"
#else
#define BITS "32"
#endif

#if defined(CONFIG_SYS_HEAP_BIG_ONLY)
#define HEADER "big"
#elif defined(CONFIG_SYS_HEAP_SMALL_ONLY) && !defined(CONFIG_64BIT)
#define HEADER "small"
#else
#define HEADER "auto"
#endif

#ifdef CONFIG_SYS_HEAP_RUNTIME_STATS
#define STATS "yes"
#else
#define STATS "no"
#endif

#ifdef CONFIG_SYS_HEAP_ALLOC_LOOPS
#define LOOPS TEXT(CONFIG_SYS_HEAP_ALLOC_LOOPS)
#else
#define LOOPS "3"
#endif

#if defined(CONFIG_SYS_HEAP_HARDENING_EXTREME)
#define HARDENING "extreme"
#elif defined(CONFIG_SYS_HEAP_HARDENING_FULL)
#define HARDENING "full"
#elif defined(CONFIG_SYS_HEAP_HARDENING_MODERATE)
#define HARDENING "moderate"
#elif defined(CONFIG_SYS_HEAP_HARDENING_NONE)
#define HARDENING "none"
#else
#define HARDENING "basic"
#endif

const char kheap_recorder_profile[] =
	"release=" TEXT(KERNEL_VERSION_MAJOR) "." TEXT(KERNEL_VERSION_MINOR)
	",bits=" BITS ",header=" HEADER ",runtime_stats=" STATS
	",alloc_loops=" LOOPS ",hardening=" HARDENING;

typedef char profile_fits
	[sizeof(kheap_recorder_profile) <= sizeof(((struct kheap_ring *)0)->profile) ? 1 : -1];

/* ------------------------------------------------------------------ the ring */

/* Neither the thread nor the time may be asked for before the kernel runs. */
uintptr_t kheap_recorder_current(void)
{
	if (k_is_in_isr()) {
		return KHEAP_RECORDER_IN_INTERRUPT;
	}
	return k_is_pre_kernel() ? KHEAP_RECORDER_AT_BOOT : (uintptr_t)k_current_get();
}

static uint64_t uptime_us(void)
{
	return k_is_pre_kernel() ? 0 : k_ticks_to_us_floor64((uint64_t)k_uptime_ticks());
}

/* A debugger may stop the device anywhere: no write may move over this line. */
static void order_writes(void)
{
	__asm__ volatile("" : : : "memory");
}

/* The ring has no initial value, since that would take its size in flash as well. */
static void prepare(struct kheap_ring *ring)
{
	if (ring->version != 0) {
		return;
	}
	ring->pointer_bytes = sizeof(void *);
	ring->byte_order = 0x01020304;
	ring->header_bytes = offsetof(struct kheap_ring, records);
	ring->record_bytes = sizeof(struct kheap_record);
	ring->record_count = KHEAP_RECORDER_RECORDS;
	ring->name_count = KHEAP_RECORDER_NAMES;
	memcpy(ring->profile, kheap_recorder_profile, sizeof(kheap_recorder_profile));
	memcpy(ring->magic, "KHRING", sizeof(ring->magic));
	ring->version = 1;
}

/* Add a record, over the oldest if need be. A slot that is half written has no valid number. */
static void put(const struct kheap_record *record, const struct kheap_scope *scope,
		uint64_t time_us)
{
	struct kheap_ring *ring = &kheap_recorder_ring;
	struct kheap_record *slot = &ring->records[ring->written % KHEAP_RECORDER_RECORDS];

	prepare(ring);
	slot->sequence = ~ring->written;
	order_writes();
	slot->op = record->op;
	slot->time_low = (uint32_t)time_us;
	slot->time_high = (uint32_t)(time_us >> 32);
	slot->heap = scope->heap;
	slot->pointer = record->pointer;
	slot->old = record->old;
	slot->size = record->size;
	slot->align = record->align;
	slot->thread = scope->thread;
	slot->caller = scope->caller;
	order_writes();
	slot->sequence = ring->written;
	order_writes();
	ring->written++;
}

void kheap_recorder_stop(void)
{
	is_stopped = true;
}

void kheap_recorder_start(void)
{
	is_stopped = false;
}

/* A name is one word of plain characters, whatever the program calls the thing. */
static void copy_name(char *text, const char *name)
{
	size_t i;

	for (i = 0; i < KHEAP_RECORDER_NAME_BYTES - 1 && name[i] != '\0'; i++) {
		bool is_plain = name[i] > ' ' && name[i] <= '~' && name[i] != '#' && name[i] != '*';

		text[i] = is_plain ? name[i] : '_';
	}
	memset(text + i, 0, KHEAP_RECORDER_NAME_BYTES - i);
}

bool kheap_recorder_name(const void *object, const char *name)
{
	struct kheap_ring *ring = &kheap_recorder_ring;
	bool is_known = false;
	k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);
	size_t i = 0;

	prepare(ring);
	while (i < KHEAP_RECORDER_NAMES && ring->names[i].address != 0 &&
	       ring->names[i].address != (uintptr_t)object) {
		i++;
	}
	if (i < KHEAP_RECORDER_NAMES && object != NULL && name != NULL && name[0] != '\0') {
		copy_name(ring->names[i].text, name);
		ring->names[i].address = (uintptr_t)object;
		kheap_recorder_names_changed = true;
		is_known = true;
	}
	k_spin_unlock(&kheap_recorder_lock, key);
	return is_known;
}

/* ------------------------------------------------------------------ calls within calls */

static size_t slot_of(uintptr_t thread)
{
	for (size_t i = 0; i < CONTEXTS; i++) {
		if (contexts[i].thread == thread) {
			return i;
		}
	}
	return NO_SLOT;
}

/*
 * A slot for a thread. A thread that is aborted while it waits for memory leaves its own
 * behind, so when none is free another thread loses its: what that costs is the call site of
 * one request, never a record.
 */
static size_t claim_slot(uintptr_t thread)
{
	size_t slot = slot_of(thread);

	if (slot == NO_SLOT) {
		slot = slot_of(0);
	}
	if (slot == NO_SLOT) {
		slot = next_victim;
		next_victim = (next_victim + 1) % CONTEXTS;
	}
	if (contexts[slot].thread != thread) {
		contexts[slot] = (struct context){.thread = thread};
	}
	return slot;
}

void kheap_recorder_begin(struct kheap_scope *scope, const void *heap, const void *caller)
{
	struct context *context;
	k_spinlock_key_t key;

	*scope = (struct kheap_scope){.heap = (uintptr_t)heap, .slot = NO_SLOT};
	if (k_is_user_context()) {
		return; /* the ring cannot be reached from there */
	}
	scope->thread = kheap_recorder_current();
	key = k_spin_lock(&kheap_recorder_lock);
	scope->slot = claim_slot(scope->thread);
	context = &contexts[scope->slot];
	scope->outer_heap = context->heap;
	scope->outer_caller = context->caller;
	scope->is_recorded = heap != NULL && context->heap != scope->heap;
	if (heap == NULL) {
		context->caller = (uintptr_t)caller;
	} else {
		context->heap = scope->heap;
		/* The call site that matters is the outermost, that of k_malloc() or its like. */
		context->caller = context->caller != 0 ? context->caller : (uintptr_t)caller;
	}
	scope->caller = context->caller;
	k_spin_unlock(&kheap_recorder_lock, key);
}

void kheap_recorder_end(const struct kheap_scope *scope, const struct kheap_record *record)
{
	uint64_t time_us;
	k_spinlock_key_t key;

	if (scope->slot == NO_SLOT) {
		return;
	}
	time_us = uptime_us();
	key = k_spin_lock(&kheap_recorder_lock);
	if (contexts[scope->slot].thread == scope->thread) {
		struct context *context = &contexts[scope->slot];

		context->heap = scope->outer_heap;
		context->caller = scope->outer_caller;
		if (context->heap == 0 && context->caller == 0) {
			context->thread = 0;
		}
	}
	/* Output that allocates would otherwise make more records than it prints. */
	if (scope->is_recorded && record != NULL && !is_stopped &&
	    scope->thread != kheap_recorder_printer) {
		put(record, scope, time_us);
	}
	k_spin_unlock(&kheap_recorder_lock, key);
#ifdef CONFIG_KHEAP_RECORDER_IMMEDIATE
	/*
	 * Not before the kernel runs, for there may be no console; and only when the outermost
	 * wrapper ends, since within it a heap may be locked.
	 */
	if (scope->outer_heap == 0 && scope->outer_caller == 0 && !k_is_pre_kernel()) {
		kheap_recorder_print();
	}
#endif
}
