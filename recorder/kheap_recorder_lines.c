/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the kheap authors
 *
 * The way out as lines of text. docs/reference/trace-formats.md of kheap tells the format.
 */

#include "kheap_recorder_private.h"

#include <zephyr/sys/printk.h>

static bool is_profile_printed;
static uint32_t printed;

/* The longest line is that of a realloc on 64 bits, with some 190 characters. */
struct line {
	char text[224];
	size_t used;
};

static void add_char(struct line *line, char c)
{
	if (line->used < sizeof(line->text) - 1) {
		line->text[line->used++] = c;
	}
}

static void add_text(struct line *line, const char *text)
{
	while (*text != '\0') {
		add_char(line, *text++);
	}
}

static void add_digits(struct line *line, uint64_t value, unsigned int base)
{
	char digits[20];
	size_t count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (count > 0) {
		add_char(line, digits[--count]);
	}
}

static void add_number(struct line *line, uint64_t value)
{
	add_char(line, ' ');
	add_digits(line, value, 10);
}

static void add_address(struct line *line, uintptr_t address)
{
	add_text(line, " 0x");
	add_digits(line, address, 16);
}

/* CRC-16/XMODEM: consoles lose characters, and a shorter number is still a number. */
static uint16_t check_sum(const char *text, size_t count)
{
	uint16_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		sum ^= (uint16_t)((uint8_t)text[i] << 8);
		for (int bit = 0; bit < 8; bit++) {
			sum = (uint16_t)((sum & 0x8000) != 0 ? (sum << 1) ^ 0x1021 : sum << 1);
		}
	}
	return sum;
}

static void write_line(struct line *line)
{
	uint16_t sum = check_sum(line->text, line->used);

	add_char(line, '*');
	for (int shift = 12; shift >= 0; shift -= 4) {
		add_digits(line, (sum >> shift) & 0xf, 16);
	}
	line->text[line->used] = '\0';
	kheap_recorder_write(line->text);
}

static void print_profile(void)
{
	struct line line = {.used = 0};

	add_text(&line, "kh v 1 ");
	add_text(&line, kheap_recorder_profile);
	add_char(&line, ' ');
	write_line(&line);
}

static void print_names(void)
{
	for (size_t i = 0; i < KHEAP_RECORDER_NAMES; i++) {
		struct line line = {.used = 0};
		struct kheap_record_name name;
		k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);

		name = kheap_recorder_ring.names[i];
		k_spin_unlock(&kheap_recorder_lock, key);
		if (name.address == 0) {
			return;
		}
		add_text(&line, "kh n");
		add_address(&line, name.address);
		add_char(&line, ' ');
		add_text(&line, name.text);
		add_char(&line, ' ');
		write_line(&line);
	}
}

static void print_record(const struct kheap_record *record)
{
	struct line line = {.used = 0};
	bool is_alloc = record->op == KHEAP_RECORDER_ALLOC;
	bool is_free = record->op == KHEAP_RECORDER_FREE || record->op == KHEAP_RECORDER_HEARD_FREE;
	bool has_failed = is_alloc && record->pointer == 0;

	add_text(&line, "kh ");
	add_char(&line, has_failed ? 'x' : (char)record->op);
	add_address(&line, record->heap);
	if (record->op == KHEAP_RECORDER_REALLOC) {
		add_address(&line, record->old);
	}
	if (!has_failed) {
		add_address(&line, record->pointer);
	}
	if (!is_free) {
		add_number(&line, record->size);
	}
	if (!is_free && record->op != KHEAP_RECORDER_INIT) {
		add_number(&line, record->align);
	}
	add_number(&line, (uint64_t)record->time_high << 32 | record->time_low);
	add_address(&line, record->thread);
	add_address(&line, record->caller);
	add_text(&line, " #");
	add_digits(&line, record->sequence, 10);
	write_line(&line);
}

/* The oldest record that is not printed yet; false if there is none before number `end`. */
static bool take(struct kheap_record *record, uint32_t end)
{
	struct kheap_ring *ring = &kheap_recorder_ring;
	k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);
	bool is_taken;

	if (ring->written - printed > KHEAP_RECORDER_RECORDS) {
		printed = ring->written - KHEAP_RECORDER_RECORDS;
	}
	is_taken = (int32_t)(end - printed) > 0;
	if (is_taken) {
		*record = ring->records[printed % KHEAP_RECORDER_RECORDS];
		printed++;
	}
	k_spin_unlock(&kheap_recorder_lock, key);
	return is_taken;
}

/* Whether this thread may print, and what: the records up to number `end`, perhaps names. */
static bool begin_printing(uint32_t *end, bool *are_names_due)
{
	uintptr_t thread = kheap_recorder_current();
	k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);
	bool is_free = kheap_recorder_printer == 0;

	if (is_free) {
		kheap_recorder_printer = thread;
		*end = kheap_recorder_ring.written;
		*are_names_due = kheap_recorder_names_changed;
		kheap_recorder_names_changed = false;
	}
	k_spin_unlock(&kheap_recorder_lock, key);
	return is_free;
}

static void end_printing(void)
{
	k_spinlock_key_t key = k_spin_lock(&kheap_recorder_lock);

	kheap_recorder_printer = 0;
	k_spin_unlock(&kheap_recorder_lock, key);
}

size_t kheap_recorder_print(void)
{
	struct kheap_record record;
	bool are_names_due;
	uint32_t end;
	size_t count = 0;

	if (!begin_printing(&end, &are_names_due)) {
		return 0;
	}
	if (!is_profile_printed) {
		is_profile_printed = true;
		print_profile();
	}
	if (are_names_due) {
		print_names();
	}
	/* What others add meanwhile is left for the next time. */
	while (take(&record, end)) {
		print_record(&record);
		count++;
	}
	end_printing();
	return count;
}

__attribute__((weak)) void kheap_recorder_write(const char *line)
{
	printk("%s\n", line);
}

#ifdef CONFIG_KHEAP_RECORDER_THREAD
static void print_for_ever(void *unused1, void *unused2, void *unused3)
{
	(void)unused1;
	(void)unused2;
	(void)unused3;
	for (;;) {
		kheap_recorder_print();
		k_msleep(CONFIG_KHEAP_RECORDER_THREAD_PERIOD_MS);
	}
}

K_THREAD_DEFINE(kheap_recorder_thread, CONFIG_KHEAP_RECORDER_THREAD_STACK_SIZE, print_for_ever,
		NULL, NULL, NULL, K_LOWEST_APPLICATION_THREAD_PRIO, 0, 0);
#endif
