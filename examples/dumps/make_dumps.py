"""Makes the files of this folder: a small program's ELF, dumps of its memory, a recording.

The program is made up, but its heaps are real: kheap's engine allocates in them, and the bytes
are what Zephyr 4.4 would leave in the RAM of a Cortex-M.  It has a ``k_heap`` for packets, the
system heap for sessions, and a thread that waits for memory.

Usage: ``python make_dumps.py [FOLDER]``; without one the files beside this script are made anew.
What is needed besides kheap: the tests' ELF writer, so a clone with the extra ``test``.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from struct import pack

import kheap
from kheap.dump.memory import Memory
from kheap.dump.target.recording import Header, Recorder

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from helpers.elf_maker import Section, Symbol, make_elf

PROFILE = kheap.Profile(release="4.4", bits=32)
CONFIG = {"SYS_HEAP_RUNTIME_STATS": 1, "HEAP_MEM_POOL_SIZE": 512, "DEBUG_COREDUMP": 1}

#: Constants, where the program runs them from.
FLASH = 0x08004000
BANNER = b"*** Booting Zephyr OS build v4.4.0 ***\0"
SENSOR_API, COMMAND_API = FLASH + 0x40, FLASH + 0x48
CONSTANTS = BANNER.ljust(0x40, b"\0") + pack("<4I", 1, 2, 3, 4)

#: Variables, by address.
RAM = 0x20000000
RX_QUEUE, SESSIONS, UPLOAD, UPLINK = RAM, RAM + 0x10, RAM + 0x30, RAM + 0x40
SYSTEM_HEAP, PACKET_HEAP, HEAPS_END = RAM + 0xC0, RAM + 0xD4, RAM + 0xE8
MAIN_STACK, STACK_BYTES = RAM + 0x100, 0x100
SYSTEM_REGION, SYSTEM_BYTES = RAM + 0x200, 512
PACKET_REGION, PACKET_BYTES = RAM + 0x400, 1024
RAM_END = PACKET_REGION + PACKET_BYTES

LONG_TEXT = b"node=2 temperature=21.2 humidity=40 pressure=1013.25 battery=3.61 rssi=-71 ok"

SYMBOLS = (
    Symbol("sensor_api", SENSOR_API, 8),
    Symbol("command_api", COMMAND_API, 8),
    Symbol("rx_queue", RX_QUEUE, 16),
    Symbol("sessions", SESSIONS, 32),
    Symbol("upload", UPLOAD, 16),
    Symbol("_k_thread_obj_uplink", UPLINK, 0x80),
    Symbol("_k_heap_list_start", SYSTEM_HEAP, kind="other"),
    Symbol("_system_heap", SYSTEM_HEAP, 20),
    Symbol("packet_heap", PACKET_HEAP, 20),
    Symbol("_k_heap_list_end", HEAPS_END, kind="other"),
    Symbol("z_main_stack", MAIN_STACK, STACK_BYTES),
    Symbol("kheap__system_heap", SYSTEM_REGION, SYSTEM_BYTES),
    Symbol("kheap_packet_heap", PACKET_REGION, PACKET_BYTES),
)


class Gateway:
    """The program at work: its heaps, and its variables in ``ram``."""

    def __init__(self) -> None:
        # What is not written keeps what the RAM held at power-up.
        self.ram = bytearray(b"\xa5") * (RAM_END - RAM)
        self.ram[: SYSTEM_REGION - RAM] = bytes(SYSTEM_REGION - RAM)
        view = memoryview(self.ram)
        self.system = kheap.SystemHeap(
            view[SYSTEM_REGION - RAM :][:SYSTEM_BYTES],
            profile=PROFILE,
            base_address=SYSTEM_REGION,
            heap_address=SYSTEM_HEAP,
        )
        self.packets = kheap.SysHeap(view[PACKET_REGION - RAM :], PROFILE, PACKET_REGION)
        self.put(SYSTEM_HEAP, SYSTEM_REGION, *initial_heap(SYSTEM_HEAP))
        self.put(PACKET_HEAP, PACKET_REGION, *initial_heap(PACKET_HEAP))

    def put(self, address: int, *words: int) -> None:
        """Write words at an address."""
        at = address - RAM
        self.ram[at : at + 4 * len(words)] = pack(f"<{len(words)}I", *words)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes at an address."""
        self.ram[address - RAM : address - RAM + len(data)] = data

    def packet(self, api: int, text: bytes) -> int:
        """A packet: its kind, the packet behind it, its text; its address."""
        address = PACKET_REGION + self.packets.alloc(8 + len(text))
        self.put(address, api, 0)
        self.write(address + 8, text)
        return address

    def free(self, packet: int) -> None:
        """Free a packet."""
        self.packets.free(packet - PACKET_REGION)

    def session(self, name: bytes) -> int:
        """A session by ``k_malloc``: a name of up to 40 bytes; its address."""
        offset = self.system.malloc(40)
        self.write(SYSTEM_REGION + offset, name.ljust(40, b"\0"))
        return SYSTEM_REGION + offset

    def wait(self) -> None:
        """The thread ``uplink``, of priority 5, waits for memory of ``packet_heap``."""
        queue, pending = PACKET_HEAP + 12, 0x02
        self.put(queue, UPLINK, UPLINK)
        self.put(UPLINK, queue, queue, queue)
        self.write(UPLINK + 12, bytes((0, pending, 5)))

    def run(self) -> list[int]:
        """Work for a while; the packets that wait in ``rx_queue``, the first of it first."""
        for i in range(3):
            self.put(SESSIONS + 4 * i, self.session(b"session sensor-%d" % i))
        on_stack = self.packet(COMMAND_API, b"GET /config".ljust(72, b"\0"))
        self.put(MAIN_STACK + 0x60, on_stack)
        texts = (b"node=%d temperature=21.%d humidity=40" % (i, i) for i in range(7))
        queue = [self.packet(SENSOR_API, text.ljust(64)) for text in texts]
        self.put(UPLOAD, self.packet(COMMAND_API, b"PUT /log".ljust(40, b"\0")))
        for sent in queue[1::2]:
            self.free(sent)
        self.queue(queue[0::2])
        self.wait()
        return queue[0::2]

    def queue(self, packets: list[int]) -> None:
        """Link packets, and let ``rx_queue`` point to the first."""
        for packet, following in zip(packets, [*packets[1:], 0], strict=True):
            self.put(packet + 4, following)
        self.put(RX_QUEUE, packets[0], len(packets))


