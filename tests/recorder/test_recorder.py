"""The recorder for firmware, run on this host: what a program does is what a trace has."""

from __future__ import annotations

import random
import re

import pytest

import kheap
from kheap.errors import TraceError
from kheap.trace import ALLOC, FREE, REALLOC, read_trace
from recorder.model import ALLOCS, Model

pytestmark = pytest.mark.slow

MISSING = "record missing (overwritten in the ring, or lost on the way)"
BIG = "-DCONFIG_KHEAP_RECORDER_RECORDS=8192"
LISTENER = "-DCONFIG_SYS_HEAP_LISTENER"
IMMEDIATE = "-DCONFIG_KHEAP_RECORDER_IMMEDIATE"
START = ["heap 0 65536", "heap 1 65536", "heap 2 4096", "thread 3"]
NAMES = ["name 0 system", "name 1 one", "name 2 two"]
SCRIPT = [
    "k_malloc 1 100", "k_aligned_alloc 2 64 32", "k_calloc 3 8 3", "k_realloc 1 300", "ticks 40",
    "k_realloc 1 50", "k_free 2", "k_heap_alloc 4 20 0 1", "k_heap_aligned_alloc 5 20 256 1",
    "k_heap_calloc 6 5 5 1", "thread 4", "k_heap_realloc 4 9000 0 1", "k_heap_free 5 0 0 1",
    "sys_heap_alloc 7 9 0 2", "sys_heap_aligned_alloc 8 9 128 2", "sys_heap_realloc 7 99 0 2",
    "sys_heap_aligned_realloc 8 10 64 2", "sys_heap_free 7 0 0 2", "k_malloc 9 70000",
    "k_realloc 1 70000", "k_calloc 10 70000 2", "sys_heap_alloc 11 0 0 2", "ticks 100000",
    "k_heap_alloc 12 9999999 0 1", "k_malloc 13 0", "k_free 13", "k_free 99", "k_free 1",
    "sys_heap_realloc 8 0 0 2", "k_realloc 3 0", "k_realloc 14 33", "sys_heap_realloc 15 5 0 2",
]  # fmt: skip


def compare(trace, run, commands, function_of):
    """Each operation of the trace is the one that the program did, in order."""
    wanted = Model().follow(commands, run.answers)
    ids = {}
    assert len(trace) == len(wanted)
    for i, op in enumerate(wanted):
        function = function_of(run, trace.callers[trace.caller[i]])
        thread = trace.threads[trace.thread[i]]
        # The heaps are numbered in the order in which they are initialised.
        found = (trace.op[i], trace.size[i], trace.align[i], trace.heap[i], trace.result[i])
        assert (*found, function, thread) == (*op[:1], *op[2:7], op.thread), f"operation {i}"
        assert trace.time[i] == op.time / 1e6
        if op.op == ALLOC:
            ids[op.block] = trace.id[i]
        assert trace.id[i] == ids[op.block]


def test_each_function(run, log_of, function_of):
    done = run([*START, *NAMES, *SCRIPT, "print"])
    trace = log_of(done)
    assert (trace.format, trace.skipped, trace.notes) == ("kh", 0, {})
    compare(trace, done, [*START, *SCRIPT], function_of)
    assert [heap.name for heap in trace.heaps] == ["system", "one", "two"]
    regions = [address for name, address in done.answers if name == "region"]
    assert [init.base_address for init in trace.inits] == regions
    assert [init.size_bytes for init in trace.inits] == [65536, 65536, 4096]
    assert trace.profile == kheap.Profile(release="4.3", bits=64, runtime_stats=False)
    assert [trace.result[i] for i in range(len(trace)) if trace.op[i] != FREE].count(0) == 6
    assert dict(done.answers)["print"] == len(trace) + len(trace.inits)


