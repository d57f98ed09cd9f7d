"""Whatever a file holds, reading it gives a sound trace or a TraceError."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.rings import record, ring
from kheap.errors import TraceError
from kheap.trace import FORMATS, read_trace

VALID = {
    "syslog": (
        b'{"kind":"header","zephyr":"v3.5.0","pointer_bytes":4,"config":["CONFIG_X=y"],'
        b'"heaps":{"100":{"symbol":"h"}},"threads":{"5":"main"}}\n'
        b'{"op":"init","heap":100,"mem":4096,"size":512,"thread":5}\n'
        b'{"op":"alloc","heap":100,"size":16,"result":4100,"thread":5,"tick":1,"caller":"f"}\n'
        b'{"op":"aligned_alloc","heap":100,"size":9,"align":8,"result":0,"inside":["k_malloc"]}\n'
        b'{"op":"aligned_realloc","heap":100,"ptr":4100,"size":32,"align":0,"result":4200}\n'
        b'{"op":"free","heap":100,"ptr":4200,"layer":"sys"}\n'
        b'{"op":"usable_size","heap":100,"ptr":4200,"result":16}\n'
    ),
    "heaptrack": (
        b"v 10400 3\nX ./t\nI 1000 5e29\ns 4 main\ns 3 t.c\ns 2 lib\ni 55bc 3 1 2 6\nt 1 0\n"
        b"a 64 1\n+ 0\ni 66bc 3\nt 2 1\na c 2\n+ 1\n+ 0\n- 0\nc 1f\n- 1\n+ 1\nR 3bf\n# end\n"
    ),
    "khring": ring(
        [record("iarfAFaf"[n % 8], pointer=n // 2 * 16 + 16, size=n, thread=n) for n in range(11)],
        names=[(0x20000100, b"my_heap"), (1, b"main")],
    ),
    "rep": b"20000\n3\n6\n1\na 0 512\na 1 128\nr 0 640\nf 1\nr 0 0\nf 0\n",
    "mtrace": (
        b"= Start\n@ ./t:[0x11] + 0x1010 0x64\n@ ./t:(f+1a)[0x12] < 0x1010\n"
        b"@ ./t:(f+1a)[0x12] > 0x2020 0x12c\n+ (nil) 0xffffffffffffffff\n"
        b"@ ./my t:[0x9] ! 0x2020 0x40\n@ ./t:[0x13] - 0x2020\n= End\n"
    ),
    "kh": (
        b"boot\nkh v 1 release=4.3,bits=32 *d9a3\n\x1b[1m<inf> kh n 0x20 pool *cd87\x1b[0m\n"
        b"kh i 0x20 0x100 512 0 0x2 0x8001 #0*8986\r\nkh a 0x20 0x130 8 16 1 0x2 0x8001 #1*c363\n"
        b"kh x 0x20 999 0 2 0x2 0x8001 #2*15c0kh r 0x20 0x130 0x150 24 0 3 0x2 0x8001 #3*8889 x\n"
        b"kh A 0x20 0x150 16 0 4 0x1 0x0 #4*2673\nkh F 0x20 0x150 4 0x1 0x0 #5*c2be\n"
        b"kh f 0x20 0x150 5 0x2 0x8001 #9*aace\n"
    ),
    "valgrind": (
        b"==7== Memcheck\n--7-- malloc(100) = 0x4A40\n--7-- calloc(3,50) = 0x4A41\nhello\n"
        b"--00:00:00:01.500 7-- realloc(0x4A40,300) = 0x4A42\n--8-- realloc(0x0,5)malloc(5) = 0x1\n"
        b"--7-- memalign(al 64, size 9) = 0x0\n--7-- malloc(5)fishy\n--7--  = 0x0\n"
        b"--7-- realloc(0x4A42,0)free(0x4A42)\n--7--  = 0\n--7-- free(0x0)\n"
    ),
    "ltrace": (
        b"t->malloc(100)   = 0x10\n7 12:00:01.5 [0x5a] realloc(0x10, 8 <unfinished ...>\n"
        b'7 <... realloc resumed> ) = 0x20\n[pid 8] 1.5 calloc(3, 9, 1) = 0\nputs("a") = 2\n'
        b"posix_memalign(0x7f, 64, 100, 5) = 0\nmemalign(32, 7, 1) = 0x40\nfree(0x20) = <void>\n"
    ),
    "csv": (
        b"op,id,size,align,heap,time,thread,caller\nalloc,1,5,8,pool,0.5,main,f\n"
        b'realloc,1,9,,pool,1e-3,"a, ""b""", g \nfree,1,,,pool,2,,\nalloc,7,5,,,,,\n'
    ),
    "jsonl": (
        b'{"op":"alloc","id":1,"size":5,"align":8,"heap":"pool","time":0.5,"thread":3}\n'
        b'{"op":"realloc","id":1,"size":9,"heap":"pool","caller":"f\\u00e9"}\n'
        b'{"op":"free","id":1,"size":null,"heap":"pool"}\n{"op":"alloc","id":2,"size":1}\n'
    ),
}
TOKENS = st.sampled_from(
    [
        b"\n", b"\r\n", b"\0", b"\xff", b'"', b"'", b",", b" ", b"{", b"}", b"[", b"-", b"-1",
        b"0", b"9" * 19, b"9" * 30, b"18446744073709551615", b"9223372036854775807", b"1.5",
        b"1e400", b"NaN", b"null", b"true", b"0x", b"0x0", b"0xffffffffffffffff", b"(nil)",
        b" = ", b"a 0 1", b"f 0", b"r 0 0", b"--7-- ", b"malloc(1)", b"free(0x1)", b"< ", b"> ",
        b"= ", b"@ ", b"\x1f\x8b", b"alloc", b"free", b"realloc", b"init", b"\\ud800", b"id",
        b"op", b"heap", b"kind", b"header", b"kh a 0x1 0x2 3 4 5", b"kh f ",
        b"+ 0", b"- 1", b"+ 8 1 20", b"a 8 1", b"t 1 0", b"i 5 1", b"s 9 x", b"v 10400 ",
        b"malloc(1) = 0x10", b" <unfinished ...>", b"resumed> ) = 0", b"#1*0000", b"KHRING\x01\x04",
    ]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 12), TOKENS | st.binary(max_size=6)),
    min_size=1,
    max_size=5,
)
SEEDED = settings(max_examples=30, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="session")
def try_reading(tmp_path_factory, check_trace):
    """Read bytes as a format, or as whatever they look like; look at the trace."""
    path = tmp_path_factory.mktemp("fuzz") / "t"

    def read(data, format, lenient):
        path.write_bytes(data)
        try:
            trace = read_trace(path, format, lenient=lenient)
        except TraceError as error:
            message = str(error)
            assert message.isprintable(), message
            assert message.startswith(str(path))
            assert len(message) < len(str(path)) + 300
        else:
            check_trace(trace)
            assert lenient or trace.skipped == 0

    return read


