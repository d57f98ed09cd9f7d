"""The threads that wait for a heap: their order, names and priorities; and queues that lie."""

from __future__ import annotations

import json

import pytest

from helpers import build
from helpers.elf_maker import HEAP_TYPES, Section, Symbol, compile_elf, make_elf
from helpers.ram import RAM, Ram
from kheap.dump import waiters as waiters_module
from kheap.dump.formats.containers import read_container
from kheap.dump.memory import Memory
from kheap.dump.program.image import read_image
from kheap.dump.waiters import Stack, Threads, Waiter, WaitQueue, stack_of_symbol

OBJECT = RAM + 0x100
THREADS = [RAM + 0x400, RAM + 0x200, RAM + 0x300]
PENDING = 2
BITS = pytest.mark.parametrize("bits", [32, 64])


def queue_of(ram):
    return OBJECT + 3 * ram.width


def ram_with(threads, bits=32, priorities=(5, -2, 127)):
    """RAM with a k_heap that these threads wait for."""
    ram = Ram(bits=bits)
    queue = queue_of(ram)
    ram.put(OBJECT, RAM + 0x1000, RAM + 0x1000, 64)
    ring = [queue, *threads]
    for i, node in enumerate(ring):
        ram.put(node, ring[(i + 1) % len(ring)], ring[i - 1])
    for thread, priority in zip(threads, priorities, strict=False):
        ram.put(thread + 2 * ram.width, queue)
        ram.write(thread + 3 * ram.width, bytes((0, PENDING, priority & 255)))
    return ram


def waiting(ram, image=None, memory=None):
    return Threads(memory or ram.memory(), ram.width, image).waiting_for(OBJECT)


def program(tmp_path, symbols=(), config=None):
    sections = [Section("bss", RAM, 0x4000)]
    path = tmp_path / "zephyr.elf"
    return read_image(make_elf(path, symbols=symbols, sections=sections, config=config))


# ---------------------------------------------------------------------- sound queues


@BITS
def test_nobody_waits(bits):
    assert waiting(ram_with([], bits)) == WaitQueue((), None)


def test_a_queue_that_nobody_has_initialised():
    ram = Ram()
    assert waiting(ram) == WaitQueue((), None)


@BITS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_waiters_in_the_order_of_the_queue(bits, count):
    found = waiting(ram_with(THREADS[:count], bits))
    assert found.note is None
    assert found.waiters == tuple(
        Waiter(thread, f"{thread:#x}", priority, None)
        for thread, priority in zip(THREADS[:count], (5, -2, 127), strict=False)
    )


def test_a_priority_is_told_only_of_a_thread_that_waits_there():
    ram = ram_with(THREADS)
    ram.put(THREADS[0] + 8, OBJECT)
    ram.write(THREADS[1] + 13, b"\x04")
    assert [waiter.priority for waiter in waiting(ram).waiters] == [None, None, 127]


def test_a_thread_of_which_only_the_links_are_known():
    ram = ram_with(THREADS[:1])
    memory = ram.memory(size=THREADS[0] + 8 - RAM)
    assert waiting(ram, memory=memory) == WaitQueue((Waiter(THREADS[0], "0x20000400", None),), None)


# ---------------------------------------------------------------------- names


def test_threads_are_named_by_their_variables(tmp_path):
    symbols = [
        Symbol("_k_thread_obj_worker", THREADS[0], 128),
        Symbol("z_main_thread", THREADS[1], 128),
    ]
    found = waiting(ram_with(THREADS), program(tmp_path, symbols))
    assert [waiter.name for waiter in found.waiters] == ["worker", "z_main_thread", "0x20000300"]


K_THREAD = (
    HEAP_TYPES
    + """
typedef signed char int8_t;
typedef unsigned char uint8_t;
struct _thread_base {
    union { sys_dlist_t qnode_dlist; void *qnode_rb[2]; };
    _wait_q_t *pended_on;
    uint8_t user_options, thread_state;
    union { struct { int8_t prio; uint8_t sched_locked; }; unsigned short preempt; };
};
struct _thread_stack_info { size_t start, size, delta; };
struct k_thread {
    char more[16];
    struct _thread_base base;
    NAME name;
    struct k_thread *next_thread;
    struct _thread_stack_info stack_info;
};
struct z_kernel { int cpus[3]; struct k_thread *threads; };
struct z_kernel _kernel;
struct k_thread first, second, third;
struct k_heap the_heap;
const char text[] = "from rodata";
void _start(void) { for (;;) { } }
"""
)


