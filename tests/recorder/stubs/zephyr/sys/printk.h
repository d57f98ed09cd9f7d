/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * The console.
 */

#ifndef ZEPHYR_SYS_PRINTK_H_
#define ZEPHYR_SYS_PRINTK_H_

void printk(const char *format, ...);

#endif
