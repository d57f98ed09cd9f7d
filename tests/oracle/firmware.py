"""The heap code of a released Zephyr firmware, called function by function.

The firmware is the ``firmware.hex`` of a package on PyPI; ``entry_points.json`` beside this
file tells where its heap functions lie.  unicorn emulates a Cortex-M4 with the firmware in
flash and a buffer of ours as RAM.  Nothing of kheap is used here.

A call follows the ARM procedure call standard: arguments in r0 to r2, the return address in
lr, the result in r0.  A failed check of the firmware's hardening ends in a supervisor call,
which raises :class:`Panic`; so do an access to no memory and a call that does not return.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

from unicorn import (
    UC_ARCH_ARM,
    UC_HOOK_INTR,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    UC_PROT_ALL,
    Uc,
    UcError,
)
from unicorn.arm_const import (
    UC_ARM_REG_LR,
    UC_ARM_REG_PC,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_SP,
)

FACTS = json.loads(Path(__file__).with_name("entry_points.json").read_text(encoding="utf-8"))
PACKAGE = FACTS["pypi"].split("==")[0]

FLASH_BYTES = 1 << 20
RETURN_ADDRESS = FLASH_BYTES - 16
RAM = 0x20000000
RAM_BYTES = 1 << 19
STACK_TOP = RAM + RAM_BYTES - 64
HEAP_OBJECT = RAM + 0x100
REGION = RAM + 0x1000

DATA_RECORD, END_RECORD, SEGMENT_RECORD, LINEAR_RECORD = 0, 1, 2, 4
ARGUMENTS = (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2)


class FirmwareMissing(Exception):
    """The package with the firmware is not installed, or has another firmware."""


class Panic(Exception):
    """A call did not return: a check failed, memory was missing, or it went on for ever."""


def firmware_hex() -> bytes:
    """The firmware as the package ships it, its hash verified."""
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        raise FirmwareMissing(f"{PACKAGE} is not installed") from None
    for file in files:
        if file.name == FACTS["file"]:
            content = Path(file.locate()).read_bytes()
            if hashlib.sha256(content).hexdigest() != FACTS["sha256"]:
                raise FirmwareMissing(f"{PACKAGE}: another firmware than the one known")
            return content
    raise FirmwareMissing(f"{PACKAGE} has no {FACTS['file']}")


def hex_records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The data of an Intel HEX file: address and bytes."""
    base = 0
    for line in content.split():
        record = bytes.fromhex(line[1:].decode())
        assert sum(record) & 0xFF == 0, f"checksum of {line!r}"
        count, kind, data = record[0], record[3], record[4:-1]
        assert count == len(data), f"length of {line!r}"
        if kind == DATA_RECORD:
            yield base + int.from_bytes(record[1:3], "big"), data
        elif kind == SEGMENT_RECORD:
            base = int.from_bytes(data, "big") << 4
        elif kind == LINEAR_RECORD:
            base = int.from_bytes(data, "big") << 16
        elif kind == END_RECORD:
            return


def entry_points() -> dict[str, int]:
    """The address of each function that is called."""
    known = FACTS["thumb_entry_points_without_bit0"]
    return {name: int(address, 16) for name, address in known.items()}


class Firmware:
    """The firmware with one heap; offsets count from the region's first byte, None is NULL."""

    def __init__(self) -> None:
        self.cpu = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.cpu.mem_map(0, FLASH_BYTES)
        for address, data in hex_records(firmware_hex()):
            if address + len(data) <= FLASH_BYTES:
                self.cpu.mem_write(address, data)
        self.ram = mmap.mmap(-1, RAM_BYTES)
        self.ram_address = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.cpu.mem_map_ptr(RAM, RAM_BYTES, UC_PROT_ALL, self.ram_address)
        self.cpu.hook_add(UC_HOOK_INTR, self._interrupt)
        self.functions = entry_points()
        self.fresh = self.cpu.context_save()
        self.interrupted = False
        self.address = self.first = self.size = 0

    def _interrupt(self, cpu: Uc, _number: int, _data: object) -> None:
        self.interrupted = True
        cpu.emu_stop()

    def flash(self, address: int, count: int) -> bytes:
        """Bytes of the firmware."""
        return bytes(self.cpu.mem_read(address, count))

    def call(self, name: str, *args: int, limit: int = 0) -> int:
        """Call one function, for at most ``limit`` instructions if given; return its r0.

        Raises:
            Panic: It did not return.
        """
        for register, value in zip(ARGUMENTS, args, strict=False):
            self.cpu.reg_write(register, value)
        self.cpu.reg_write(UC_ARM_REG_SP, STACK_TOP)
        self.cpu.reg_write(UC_ARM_REG_LR, RETURN_ADDRESS | 1)
        try:
            self.cpu.emu_start(self.functions[name] | 1, RETURN_ADDRESS, count=limit)
        except UcError as error:
            self._panic(name, args, str(error))
        if self.interrupted:
            self._panic(name, args, "a check failed")
        if limit and self.cpu.reg_read(UC_ARM_REG_PC) != RETURN_ADDRESS:
            self._panic(name, args, f"still busy after {limit} instructions")
        return self.cpu.reg_read(UC_ARM_REG_R0)

    def _panic(self, name: str, args: tuple[int, ...], why: str) -> NoReturn:
        self.interrupted = False
        self.cpu.context_restore(self.fresh)
        raise Panic(f"{name}{args}: {why}")

    def init(self, size: int, fill: int, misalignment: int = 0) -> None:
        """Preset all memory to ``fill`` and make a heap of ``size`` bytes in it."""
        self.address, self.size = REGION + misalignment, size
        self.first = self.address - RAM
        self.ram[:] = bytes([fill]) * RAM_BYTES
        self.call("sys_heap_init", HEAP_OBJECT, self.address, size)

    def region(self) -> bytes:
        """The region's bytes as they are now."""
        return self.ram[self.first : self.first + self.size]

    def surroundings(self) -> set[int]:
        """The values of the 256 bytes before and behind the region."""
        end = self.first + self.size
        return {*self.ram[self.first - 256 : self.first], *self.ram[end : end + 256]}

    def memory(self) -> bytes:
        """All of the RAM, to be given to :meth:`restore`."""
        return self.ram[:]

    def restore(self, memory: bytes) -> None:
        """Make the RAM what it was."""
        self.ram[:] = memory

    def write(self, offset: int, data: bytes) -> None:
        """Write into the region, as the owner of a block does."""
        self.ram[self.first + offset : self.first + offset + len(data)] = data

    def alloc(self, size: int, limit: int = 0) -> int | None:
        """sys_heap_alloc."""
        return self._offset(self.call("sys_heap_alloc", HEAP_OBJECT, size, limit=limit))

    def noalign_alloc(self, align: int, size: int) -> int | None:
        """sys_heap_noalign_alloc: the alignment is passed and ignored."""
        return self._offset(self.call("sys_heap_noalign_alloc", HEAP_OBJECT, align, size))

    def aligned_alloc(self, align: int, size: int) -> int | None:
        """sys_heap_aligned_alloc."""
        return self._offset(self.call("sys_heap_aligned_alloc", HEAP_OBJECT, align, size))

    def free(self, offset: int | None, limit: int = 0) -> None:
        """sys_heap_free."""
        pointer = 0 if offset is None else self.address + offset
        self.call("sys_heap_free", HEAP_OBJECT, pointer, limit=limit)

    def _offset(self, pointer: int) -> int | None:
        return pointer - self.address if pointer else None
