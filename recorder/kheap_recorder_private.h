/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * What the recorder's own files share.
 */

#ifndef KHEAP_RECORDER_PRIVATE_H_
#define KHEAP_RECORDER_PRIVATE_H_

#include "kheap_recorder.h"

#include <zephyr/kernel.h>

/* Held for some dozens of instructions, never while a heap or the output is called. */
extern struct k_spinlock kheap_recorder_lock;

/* Which Zephyr this is, as `kheap --profile` takes it. */
extern const char kheap_recorder_profile[];

extern bool kheap_recorder_names_changed;

/* Who is printing; 0: nobody. What the output asks of heaps is not recorded. */
extern uintptr_t kheap_recorder_printer;

/* The thread that runs, or what stands for it; never 0. */
uintptr_t kheap_recorder_current(void);

#endif /* KHEAP_RECORDER_PRIVATE_H_ */