class Target:
    """The memory of a compiled program, to be written to by the names of its variables."""

    def __init__(self, folder, name_type, left_out=""):
        source = K_THREAD.replace("NAME name", name_type).replace(left_out, "")
        self.image = read_image(compile_elf(folder, source))
        self.data = {s.address: bytearray(s.size) for s in self.image.sections if s.writable}

    def at(self, name, *members):
        offset = self.image.offset_of(*members) if members else 0
        return self.image.symbol(name).address + offset

    def write(self, address, data):
        for start, content in self.data.items():
            if start <= address < start + len(content):
                content[address - start : address - start + len(data)] = data

    def put(self, address, *words):
        self.write(address, b"".join(word.to_bytes(8, "little") for word in words))

    def threads(self):
        memory = Memory()
        for start, content in self.data.items():
            memory.add(start, content)
        return Threads(memory, 8, self.image)


@pytest.fixture(params=["char name[16]", "const char *name"])
def target(request, tmp_path):
    """Two threads wait: first, with priority -3, and second, with 7; only one has a name."""
    made = Target(tmp_path, request.param)
    queue = made.at("the_heap", "k_heap", "wait_q")
    nodes = [made.at("first"), made.at("second")]
    made.put(queue, nodes[0], nodes[1])
    made.put(nodes[0], nodes[1], queue)
    made.put(nodes[1], queue, nodes[0])
    for name, priority in (("first", -3), ("second", 7)):
        place = made.at(name, "k_thread", "base", "prio")
        made.write(place, priority.to_bytes(1, "little", signed=True))
    name_at = made.at("first", "k_thread", "name")
    if "*" in request.param:
        made.put(name_at, made.at("text"))
    else:
        made.write(name_at, b"from rodata")
    return made


def test_debug_information_tells_where_the_fields_are(target):
    found = target.threads().waiting_for(target.at("the_heap"))
    first, second = target.at("first"), target.at("second")
    assert found == WaitQueue((Waiter(first, "from rodata", -3), Waiter(second, "second", 7)), None)


# ---------------------------------------------------------------------- stacks


def test_stacks_by_the_kernel_s_list(target):
    target.put(target.at("_kernel", "z_kernel", "threads"), target.at("second"))
    names = ["second", "first", "third"]
    for i, (name, behind) in enumerate(zip(names, [*names[1:], None], strict=True)):
        next_at = target.at(name, "k_thread", "next_thread")
        target.put(next_at, target.at(behind) if behind else 0)
        size = 64 * i  # The first one has no stack that is known.
        target.put(target.at(name, "k_thread", "stack_info", "start"), 0x9000 - 256 * i, size)
    stacks = [Stack(0x8E00, 0x8E80, "third"), Stack(0x8F00, 0x8F40, "from rodata")]
    assert target.threads().stacks() == stacks
    target.put(target.at("third", "k_thread", "next_thread"), target.at("first"))
    assert target.threads().stacks() == stacks


def test_without_the_kernel_s_list_no_stack_is_known(tmp_path):
    assert Threads(Memory(), 4, None).stacks() == []
    assert Threads(Memory(), 4, program(tmp_path)).stacks() == []


def test_a_program_whose_kernel_keeps_no_list(tmp_path):
    target = Target(tmp_path, "char name[16]", "struct z_kernel _kernel;")
    assert target.threads().stacks() == []


def test_a_list_of_threads_that_is_not_in_the_dump(target):
    target.put(target.at("_kernel", "z_kernel", "threads"), 0x1234)
    assert target.threads().stacks() == []


def test_stacks_by_their_symbols():
    assert stack_of_symbol("_k_thread_stack_rx+0x10") == "stack of thread rx"
    assert stack_of_symbol("z_main_stack") == "stack of thread main"
    assert stack_of_symbol("z_interrupt_stacks+0x7f8") == "interrupt stack"
    assert stack_of_symbol("my_stack") is None


# ---------------------------------------------------------------------- broken queues