def initial_heap(address: int) -> tuple[int, ...]:
    """What K_HEAP_DEFINE writes behind the pointer: region, size, and an empty wait queue."""
    region = {
        SYSTEM_HEAP: (SYSTEM_REGION, SYSTEM_BYTES),
        PACKET_HEAP: (PACKET_REGION, PACKET_BYTES),
    }
    return (*region[address], address + 12, address + 12)


def core_dump(ram: bytes) -> bytes:
    """A Zephyr core dump (version 1, Cortex-M, 32 bit, kernel panic) of all RAM."""
    header = pack("<2sHHBBI", b"ZE", 1, 3, 5, 0, 4)
    registers = pack("<cHH", b"A", 2, 36) + bytes(36)
    return header + registers + pack("<cHII", b"M", 1, RAM, RAM_END) + ram


def watched(ram: bytes) -> Memory:
    """What ``kheap watch`` reads of it: the heaps' objects, who waits, and the regions."""
    memory = Memory()
    memory.add(UPLINK, ram[UPLINK - RAM : HEAPS_END - RAM])
    memory.add(SYSTEM_REGION, ram[SYSTEM_REGION - RAM :])
    return memory


def elf(folder: Path) -> None:
    """The program: configuration, symbols, constants, and variables as they are at the start."""
    data = bytearray(SYSTEM_REGION - RAM)
    for heap in (SYSTEM_HEAP, PACKET_HEAP):
        data[heap - RAM : heap - RAM + 20] = pack("<5I", 0, *initial_heap(heap))
    sections = (
        Section("rodata", FLASH, CONSTANTS, writable=False),
        Section("data", RAM, bytes(data)),
        Section("noinit", SYSTEM_REGION, RAM_END - SYSTEM_REGION),
    )
    make_elf(folder / "gateway.elf", symbols=SYMBOLS, sections=sections, config=CONFIG)


def main(folder: Path) -> None:
    """Write all files."""
    elf(folder)
    gateway = Gateway()
    packets = gateway.run()
    before = bytes(gateway.ram)

    # Later: the first packet was sent; three sessions were opened, and nobody remembers them.
    gateway.free(packets[0])
    gateway.queue(packets[1:])
    for i in range(3):
        gateway.session(b"session sensor-%d" % (i + 3))
    later = bytes(gateway.ram)

    # Another time: a text is longer than the packet that it is written to.
    gateway = Gateway()
    packets = gateway.run()
    gateway.write(packets[1] + 8, LONG_TEXT)

    (folder / "gateway.bin").write_bytes(core_dump(before))
    (folder / "gateway-later.bin").write_bytes(core_dump(later))
    (folder / "gateway-overflow.bin").write_bytes(core_dump(gateway.ram))
    record(folder / "gateway.recording", before, later)


def record(path: Path, *moments: bytes) -> None:
    """Write a recording of some moments, a second apart."""
    names = ((SYSTEM_HEAP, "_system_heap"), (PACKET_HEAP, "packet_heap"))
    recorder = Recorder(path, Header("gdb://localhost:1234", profile=PROFILE, names=names))
    for t, ram in enumerate(moments):
        recorder.add(float(t), watched(ram))
    recorder.close()
    # The same moments make the same file, whenever it is made.
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
