"""A small target: RAM with heaps that a program uses step by step, and its ELF file."""

from __future__ import annotations

from random import Random
from struct import pack_into

from helpers.elf_maker import Section, Symbol, make_elf
from kheap import Profile, SysHeap
from kheap.dump.memory import Memory

RAM = 0x20000000
PROFILE = Profile(release="4.4", bits=32, header="small")
BANNER = b"*** Booting Zephyr OS build v4.4.0 ***"
THREADS = RAM + 0x400


class SmallTarget:
    """The target.

    Args:
        profile: Which Zephyr, of 32 bits, with small headers.
        sizes: Bytes of each heap, by name.

    Attributes:
        ram: Its bytes, from :data:`RAM` on.
        memory: Them, for a server.
        heaps: A ``SysHeap`` in them for each name.
        object_address: The address of each one's ``struct k_heap``.
        steps: How often the program ran.
    """

    def __init__(self, profile: Profile = PROFILE, **sizes: int) -> None:
        self.profile = profile
        self.ram = bytearray(0x8000)
        self.memory = Memory()
        self.memory.add(RAM, self.ram)
        self.heaps: dict[str, SysHeap] = {}
        self.object_address: dict[str, int] = {}
        self.steps = 0
        self._live: dict[str, list[int]] = {name: [] for name in sizes}
        self._random = Random(1)
        region = RAM + 0x1000
        for i, (name, size) in enumerate(sizes.items()):
            address = self.object_address[name] = RAM + 0x100 + 20 * i
            start = region - RAM
            self.heaps[name] = SysHeap(
                memoryview(self.ram)[start : start + size], profile, base_address=region
            )
            queue = address + 12
            pack_into("<5I", self.ram, address - RAM, region, region, size, queue, queue)
            region += size

    def step(self) -> None:
        """Let the program run: in each heap it frees, or allocates and writes, four times."""
        self.steps += 1
        for name, heap in self.heaps.items():
            live = self._live[name]
            for _ in range(4):
                if live and self._random.random() < 0.4:
                    heap.free(live.pop(self._random.randrange(len(live))))
                elif (block := heap.try_alloc(self._random.choice((8, 24, 40, 100)))) is not None:
                    live.append(block)
                    heap.view(block)[:1] = bytes((self.steps % 256,))

    def overflow(self, name: str) -> None:
        """Write past the end of the heap's first block."""
        heap, block = self.heaps[name], min(self._live[name])
        end = block + heap.usable_bytes(block)
        heap.region[end - 4 : end + 12] = b"x" * 16

    def repair(self, name: str, was: bytes) -> None:
        """Put a heap's region back as it was."""
        self.heaps[name].region[:] = was

    def wait(self, name: str, *priorities: int) -> None:
        """Let threads wait for a heap, in this order."""
        queue = self.object_address[name] + 12
        ring = [queue, *(THREADS + 0x80 * i for i in range(len(priorities))), queue]
        for before, thread, after, priority in zip(
            ring, ring[1:], ring[2:], priorities, strict=False
        ):
            pack_into("<3IBBb", self.ram, thread - RAM, after, before, queue, 0, 2, priority)
        pack_into("<2I", self.ram, queue - RAM, ring[1], ring[-2])

    def elf(self, path) -> str:
        """Write its program; the path."""
        symbols = []
        for name, address in self.object_address.items():
            heap = self.heaps[name]
            symbols.append(Symbol(name, address, 20))
            symbols.append(Symbol(f"kheap_{name}", heap.base_address, heap.size_bytes))
        end = RAM + 0x100 + 20 * len(self.heaps)
        symbols.append(Symbol("_k_heap_list_start", RAM + 0x100, kind="other"))
        symbols.append(Symbol("_k_heap_list_end", end, kind="other"))
        sections = (Section(".bss", RAM, len(self.ram)), Section("rodata", 0, BANNER, False))
        config = {"SYS_HEAP_SMALL_ONLY": 1}
        if self.profile.runtime_stats:
            config["SYS_HEAP_RUNTIME_STATS"] = 1
        return str(make_elf(path, symbols=symbols, sections=sections, config=config))