def broken(ram, **options):
    """The threads found before the fault, and what is told of it."""
    found = waiting(ram, **options)
    prefix = f"wait queue at {queue_of(ram):#x}: "
    assert found.note.startswith(prefix)
    return [waiter.address for waiter in found.waiters], found.note.removeprefix(prefix)


def test_a_thread_that_does_not_point_back():
    ram = ram_with(THREADS)
    ram.put(THREADS[1] + 4, THREADS[1])
    assert broken(ram) == (THREADS[:1], "0x20000200 does not point back to 0x20000400")


def test_a_queue_that_leads_in_circles():
    ram = ram_with(THREADS)
    ram.put(THREADS[2], THREADS[1])
    assert broken(ram) == (THREADS, "it leads to 0x20000200 twice")


def test_a_tail_that_is_not_the_last_thread():
    ram = ram_with(THREADS)
    ram.put(queue_of(ram) + 4, THREADS[0])
    told = "its tail is 0x20000400, but its last thread 0x20000300"
    assert broken(ram) == (THREADS, told)


def test_a_queue_or_a_thread_that_is_not_in_the_dump():
    ram = ram_with(THREADS)
    memory = ram.memory(size=queue_of(ram) + 4 - RAM)
    assert broken(ram, memory=memory) == ([], "0x2000010c is not in the dump")
    ram.put(THREADS[0], 0x1000)
    assert broken(ram) == (THREADS[:1], "0x1000 is not in the dump")


def test_a_queue_with_more_threads_than_there_can_be(monkeypatch):
    ram = ram_with(THREADS)
    monkeypatch.setattr(waiters_module, "MOST_THREADS", 2)
    assert broken(ram) == (THREADS[:2], "it has more than 2 threads")
    monkeypatch.setattr(waiters_module, "MOST_THREADS", 3)
    assert waiting(ram).note is None


# ---------------------------------------------------------------------- CONFIG_WAITQ_SCALABLE


def tree_of(tmp_path, *rows):
    """RAM whose queue is a tree: node, left child, right child; the first node is the root."""
    ram = Ram()
    ram.put(queue_of(ram), rows[0][0] if rows else 0, 0x08001235)
    for node, left, right in rows:
        ram.put(node, left, right, queue_of(ram))
        ram.write(node + 12, bytes((0, PENDING, 3)))
    return ram, program(tmp_path, config={"WAITQ_SCALABLE": 1})


def test_a_tree_is_read_from_the_most_urgent_on(tmp_path):
    a, b, c = THREADS
    ram, image = tree_of(tmp_path, (b, a | 1, c), (a, 0, 0), (c, 1, 0))
    found = waiting(ram, image)
    assert [waiter.address for waiter in found.waiters] == [a, b, c]
    assert [waiter.priority for waiter in found.waiters] == [3, 3, 3]
    assert found.note is None
    assert waiting(ram).note is not None  # Nobody told that it is one.


def test_an_empty_tree(tmp_path):
    ram, image = tree_of(tmp_path)
    assert waiting(ram, image) == WaitQueue((), None)


def test_a_tree_that_leads_in_circles(tmp_path):
    a, b, _ = THREADS
    ram, image = tree_of(tmp_path, (a, 0, b), (b, a, 0))
    assert broken(ram, image=image) == ([a], f"it leads to {a:#x} twice")


def test_a_tree_that_is_too_deep(tmp_path):
    rows = [(RAM + 0x200 + 16 * i, RAM + 0x210 + 16 * i, 0) for i in range(70)]
    ram, image = tree_of(tmp_path, *rows)
    assert broken(ram, image=image) == ([], "it is more than 64 threads deep")


# ---------------------------------------------------------------------- a real one


def test_a_thread_of_a_real_program_that_waits():
    folder = build.real_data("real/dumps/native")
    if folder is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no real/dumps/native")
    expected = json.loads((folder / "n_kheap_api.waiter.json").read_text("utf-8"))
    memory = read_container([folder / "n_kheap_api.wait.core.gz"]).memory
    threads = Threads(memory, 4)
    thread = expected["waiting_thread"]
    found = threads.waiting_for(expected["call"]["a"]["heap"])
    assert found == WaitQueue((Waiter(thread, f"{thread:#x}", 5),), None)
    tiny_heap = 134575124
    assert threads.waiting_for(tiny_heap) == WaitQueue((), None)
