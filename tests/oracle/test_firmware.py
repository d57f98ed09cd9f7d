"""The emulated firmware is what it should be; kheap plays no part here."""

import zlib

import pytest

pytest.importorskip("unicorn", reason="unicorn is not installed (extra: oracle)")

from golden.machine import expected, read_lines, region_matches
from helpers.build import real_files
from oracle.firmware import FACTS, Panic, hex_records

pytestmark = pytest.mark.oracle

RECORDINGS = real_files("real", "golden", "arm", pattern="v440_cm4_hci*.jsonl*")


@pytest.mark.parametrize("name", sorted(FACTS["first_4_bytes"]))
def test_entry_point(firmware, name):
    first = firmware.flash(firmware.functions[name], 4).hex()
    assert first == FACTS["first_4_bytes"][name], f"{name} does not begin there"


def test_intel_hex():
    lines = b":020000040001F9\n:04001000DEADBEEFB4\n:020000021000EC\n:0100000007F8\n:00000001FF\n"
    assert list(hex_records(lines)) == [(0x10010, b"\xde\xad\xbe\xef"), (0x10000, b"\x07")]


@pytest.mark.parametrize("path", RECORDINGS)
def test_recorded_answers(firmware, path):
    """The emulator gives what was recorded of this firmware before."""
    header, *rows, final = read_lines(path)
    firmware.init(header["size"], header["initial_byte"], header["mem_addr"] % 8)
    for row in rows:
        got = run(firmware, row)
        assert got == expected(row), f"{row}: the firmware says {got}"
        assert zlib.crc32(firmware.region()) == row["crc32"], f"{row}: the regions differ"
    assert region_matches(firmware.region(), final)


def run(firmware, row):
    if row["op"] == "init":
        return None
    if row["op"] == "free":
        return firmware.free(row["ptr"])
    args = [row[key] for key in ("align", "size") if key in row]
    return getattr(firmware, row["op"])(*args)


def test_a_panic_is_seen(firmware):
    firmware.init(1024, 0)
    offset = firmware.alloc(40)
    firmware.free(offset)
    with pytest.raises(Panic, match="sys_heap_free"):
        firmware.free(offset)
