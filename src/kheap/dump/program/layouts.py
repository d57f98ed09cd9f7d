"""What the debug information of a program says of its heaps' layout, against the profile.

It owns the comparison: ``struct z_heap`` tells whether statistics are kept, and where the table
of buckets begins; a release that keeps more than kheap knows of is said to, and not guessed at.
Not here: reading debug information (``image.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.dump.program.image import Image

__all__ = ["checked_profile"]


def checked_profile(image: Image, notes: list[str]) -> Profile | None:
    """The program's profile, with what its debug information corrects.

    Args:
        image: The program.
        notes: Where to say what kheap cannot read of its heaps.
    """
    profile, table_byte = image.profile, image.offset_of("z_heap", "buckets")
    if table_byte is None:
        return profile
    keeps_stats = image.offset_of("z_heap", "free_bytes") is not None
    if profile is None:
        profile = Profile(bits=image.bits, runtime_stats=keeps_stats)
    elif profile.runtime_stats != keeps_stats and profile.version >= (3, 0):
        profile = replace(profile, runtime_stats=keeps_stats)
    known = profile.layout().table_byte
    if table_byte != known:
        notes.append(
            f"this program's struct z_heap has its buckets at byte {table_byte}, where"
            f" {profile} has them at {known}: its heaps keep more than is known here"
        )
    if image.size_of("z_heap_chunk_trailer") and profile.hardening not in ("full", "extreme"):
        notes.append(
            "this program's chunks end with a struct z_heap_chunk_trailer, which is not read"
        )
    return profile
