"""What of a program shares bytes with its heaps: faults of a linker script or of an address.

Not here: finding the heaps (``find.py``).
"""

from __future__ import annotations

from kheap.dump.heap_image import HeapImage
from kheap.dump.program.image import Image

__all__ = ["note_overlaps"]


def note_overlaps(heap: HeapImage, image: Image) -> None:
    """Add to a heap's notes what other parts of the program lie in its range."""
    start, end = heap.address, heap.address + heap.size_bytes
    for other in image.overlapping(start, end):
        # What it lies in is its buffer; where a heap was found by scanning, its end is rounded up.
        if other.address > start or end > other.end + 7:
            heap.notes.append(
                f"its range {start:#x} to {end:#x} overlaps {other.name}: a fault of the"
                " linker script, or of the address it was given"
            )
