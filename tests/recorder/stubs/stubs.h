/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * What a program sets, and may look at, of the stubs.
 */

#ifndef STUBS_H_
#define STUBS_H_

#include <zephyr/kernel.h>

extern struct k_thread *stub_thread;
extern int64_t stub_ticks;
extern bool stub_is_in_isr;
extern bool stub_is_pre_kernel;
extern bool stub_is_user;

/* How many locks are held right now. */
extern unsigned int stub_locks;

/* Where in the region the next block goes, once; -1: where there is room; -2: it is refused. */
extern long stub_answer;

/* Called once in the middle of the next request to a heap. */
extern void (*stub_interrupt)(void);

/* The heap behind k_malloc(). */
extern struct k_heap _system_heap;

#endif