def random_requests(seed, count):
    """Requests of all kinds on three heaps, some of them refused; each on the heap it is of."""
    draw = random.Random(seed)
    live = {}
    for number in range(count):
        if number % 7 == 0:
            yield f"ticks {number * 1000}"
        if number % 50 == 0:
            yield f"thread {number // 50 % 5}"
        if live and draw.random() < 0.45:
            block = draw.choice(sorted(live))
            kind, heap = live[block]
            if draw.random() < 0.5:
                yield f"{kind}_free {block} 0 0 {heap}"
                del live[block]
            else:
                yield f"{kind}_realloc {block} {draw.randrange(1, 300)} 0 {heap}"
        else:
            name = draw.choice(ALLOCS)
            block = draw.randrange(1000)
            if block in live:
                continue
            heap = 0 if re.match("k_(?!heap)", name) else draw.randrange(3)
            align = draw.choice([1, 2, 3]) if "calloc" in name else 1 << draw.randrange(8)
            yield f"{name} {block} {draw.choice([0, 1, 9, 40, 200, 1 << 30])} {align} {heap}"
            # A request that was refused leaves a block that is not there: freeing it is NULL.
            live[block] = (re.match("k(?=_(?!heap))|k_heap|sys_heap", name)[0], heap)


@pytest.mark.parametrize("seed", range(4))
def test_random_requests(run, log_of, function_of, seed):
    commands = [*START, *random_requests(seed, 3000)]
    noisy = []
    for number, command in enumerate(commands):
        noisy.append(command)
        if number % 97 == 0:
            noisy += ["print", "line uart: kheap is fine, kh is no line", "text [00:00] <inf> "]
    done = run([*noisy, "save ring", "print"], BIG)
    trace = log_of(done)
    assert trace.skipped == 0
    assert len(trace) > 2000
    compare(trace, done, commands, function_of)
    ring = log_of(done, "ring")
    assert (ring.format, ring.notes) == ("khring", {})
    for column in ("op", "id", "size", "align", "heap", "time", "thread", "caller", "result"):
        assert getattr(ring, column) == getattr(trace, column), column
    assert (ring.heaps, ring.threads, ring.callers) == (trace.heaps, trace.threads, trace.callers)
    assert (ring.inits, ring.profile) == (trace.inits, trace.profile)


def test_a_heap_as_zephyrs_is_replayed_to_the_byte(run, log_of):
    """The stub answers what Zephyr's heap would; a replay of the recording agrees with it."""
    heap = kheap.SysHeap(
        16384,
        profile=kheap.Profile(release="4.3", bits=64, runtime_stats=False),
        base_address=0x10000,
    )
    draw = random.Random(5)
    commands, live, failed = ["heap 1 16384", "name 1 heap"], {}, 0
    for block in range(1000):
        if live and draw.random() < 0.4:
            old = draw.choice(sorted(live))
            heap.free(live.pop(old))
            commands.append(f"sys_heap_free {old} 0 0 1")
            continue
        size, align = draw.randrange(1, 900), draw.choice([0, 0, 16, 64])
        offset = heap.try_alloc(size, align=align)
        commands += [f"answer {-2 if offset is None else offset}"]
        name = "sys_heap_aligned_alloc" if align else "sys_heap_alloc"
        commands += [f"{name} {block} {size} {align} 1"]
        if offset is None:
            failed += 1
        else:
            live[block] = offset
    trace = log_of(run([*commands, "print"], BIG))
    replay = kheap.replay(trace)
    assert failed > 50
    assert replay.failed == failed
    assert replay.first_difference() is None
    assert replay.heaps[0].final.used_count == len(live)


def test_the_oldest_are_overwritten(run, log_of):
    requests = [f"sys_heap_alloc {block} {block + 1} 0 1" for block in range(100)]
    small = "-DCONFIG_KHEAP_RECORDER_RECORDS=64"
    done = run(["heap 1 65536", *requests, "save ring", "print"], small)
    for name in ("log", "ring"):
        trace = log_of(done, name)
        assert list(trace.size) == list(range(37, 101))
        assert trace.inits == []
        assert trace.notes == {MISSING: 37}
    assert (done.folder / "ring").stat().st_size == 128 + 8 * 32 + 64 * 72


def test_printing_in_time_loses_nothing(run, log_of):
    commands = ["heap 1 65536"]
    for block in range(300):
        commands += [f"sys_heap_alloc {block} {block + 1} 0 1", *["print"] * (block % 60 == 0)]
    trace = log_of(run([*commands, "print"], "-DCONFIG_KHEAP_RECORDER_RECORDS=64"))
    assert (len(trace), trace.notes) == (300, {})


