"""Names for addresses of a target: its constants, its variables, its threads' stacks.

It owns how the program and the kernel's list of threads are turned into words, and remembering
them.  Not here: which addresses are worth naming (``owners.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from kheap.dump.memory import Memory
from kheap.dump.program.image import Image, Section, Symbol
from kheap.dump.waiters import Stack, Threads, stack_of_symbol

__all__ = ["UNNAMED", "Names", "quoted"]

#: What is in the program's memory, and no symbol names.
UNNAMED = "unnamed memory"

#: Smaller numbers are no pointers, though a program may lie from address 0 on.
LEAST_POINTER = 4096

_CACHED = 1 << 16
_QUOTED_BYTES = 24
_STRING_BYTES = range(4, 256)  # Shorter ones may be anything, longer ones are not looked at.


class Names:
    """Names for addresses.

    Args:
        memory: What is known of the target.
        word_bytes: Bytes of a pointer, 4 or 8.
        image: Its program; None: addresses are their own names.

    Attributes:
        constants: The sections that the program cannot write, by address.
        place: What lies at an address: ``g_ctx+0x8``, "stack of thread main", else ``0x...``.
    """

    def __init__(self, memory: Memory, word_bytes: int, image: Image | None) -> None:
        self.memory, self.word_bytes, self.image = memory, word_bytes, image
        sections = image.sections if image else ()
        self.constants = [section for section in sections if _is_constant(section)]
        self._starts = [section.address for section in self.constants]
        self._low = min((section.address for section in sections), default=0)
        self._high = max((section.end for section in sections), default=0)
        self._stacks = Threads(memory, word_bytes, image).stacks()
        self._stack_starts = [stack.start for stack in self._stacks]
        # Few constants and variables are pointed to, by many blocks.
        self._constant = lru_cache(_CACHED)(self._find_constant)
        self.place = lru_cache(_CACHED)(self._find_place)

    def constant(self, word: int) -> str | None:
        """The constant or function that a word points exactly to; a string as its text."""
        if word >= LEAST_POINTER and self._low <= word < self._high:
            return self._constant(word)
        return None

    def is_on_stack(self, address: int) -> bool:
        """Whether an address lies in a stack that is known as one."""
        if self._stack_at(address) is not None:
            return True
        symbol = self.image.symbol_at(address) if self.image else None
        return symbol is not None and stack_of_symbol(symbol) is not None

    def variable(self, address: int) -> str:
        """As :attr:`place`, but a variable as a whole."""
        place = self.place(address)
        return UNNAMED if place == f"{address:#x}" else place.partition("+0x")[0]

    def _find_place(self, address: int) -> str:
        stack = self._stack_at(address)
        if stack is not None:
            return f"stack of thread {stack.name}"
        symbol = self.image.symbol_at(address) if self.image else None
        if symbol is None:
            return f"{address:#x}"
        return stack_of_symbol(symbol) or symbol

    def _stack_at(self, address: int) -> Stack | None:
        at = bisect_right(self._stack_starts, address) - 1
        return self._stacks[at] if at >= 0 and address < self._stacks[at].end else None

    def _find_constant(self, word: int) -> str | None:
        symbol = self._symbol(word)
        if symbol is not None and symbol.kind == "func":
            return symbol.name
        at = bisect_right(self._starts, word) - 1
        if at < 0 or word >= self.constants[at].end:
            return None
        text = self._string(word, is_start=symbol is not None)
        if text is None and symbol is not None and symbol.kind == "object":
            return symbol.name
        return text

    def _symbol(self, word: int) -> Symbol | None:
        assert self.image is not None
        symbol = self.image.exact_symbol(word)
        if symbol is None and word & 1 and self.image.machine == "arm":
            symbol = self.image.exact_symbol(word - 1)  # Thumb code
            return symbol if symbol is not None and symbol.kind == "func" else None
        return symbol

    def _string(self, address: int, *, is_start: bool) -> str | None:
        """The text at an address, if it begins there: most strings have no symbol."""
        assert self.image is not None
        constants = self.image.memory
        if not is_start and constants.word(address - 1, 1) not in (0, None):
            return None
        text = constants.text(address, _STRING_BYTES.stop)
        return quoted(text) if text is not None and len(text) in _STRING_BYTES else None


def _is_constant(section: Section) -> bool:
    return not section.writable or section.name.startswith(".data.rel.ro")


def quoted(text: str) -> str:
    """A text in quotes, cut short if it is long."""
    return f'"{text}"' if len(text) <= _QUOTED_BYTES else f'"{text[: _QUOTED_BYTES - 3]}..."'
