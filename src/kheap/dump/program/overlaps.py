"""What of a program shares bytes with its heaps: faults of a linker script or of an address.

Not here: finding the heaps (``find.py``).
"""

from __future__ import annotations

from kheap.dump.heap_image import HeapImage
from kheap.dump.program.image import Image

__all__ = ["note_overlaps"]


def note_overlaps(heap: HeapImage, image: Image) -> None:
    """Add to a heap's notes what other parts of the program lie in its range."""
    end = heap.address + heap.size_bytes
    for name in image.overlapping(heap.address, end):
        if not _is_own(name, heap, image):
            heap.notes.append(
                f"its range {heap.address:#x} to {end:#x} overlaps {name}: a fault of the"
                " linker script, or of the address it was given"
            )


def _is_own(name: str, heap: HeapImage, image: Image) -> bool:
    """Whether a section or symbol is the heap's own buffer, or what that lies in."""
    end = heap.address + heap.size_bytes
    for section in image.sections:
        if section.name == name:
            return section.address <= heap.address and end <= section.address + section.size
    symbol = image.symbol(name)
    return (
        symbol is not None
        and symbol.address <= heap.address
        and (end <= symbol.address + symbol.size + 7)
    )