def test_frees_of_what_was_overwritten(run, log_of):
    requests = [f"sys_heap_alloc {block} 9 0 1" for block in range(64)]
    frees = [f"sys_heap_free {block} 0 0 1" for block in range(10)]
    trace = log_of(run(["heap 1 65536", *requests, *frees, "print"],
                       "-DCONFIG_KHEAP_RECORDER_RECORDS=64"))  # fmt: skip
    assert trace.notes["free of a block from before the trace"] == 10
    assert len(trace) == 54


# ---------------------------------------------------------------------- calls within calls


def test_an_interrupt_within_a_call(run, log_of, function_of):
    done = run([*START, "interrupt", "k_malloc 1 100", "k_malloc 2 50", "print"])
    trace = log_of(done)
    assert list(trace.size) == [24, 108, 58]
    assert trace.threads[trace.thread[0]] == "interrupt"
    found = [function_of(done, trace.callers[i]) for i in trace.caller]
    assert found == ["handle_interrupt", "do_k_malloc", "do_k_malloc"]


def test_another_thread_within_a_call(run, log_of, function_of):
    """Also one on the same heap, as under a lock that lets other threads run."""
    done = run([*START, "switch", "sys_heap_alloc 1 100 0 1", "switch", "k_malloc 2 8", "print"])
    trace = log_of(done)
    assert list(trace.size) == [40, 100, 40, 16]
    assert len(set(trace.thread)) == 2
    found = [function_of(done, trace.callers[i]) for i in trace.caller]
    assert found == ["switch_threads", "do_sys_heap_alloc", "switch_threads", "do_k_malloc"]


def test_threads_that_never_come_back(run, log_of, function_of):
    """Each keeps its slot; calls after that are recorded all the same, with their call sites."""
    done = run([*START, "abort 30", "k_malloc 1 8", "switch", "k_malloc 2 16", "print"])
    trace = log_of(done)
    assert list(trace.size) == [16, 40, 24]
    found = [function_of(done, trace.callers[i]) for i in trace.caller]
    assert found == ["do_k_malloc", "switch_threads", "do_k_malloc"]


def test_before_the_kernel_runs(run, log_of):
    """Nothing may be asked of it yet: the stub would end the program."""
    trace = log_of(run(["boot 1", "heap 1 4096", "sys_heap_alloc 1 8 0 1", "boot 0", "ticks 9",
                        "sys_heap_alloc 2 8 0 1", "print"]))  # fmt: skip
    assert trace.threads[trace.thread[0]] == "boot"
    assert trace.thread[0] != trace.thread[1]
    assert trace.time[0] == 0 < trace.time[1]


def test_user_threads_are_left_alone(run, log_of):
    """They cannot reach the recorder's memory; the stub ends the program if one takes a lock."""
    trace = log_of(run([*START, "user 1", "sys_heap_alloc 1 8 0 1", "user 0",
                        "sys_heap_alloc 2 16 0 1", "print"]))  # fmt: skip
    assert list(trace.size) == [16]


def test_stop_and_start(run, log_of):
    trace = log_of(run([*START, "k_malloc 1 8", "stop", "k_malloc 2 16", "start", "k_malloc 3 24",
                        "print"]))  # fmt: skip
    assert list(trace.size) == [16, 32]


# ---------------------------------------------------------------------- output


@pytest.mark.parametrize("options", [(IMMEDIATE,), (IMMEDIATE, LISTENER)])
def test_each_record_at_once(run, log_of, function_of, options):
    done = run([*START, *SCRIPT], *options)
    trace = log_of(done)
    assert trace.notes == {}
    compare(trace, done, [*START, *SCRIPT], function_of)


def test_at_once_but_not_before_there_is_a_console(run):
    done = run(["boot 1", "heap 1 4096", "line console is up", "boot 0", "sys_heap_alloc 1 8 0 1"],
               IMMEDIATE)  # fmt: skip
    lines = done.log.decode().splitlines()
    assert [line[:4] for line in lines] == ["cons", "kh v", "kh i", "kh a"]


@pytest.mark.parametrize("options", [(), (IMMEDIATE,)])
def test_output_that_allocates(run, log_of, options):
    """What it asks for itself is not recorded: each line would make more of them."""
    commands = [*START, *(f"k_heap_alloc {block} 500 0 1" for block in range(20)), "print"]
    done = run([*commands, "k_malloc 50 8", "print"], "-DOUTPUT_ALLOCATES", *options)
    trace = log_of(done)
    assert b"<inf> app: kh a 0x" in done.log
    assert done.log.count(b"\r\n") == done.log.count(b"\n")
    assert list(trace.size) == [500] * 20 + [16]
    assert trace.notes == {}