def mutated(data, edits):
    """The data with stretches of it replaced."""
    for place, length, new in edits:
        start = place % (len(data) + 1)
        data = data[:start] + new + data[start + length :]
    return data


@pytest.mark.parametrize("format", VALID)
def test_the_samples_are_valid(try_reading, format, tmp_path):
    path = tmp_path / "t"
    path.write_bytes(VALID[format])
    assert read_trace(path).format == format


@pytest.mark.parametrize("format", VALID)
@given(edits=EDITS, lenient=st.booleans(), told=st.booleans())
@SEEDED
def test_mutated_files(try_reading, format, edits, lenient, told):
    try_reading(mutated(VALID[format], edits), format if told else None, lenient)


@pytest.mark.parametrize("format", [None, *FORMATS])
@given(data=st.binary(max_size=200), lenient=st.booleans())
@SEEDED
def test_random_bytes(try_reading, format, data, lenient):
    try_reading(data, format, lenient)


@pytest.mark.parametrize("format", VALID)
@given(tokens=st.lists(TOKENS, max_size=30), lenient=st.booleans())
@SEEDED
def test_random_tokens(try_reading, format, tokens, lenient):
    try_reading(VALID[format][:60] + b" ".join(tokens), format, lenient)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["op", "id", "size", "align", "heap", "time", "thread", "caller", "ptr", "result", "mem",
     "kind", "layer", "inside", "heap_sym", "tick", "zephyr", "config", "heaps", "threads",
     "pointer_bytes"]
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("format", ["syslog", "jsonl"])
@given(
    changes=st.lists(st.tuples(st.integers(0, 3), KEYS, VALUES), min_size=1, max_size=4),
    lenient=st.booleans(),
)
@SEEDED
def test_json_of_other_types(try_reading, format, changes, lenient):
    rows = [json.loads(line) for line in VALID[format].splitlines()]
    for place, key, value in changes:
        rows[place][key] = value
    text = "".join(json.dumps(row) + "\n" for row in rows)
    try_reading(text.encode(), format, lenient)
