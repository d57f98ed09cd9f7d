"""What running Zephyr programs asked of their heaps, and the pointers that they got.

The traces are not part of this repository: ``KHEAP_TEST_DATA`` names their folder.  A program
may have several heaps, and may initialise one again over bytes that held another.
"""

import pytest

import kheap
from golden.machine import header_of, read_lines, release_of
from helpers.build import real_files

NULL = 0


def profile_of(header):
    """The profile of a traced program, from its configuration lines."""
    options = dict(line.split("=", 1) for line in header["config"])
    return kheap.Profile(
        release=release_of(header["zephyr"]),
        bits=8 * header["pointer_bytes"],
        header=header_of(" ".join(options)),
        runtime_stats=options.get("CONFIG_SYS_HEAP_RUNTIME_STATS") == "y",
        alloc_loops=int(options["CONFIG_SYS_HEAP_ALLOC_LOOPS"]),
    )


class Program:
    """The heaps of one traced program, by the address of their sys_heap object.

    ``latest`` has the heap that was initialised last at each address: the one whose bytes
    are there.
    """

    def __init__(self, header):
        self.profile = profile_of(header)
        self.memory = memory_of(header)
        self.heaps = {}
        self.bases = {}
        self.latest = {}

    def init(self, row):
        mem = self.bases[row["heap"]] = row["mem"]
        region = memoryview(self.memory[mem])[: row["size"]]
        heap = kheap.SysHeap(region, profile=self.profile, base_address=mem)
        self.heaps[row["heap"]] = self.latest[mem] = heap

    def alloc(self, row):
        offset = self.heaps[row["heap"]].try_alloc(row["size"], align=row.get("align", 0))
        return self.pointer(row, offset)

    aligned_alloc = alloc

    def aligned_realloc(self, row):
        heap, old = self.heaps[row["heap"]], self.offset(row)
        try:
            return self.pointer(row, heap.realloc(old, row["size"], align=row["align"]))
        except kheap.OutOfMemory:
            return NULL

    def free(self, row):
        self.heaps[row["heap"]].free(self.offset(row))

    def usable_size(self, row):
        return self.heaps[row["heap"]].usable_bytes(self.offset(row))

    def offset(self, row):
        return row["ptr"] - self.bases[row["heap"]] if row["ptr"] else None

    def pointer(self, row, offset):
        return NULL if offset is None else self.bases[row["heap"]] + offset


def memory_of(header):
    """The bytes behind all heaps: one buffer an address, as long as its longest heap."""
    sizes = {}
    for heap in header["heaps"].values():
        for init in heap["inits"]:
            sizes[init["mem"]] = max(sizes.get(init["mem"], 0), init["size"])
    return {mem: bytearray(size) for mem, size in sizes.items()}


@pytest.mark.parametrize("path", real_files("real", "traces", pattern="*.sys.jsonl*"))
def test_trace(path):
    header, *rows = read_lines(path)
    program = Program(header)
    for row in rows:
        got = getattr(program, row["op"])(row)
        assert got == row.get("result"), f"{path.name}: {row}: kheap says {got}"
    for heap in program.latest.values():
        heap.check()
