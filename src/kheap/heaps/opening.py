"""Opening a heap that a region already holds: finding its geometry, and its profile.

Not here: judging the chunks (``kheap._core.check``); a heap whose control block holds is
opened even if it is corrupt further on, so that it can be inspected.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kheap._core.chunk import Geometry, geometry_of
from kheap.errors import HeapCorruption
from kheap.profile import Profile

__all__ = ["found_geometry", "profiles_that_fit"]


def found_geometry(head: bytes, size_bytes: int, start: int, profile: Profile) -> Geometry:
    """The geometry of the heap whose control block begins with ``head``.

    Args:
        head: The 16 bytes from the heap start on, or fewer at the region's end.
        size_bytes: Bytes of the region.
        start: Byte of the heap start.
        profile: Which Zephyr.

    Raises:
        HeapCorruption: I6, no heap of that profile begins so.
    """
    layout = profile.layout()
    if len(head) == 16:
        end_chunk = int.from_bytes(head[8:12], sys.byteorder)
        geometry = geometry_of(layout, start, end_chunk)
        if geometry is not None:
            width = geometry.header_bytes // 2
            left = int.from_bytes(head[:width], sys.byteorder)
            field = int.from_bytes(head[width : 2 * width], sys.byteorder)
            fits = start + 8 * end_chunk + geometry.header_bytes <= size_bytes
            if fits and left == 0 and field == 2 * geometry.chunk0_units + 1:
                return geometry
    raise HeapCorruption(
        f"no heap of this profile: the control block at byte {start} of {size_bytes} does not"
        f" fit {profile}",
        chunk=0,
        invariant="I6",
    )


def profiles_that_fit(head: bytes, size_bytes: int, start: int) -> Iterator[Profile]:
    """Profiles whose control block ``head`` could be, the more telling ones first.

    Statistics and canaries can be verified, so layouts with them come first; those of 4.2 and
    4.3 count headers in, and are told from the others by that. Big headers
    without statistics look alike for 32 and 64 bits; 64 is tried first.
    """
    for hardening in ("full", "basic"):
        for release, stats in (("4.4", True), ("4.3", True), ("4.4", False)):
            if hardening == "full" and release != "4.4":
                continue
            for bits, header in ((64, "auto"), (32, "big"), (32, "small")):
                profile = Profile(release, bits, header, stats, hardening=hardening)
                try:
                    found_geometry(head, size_bytes, start, profile)
                except HeapCorruption:
                    continue
                yield profile
