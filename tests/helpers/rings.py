"""Rings of kheap's recorder, put together by the layout that its header file gives."""

from __future__ import annotations

from struct import pack

PROFILE = b"release=4.3,bits=32,header=small,runtime_stats=no,alloc_loops=3,hardening=basic"
FIELDS = ("time", "heap", "pointer", "old", "size", "align", "thread", "caller")


def record(op, heap=0x20000100, *, sequence=None, **fields):
    """A record; fields that are not given are 0, and the number is that of its place."""
    return {"op": ord(op), "heap": heap, "sequence": sequence, **fields}


def ring(records, *, width=4, order="<", slots=8, names=(), written=None, profile=PROFILE):
    """The bytes of a ring that these records went through, the oldest of them overwritten."""
    word = "I" if width == 4 else "Q"
    name_slots = max(len(names), 2)
    entry = f"{order}{word}24s"
    table = b"".join(pack(entry, address, name) for address, name in names)
    table += bytes((8 if width == 8 else 4) + 24) * (name_slots - len(names))
    body = [bytes(16 + 7 * width)] * slots
    for number, fields in enumerate(records):
        body[number % slots] = packed(fields, number, order, word)
    head = b"KHRING" + bytes((1, width))
    count = len(records) if written is None else written
    sizes = (0x01020304, 128 + len(table), 16 + 7 * width, slots, name_slots, count)
    return head + pack(f"{order}6I96s", *sizes, profile) + table + b"".join(body)


def packed(fields, number, order, word):
    """The bytes of one record."""
    sequence = number if fields["sequence"] is None else fields["sequence"]
    time, *values = (fields.get(name, 0) for name in FIELDS)
    low, high = time & 0xFFFFFFFF, time >> 32
    return pack(f"{order}4I7{word}", sequence & 0xFFFFFFFF, fields["op"], low, high, *values)
