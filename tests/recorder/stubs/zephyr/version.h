/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * A release for the recorder to name.
 */

#ifndef ZEPHYR_VERSION_H_
#define ZEPHYR_VERSION_H_

#define KERNEL_VERSION_MAJOR 4
#define KERNEL_VERSION_MINOR 3

#endif