def test_names(run, log_of):
    many = [f"name_thread {number} thread {number}" for number in range(8)]
    commands = ["heap 1 4096", "name 1 my #1 *heap*", *many, "thread 2", "sys_heap_alloc 1 8 0 1",
                "print", "save ring", "name 1 a name of more than 23 characters",
                "sys_heap_alloc 2 8 0 1", "print"]  # fmt: skip
    done = run(commands)
    assert [answer for name, answer in done.answers if name == "name"] == [1] * 8 + [0, 1]
    trace = log_of(done)
    assert [heap.name for heap in trace.heaps] == ["a_name_of_more_than_23_"]
    assert trace.threads[-1] == "thread_2"
    assert log_of(done, "ring").heaps[0].name == "my__1__heap_"


def test_every_line_that_is_damaged_is_found(run, log_of):
    """One character less, or another one: the line is refused, or noted as missing."""
    done = run(["heap 1 65536", *SCRIPT[7:10:2], "k_heap_realloc 4 9 0 1", "print"])
    lines = done.log.split(b"\n")[:-1]
    whole = log_of(done)
    for number in (1, 2, 4):
        line = lines[number]
        for place in range(len(line)):
            for new in (b"", b"0" if line[place : place + 1] != b"0" else b"1"):
                lines[number] = line[:place] + new + line[place + 1 :]
                trace = damaged(done, lines, number + 1)
                assert trace.notes[MISSING] == (number < 4)
                assert len(trace) + len(trace.inits) == len(whole) + len(whole.inits) - 1
        lines[number] = line


def damaged(done, lines, number):
    """The rest of a log with a bad line, which is refused, or does not look like one of ours."""
    path = done.folder / "bad"
    path.write_bytes(b"\n".join(lines))
    trace = read_trace(path, lenient=True)
    if trace.skipped:
        with pytest.raises(TraceError) as caught:
            read_trace(path)
        assert caught.value.line == number
    else:
        assert not re.search(rb"\bkh [iarf] ", lines[number - 1])
    return trace


# ---------------------------------------------------------------------- listeners

HEARD = "size as the heap rounded it (from a listener)"


def test_a_heap_that_is_only_listened_to(run, log_of):
    done = run(["heap 1 4096", "listen 1", "thread 3", "sys_heap_alloc 1 10 0 1",
                "sys_heap_realloc 1 3 0 1", "sys_heap_realloc 1 100 0 1",
                "sys_heap_alloc 2 9999 0 1",
                "sys_heap_free 1 0 0 1", "print"], LISTENER, wrap=False)  # fmt: skip
    trace = log_of(done)
    assert list(trace.op) == [ALLOC, REALLOC, ALLOC, FREE, FREE]
    assert list(trace.size) == [16, 8, 104, 0, 0]
    assert list(trace.id) == [0, 0, 1, 0, 1]
    assert trace.notes == {HEARD: 6}


def test_a_call_that_is_wrapped_is_not_heard_as_well(run, log_of, function_of):
    commands = [*START, *SCRIPT]
    done = run([*START, *(f"listen {heap}" for heap in range(3)), *SCRIPT, "print"], LISTENER)
    trace = log_of(done)
    assert trace.notes == {}
    compare(trace, done, commands, function_of)


def test_too_many_heaps_to_listen_to(run):
    done = run([*START, *["listen 1"] * 5], LISTENER)
    assert [answer for name, answer in done.answers if name == "listen"] == [0] * 4 + [-12]


def test_functions_that_a_release_does_not_have(run, log_of):
    """Their wrappers are dropped by the linker, since nobody calls them."""
    done = run(["heap 1 4096", "sys_heap_alloc 1 8 0 1", "print"], "-DSTUB_HAS_NO_REALLOC")
    assert len(log_of(done)) == 1


def test_the_c_library_may_be_wrapped(run, log_of, function_of):
    done = run([*START, *SCRIPT, "print"], "-DCONFIG_KHEAP_RECORDER_WRAP_LIBC")
    compare(log_of(done), done, [*START, *SCRIPT], function_of)
