"""Call logs of sys_heap."""

import json

import pytest

from kheap.profile import Profile
from kheap.trace import HeapInit

POOL, OTHER, UNNAMED = 0x20000000, 0x20000100, 0x20000200
MAIN, IDLE = 0x20001000, 0x20001100

HEADER = {
    "kind": "header",
    "zephyr": "v3.5.0",
    "pointer_bytes": 4,
    "config": ["CONFIG_SYS_HEAP_ALLOC_LOOPS=5", "CONFIG_SYS_HEAP_SMALL_ONLY=y"],
    "heaps": {
        str(POOL): {"symbol": "pool"},
        str(OTHER): {"symbol": "pool"},
        str(UNNAMED): {"symbol": None},
    },
    "threads": {str(MAIN): "main", str(IDLE): None},
    "ops": {"alloc": 1000000},
}


def log(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def init(heap=POOL, mem=0x1000, size=256):
    return {"op": "init", "heap": heap, "mem": mem, "size": size, "thread": MAIN}


def alloc(result, size=8, heap=POOL, **more):
    return {"op": "alloc", "heap": heap, "size": size, "result": result, **more}


def free(ptr, heap=POOL, **more):
    return {"op": "free", "heap": heap, "ptr": ptr, **more}


def realloc(ptr, result, size=8, heap=POOL, **more):
    row = {"op": "aligned_realloc", "heap": heap, "ptr": ptr, "size": size, "result": result}
    return row | {"align": 0} | more


def test_operations(read, table, check_trace):
    trace = read(
        log(
            HEADER,
            init(),
            alloc(0x1010, 13, thread=MAIN, caller="testalloc"),
            {"op": "usable_size", "heap": POOL, "ptr": 0x1010, "result": 20},
            alloc(0x1020, 5, op="aligned_alloc", align=20, thread=IDLE),
            realloc(0x1010, 0x1040, 30, align=8, caller="grow"),
            realloc(0, 0x1080, 9, caller="grow"),
            realloc(0x1080, 0x1080, 10, op="realloc"),
            free(0x1020),
            free(0),
        )
    )
    check_trace(trace)
    assert trace.format == "syslog"
    assert table(trace, "id size align thread caller result") == [
        ("alloc", 0, 13, 0, 0, 0, 0x1010),
        ("alloc", 1, 5, 20, 1, -1, 0x1020),
        ("realloc", 0, 30, 8, -1, 1, 0x1040),
        ("alloc", 2, 9, 0, -1, 1, 0x1080),
        ("realloc", 2, 10, 0, -1, -1, 0x1080),
        ("free", 1, 0, 0, -1, -1, -1),
    ]
    assert trace.threads == ["main", hex(IDLE)]
    assert trace.callers == ["testalloc", "grow"]
    assert trace.inits == [HeapInit(0, 0, 0x1000, 256)]
    assert trace.notes == {"usable_size": 1, "free of NULL": 1}


def test_failures(read, table, check_trace):
    trace = read(
        log(
            HEADER, init(), alloc(0, 500), alloc(0x1010), realloc(0x1010, 0, 600),
            alloc(0, 2**64 - 1), realloc(0x1010, 0, 0), alloc(0x1010, 7), free(0x1010),
        )
    )  # fmt: skip
    check_trace(trace)
    assert table(trace, "id size result") == [
        ("alloc", 0, 500, 0),
        ("alloc", 0, 8, 0x1010),
        ("realloc", 0, 600, 0),
        ("alloc", 1, 2**63 - 1, 0),
        ("realloc", 0, 0, 0),
        ("alloc", 0, 7, 0x1010),
        ("free", 0, 0, -1),
    ]


def test_blocks_from_before_the_trace(read, table, check_trace):
    trace = read(log(HEADER, free(0x1010), realloc(0x1020, 0x1030), realloc(0x1040, 0, 0)))
    check_trace(trace)
    assert table(trace, "id result") == [("alloc", 0, 0x1030)]
    assert trace.notes == {
        "free of a block from before the trace": 2,
        "realloc of a block from before the trace": 1,
    }


def test_heaps_have_their_own_addresses_and_names(read, table, check_trace):
    trace = read(
        log(
            HEADER, init(POOL), init(OTHER, 0x2000), alloc(0x1010), alloc(0x1010, heap=OTHER),
            alloc(0x1010, heap=UNNAMED), free(0x1010, OTHER), free(0x1010), free(0x1010, UNNAMED),
        )
    )  # fmt: skip
    check_trace(trace)
    assert [heap.name for heap in trace.heaps] == ["pool", f"pool@{OTHER:#x}", hex(UNNAMED)]
    assert table(trace, "id heap") == [
        ("alloc", 0, 0), ("alloc", 1, 1), ("alloc", 2, 2),
        ("free", 1, 1), ("free", 0, 0), ("free", 2, 2),
    ]  # fmt: skip


def test_a_heap_that_is_initialised_again(read, table, check_trace):
    trace = read(
        log(
            HEADER, init(), init(OTHER), alloc(0x1010), alloc(0x1020), alloc(0x1010, heap=OTHER),
            init(size=512), alloc(0x1010), alloc(0x1030), free(0x1020), alloc(0x1040),
        )
    )  # fmt: skip
    check_trace(trace)
    assert [row[1] for row in table(trace, "id")] == [0, 1, 2, 1, 0, 3]
    assert [(init.op_index, init.heap, init.size_bytes) for init in trace.inits] == [
        (0, 0, 256), (0, 1, 256), (3, 0, 512),
    ]  # fmt: skip
    assert trace.notes == {"free of a block from before the trace": 1}


def test_profile(read):
    rows = (init(), alloc(0x1010))
    assert read(log(HEADER, *rows)).profile == Profile(
        release="3.5", bits=32, header="small", runtime_stats=False, alloc_loops=5
    )
    wide = HEADER | {"pointer_bytes": 8, "zephyr": "4.4.0-rc1"}
    assert read(log(wide, *rows)).profile == Profile(
        release="4.4", bits=64, header="auto", runtime_stats=False, alloc_loops=5
    )
    config = ["CONFIG_64BIT=y", "CONFIG_SYS_HEAP_RUNTIME_STATS=y"]
    narrow = {"kind": "header", "pointer_bytes": 4, "config": config}
    assert read(log(narrow, *rows)).profile == Profile(release="4.4", bits=32)
    assert read(log({"kind": "header"}, *rows)).profile is None
    assert read(log(*rows)).profile is None


def test_time_needs_a_rate_of_ticks(read, table):
    rows = (init(), alloc(0x1010, tick=150, t=7), free(0x1010, t=8))
    assert table(read(log(HEADER, *rows)), "time") == [("alloc", 0.0), ("free", 0.0)]
    config = {"config": ["CONFIG_SYS_CLOCK_TICKS_PER_SEC=100"]}
    assert table(read(log(HEADER | config, *rows)), "time") == [("alloc", 1.5), ("free", 0.0)]


def test_layers(read, table, check_trace):
    inside = ["k_malloc", "k_heap_aligned_alloc"]
    trace = read(
        log(
            init() | {"layer": "sys", "heap_sym": "lvgl_heap"},
            alloc(0x1010, layer="sys", inside=[*inside, "sys_heap_aligned_alloc"]),
            alloc(0x1010, 9, op="aligned_alloc", align=4, layer="sys", inside=inside),
            {"op": "k_heap_aligned_alloc", "layer": "k", "heap": POOL, "size": 9, "timeout": 0},
            {"op": "free", "layer": "libc", "ptr": 0x1010},
            free(0x1010, layer="sys", inside=["k_free"]),
        )
    )
    check_trace(trace)
    assert table(trace, "id size align") == [("alloc", 0, 9, 4), ("free", 0, 0, 0)]
    assert [heap.name for heap in trace.heaps] == ["lvgl_heap"]
    assert trace.notes == {
        "call from inside another sys_heap call": 1,
        "row of another layer": 2,
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"op": "alloc"}, "expected a whole number from 0 to {u64} as 'heap', found nothing"),
        (alloc(-1), "expected a whole number from 0 to {i64} as 'result', found -1"),
        (alloc(2**63), "expected a whole number from 0 to {i64} as 'result', found {2**63}"),
        (alloc(1, 1.5), "expected a whole number from 0 to {u64} as 'size', found 1.5"),
        (alloc(1, True), "expected a whole number from 0 to {u64} as 'size', found True"),
        (alloc(1, "8"), "expected a whole number from 0 to {u64} as 'size', found '8'"),
        (alloc(1, 2**64), "expected a whole number from 0 to {u64} as 'size', found {2**64}"),
        (alloc(1, 2**63), "expected sizes below 2**63, found {2**63}"),
        (alloc(1, align=-4), "expected a whole number from 0 to {i64} as 'align', found -4"),
        (alloc(1, thread="x"), "expected a whole number from 0 to {u64} as 'thread', found 'x'"),
        (alloc(1, op="grow"), "expected a call of sys_heap as 'op', found 'grow'"),
        (alloc(1, op=["alloc"]), "expected a call of sys_heap as 'op', found ['alloc']"),
        ({"size": 1}, "expected a call of sys_heap as 'op', found nothing"),
        (free(None), "expected a whole number from 0 to {i64} as 'ptr', found nothing"),
        (init(mem=-1), "expected a whole number from 0 to {i64} as 'mem', found -1"),
        (alloc(1, inside="x"), "expected a list as 'inside', found 'x'"),
        (alloc(1, caller="a\0"), "expected a name without NUL characters, found 'a\\x00'"),
        (alloc(1, caller="a\ud800"), "expected a name in UTF-8, found 'a\\ud800'"),
        ({"kind": "header", "heaps": []}, "header: expected an object as 'heaps', found []"),
        ({"kind": "header", "config": {}}, "header: expected a list as 'config', found {{}}"),
        (
            {"kind": "header", "config": [1]},
            "header: expected lines of text as 'config', found [1]",
        ),
        ({"kind": "header", "zephyr": 4}, "header: expected a version as 'zephyr', found 4"),
        ({"kind": "header", "zephyr": "v"}, "header: expected a version as 'zephyr', found 'v'"),
        (
            {"kind": "header", "pointer_bytes": 2},
            "header: expected 4 or 8 as 'pointer_bytes', found 2",
        ),
        (
            {"kind": "header", "config": ["CONFIG_SYS_HEAP_ALLOC_LOOPS=0"]},
            "header: alloc_loops must be a number from 1 on, not 0",
        ),
    ],
)
def test_malformed_rows(refusal, row, reason):
    for text, value in (("{i64}", 2**63 - 1), ("{u64}", 2**64 - 1)):
        reason = reason.replace(text, f"{value:,}")
    reason = reason.replace("{2**63}", str(2**63)).replace("{2**64}", str(2**64))
    reason = reason.replace("{{}}", "{}")
    assert refusal(log(HEADER, init(), row), format="syslog") == f"t:3: {reason}"


@pytest.mark.parametrize(
    "line", ["[1]", "7", "{", '{"op": NaN}', "x" * 9, "\x00", '{"a":1} {}', '"a"']
)
def test_malformed_json(refusal, line):
    expected = "expected a JSON object with 'op' and 'heap', or a header, found "
    found = line.replace("\0", r"\x00")
    assert refusal(log(HEADER) + line + "\n" + log(init())) == f"t:2: {expected}'{found}'"


def test_deep_json(refusal):
    message = refusal(log(HEADER) + '{"a":' + "[" * 100_000 + "\n")
    assert message.startswith("t:2: expected a JSON object with 'op' and 'heap', or a header")
    assert len(message) < 200


def test_lenient_reading_counts_what_it_leaves_out(read, table):
    good = log(HEADER, init(), alloc(0x1010))
    trace = read(
        good + "{\n" + log(alloc(-1), init(mem=-1)) + "\n" + log(free(0x1010)), lenient=True
    )
    assert [row[0] for row in table(trace, "id")] == ["alloc", "free"]
    assert trace.skipped == 3
