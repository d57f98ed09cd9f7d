"""What the recorder should have recorded, told from a program's commands and their answers."""

from __future__ import annotations

from collections import namedtuple

from kheap.trace import ALLOC, FREE, NO_RESULT, REALLOC

WORD = 8
Op = namedtuple("Op", "op block size align heap result function time thread")

ALLOCS = (
    "k_malloc", "k_aligned_alloc", "k_calloc", "k_heap_alloc", "k_heap_aligned_alloc",
    "k_heap_calloc", "sys_heap_alloc", "sys_heap_aligned_alloc",
)  # fmt: skip
REALLOCS = ("k_realloc", "k_heap_realloc", "sys_heap_realloc", "sys_heap_aligned_realloc")
FREES = ("k_free", "k_heap_free", "sys_heap_free")
REQUESTS = (*ALLOCS, *REALLOCS, *FREES)
LONGEST_FIRST = sorted(REQUESTS, key=len, reverse=True)


class Model:
    """The live blocks of a program, and its operations as they come to its sys_heaps.

    Attributes:
        ops: The operations.
    """

    def __init__(self):
        self.ops = []
        self._blocks = {}
        self._time = 0
        self._thread = "thread"
        self._answers = None

    def follow(self, commands, answers):
        """The operations of some commands."""
        self._answers = iter(answers)
        for command in commands:
            name, *numbers = command.split()
            if name in REQUESTS:
                self._request(name, *(int(number) for number in [*numbers, 0, 0, 0][:4]))
            elif name == "ticks":
                self._time = int(numbers[0]) * 1_000_000 // 32768
            elif name == "thread":
                self._thread = f"{self._next('thread'):#x}"
            elif name == "isr":
                self._isr = int(numbers[0])
        return self.ops

    def _next(self, wanted):
        for name, answer in self._answers:
            if name == wanted:
                return answer
        raise AssertionError(f"no answer for {wanted}")

    def _request(self, name, block, size, extra, heap):
        user = self._next(name)
        in_words = name.startswith("k_") and not name.startswith("k_heap_")
        bytes_wanted = size * extra if name.endswith("calloc") else size
        if in_words:
            bytes_wanted += WORD
            user -= WORD if user else 0
        align = extra if "aligned" in name else 0
        align |= WORD if name == "k_aligned_alloc" else 0
        heap = 0 if in_words else heap
        held = self._blocks.get(block)
        frees = name in FREES or (name == "k_realloc" and not size)
        if frees or (name in REALLOCS and not size and held):
            self._free(name, block, heap, frees)
        elif name in REALLOCS and held:
            self._add(REALLOC, name, block, bytes_wanted, align, heap, user)
            if user:
                self._blocks[block] = user
        else:
            self._add(ALLOC, name, block, bytes_wanted, align, heap, user)
            self._blocks[block] = user

    def _free(self, name, block, heap, frees):
        if self._blocks.pop(block, 0):
            op, result = (FREE, NO_RESULT) if frees else (REALLOC, 0)
            align = 0
            self._add(op, name, block, 0, align, heap, result)

    def _add(self, op, name, block, size, align, heap, result):
        function = f"do_{name}"
        self.ops.append(
            Op(op, block, size, align, heap, result, function, self._time, self._thread)
        )
