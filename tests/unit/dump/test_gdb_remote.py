"""Reading a target through a GDB server: whatever manners it has, and whatever goes wrong."""

from __future__ import annotations

import re
import socket
import threading
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.gdb_stub import GdbStub
from kheap.dump.memory import Memory
from kheap.dump.target.gdb_packets import Packets
from kheap.dump.target.gdb_remote import GdbRemote, is_gdb_url
from kheap.errors import DumpError

RAM = 0x20000000
#: Every byte, runs that are packed, and 5 KiB, which no packet holds at once.
CONTENT = (bytes(range(256)) + bytes(700) + b"\xee" * 69) * 5


def ram(content=CONTENT):
    memory = Memory()
    memory.add(RAM, content)
    return memory


@pytest.mark.parametrize(
    "manners",
    [
        {},
        {"packet_bytes": 0x40},
        {"packet_bytes": 0},
        {"packet_bytes": 0x4000, "vcont": False},
        {"no_ack": False},
        {"no_ack": False, "damaged": 3},
        {"no_ack": False, "refused": 3},
        {"repeats": True},
        {"escapes": True, "repeats": True},
        {"chatter": True},
        {"chatter": True, "no_ack": False},
        {"dribbles": True, "no_ack": False},
        {"most_bytes": 100},
        {"runs": True},
    ],
    ids=str,
)
def test_reads_whatever_the_manners(manners):
    with GdbStub(ram().read, **manners) as stub:
        with GdbRemote(stub.url) as target:
            target.halt()
            assert target.read(RAM + 3, len(CONTENT) - 3) == CONTENT[3:]
            assert target.read(RAM + 0x10, 0) == b""
        assert stub.running


def test_no_read_is_larger_than_the_packet_that_answers_it():
    with GdbStub(ram().read, packet_bytes=0x84) as stub, GdbRemote(stub.url) as target:
        assert target.piece_bytes == 64
        target.read(RAM, 130)
        assert stub.requests[-3:] == ["m20000000,40", "m20000040,40", "m20000080,2"]


def test_memory_that_is_not_there_is_none():
    with GdbStub(ram(bytes(64)).read) as stub, GdbRemote(stub.url) as target:
        assert target.read(RAM + 32, 64) is None
        assert target.read(0, 4) is None
        assert target.read(RAM, 1 << 30) is None
        memory = Memory(target.read)
        assert bytes(memory.read(RAM, 64)) == bytes(64)


@pytest.mark.parametrize("answer", [b"", b"E.not now", b"E01"])
def test_a_refused_read_is_none(answer):
    with GdbStub(ram().read, answers={"m": answer}) as stub, GdbRemote(stub.url) as target:
        assert target.read(RAM, 4) is None


# ---------------------------------------------------------------------- halt and resume


def test_the_target_stands_still_only_between_halt_and_resume():
    content = bytearray(4)

    def step():
        content[0] += 1

    with GdbStub(ram(content).read, step=step) as stub:
        with GdbRemote(stub.url) as target:
            seen = []
            for _ in range(3):
                target.halt()
                seen.append(target.read(RAM, 1)[0])
                target.resume()
                target.resume()
        assert seen == [0, 1, 2]
        assert stub.running
        assert stub.requests.count("vCont;c") == 3
        assert stub.requests[-1] == "D"
        # It was stopped when the debugger came; two samples and the leave.
        assert stub.halts == 3


def test_without_halting_it_is_never_interrupted():
    with GdbStub(ram().read, vcont=False) as stub:
        with GdbRemote(stub.url, halts=False) as target:
            target.halt()
            assert target.read(RAM, 4) == CONTENT[:4]
            target.resume()
        assert stub.halts == 0
        assert stub.requests.count("c") == 1


def test_an_error_does_not_leave_it_stopped():
    with GdbStub(ram().read) as stub:
        with pytest.raises(KeyError), GdbRemote(stub.url) as target:
            target.halt()
            raise KeyError
        assert stub.running


def test_an_interrupted_read_does_not_leave_it_stopped():
    with GdbStub(ram().read) as stub:
        with GdbRemote(stub.url) as target:
            target._packets.send(f"m{RAM:x},4")
        assert stub.running
        assert stub.requests[-2:] == [f"m{RAM:x},4", "D"]


@pytest.mark.parametrize("answer", [b"", b"E01"])
def test_a_server_that_cannot_detach_is_told_to_continue(answer):
    with GdbStub(ram().read, answers={"D": answer}) as stub, GdbRemote(stub.url):
        assert not stub.running
    assert stub.running
    assert stub.requests[-1] == "vCont;c"


def test_a_server_that_stops_at_whatever_arrives_is_not_left_stopped():
    with GdbStub(ram().read, stops_to_answer=True) as stub:
        with GdbRemote(stub.url, halts=False):
            pass
        assert stub.running
        with pytest.raises(DumpError) as caught, GdbRemote(stub.url, halts=False) as target:
            target.timeout_s = 0.05
            target.read(RAM, 4)
        assert str(caught.value) == (
            f"{stub.url}: no answer to m20000000,4 within 0.05 s while the target runs;"
            " try without --no-halt"
        )
    assert stub.running


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("manners", "reason"),
    [
        ({"answers": {"m": None}}, "no answer to m20000000,10 within 0.05 s"),
        ({"answers": {"m": b"0g"}}, "malformed answer to m20000000,10: '0g'"),
        ({"answers": {"m": b"012"}}, "malformed answer to m20000000,10: '012'"),
        ({"answers": {"m": b"\xff"}}, "malformed answer to m20000000,10: '\\\\xff'"),
        ({"answers": {"m": b"00" * 17}}, f"malformed answer to m20000000,10: '{'0' * 20}'"),
        ({"answers": {"m": b"W00"}}, "the target has exited"),
        ({"answers": {"m": b"T05"}}, "no answer to m20000000,10 within 0.05 s"),
        ({"answers": {"?": b"W00"}}, "the target has exited"),
        ({"answers": {"q": b"PacketSize=many"}}, "PacketSize=many is no size"),
        ({"damaged": 9, "no_ack": False}, "packets arrive damaged, also after 3 repeats"),
        ({"refused": 9}, "packets arrive damaged, also after 3 repeats"),
        ({"answers": {"m": b"0" * ((1 << 17) + 2)}}, "a packet of over 131,072 bytes"),
        ({"answers": {"m": b"0" + b"*~" * 2000}}, "a packet of over 131,072 bytes"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_one_line_for_what_goes_wrong(manners, reason):
    with GdbStub(ram().read, **manners) as stub:
        with pytest.raises(DumpError) as caught, GdbRemote(stub.url) as target:
            target.timeout_s = 0.05
            target.read(RAM, 16)
        assert str(caught.value) == f"{stub.url}: {reason}"


def test_without_acknowledgements_a_damaged_packet_is_an_error():
    with GdbStub(ram().read) as stub, GdbRemote(stub.url) as target:
        stub.manners.damaged = 1
        with pytest.raises(DumpError, match=f"{stub.url}: a packet with a wrong checksum"):
            target.read(RAM, 4)


def test_no_answer_while_greeting():
    with GdbStub(ram().read, answers={"?": None}) as stub:
        with pytest.raises(DumpError, match=r"no answer to \? within 0.5 s"):
            GdbRemote(stub.url, timeout_s=0.5)
        assert stub.running


def test_no_answer_to_the_interrupt():
    with GdbStub(ram().read, deaf=True) as stub, GdbRemote(stub.url) as target:
        target.resume()
        target.timeout_s = 0.05
        with pytest.raises(DumpError, match=r"no answer to the interrupt within 0.05 s"):
            target.halt()


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "the server closed the connection"),
        (b"$PacketSi", "the server closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the server closed the connection"),
        (b"$PacketSize$PacketSize=40#be$vCont;c#a8$W00#b7", "the target has exited"),
    ],
)
def test_a_server_that_says_this_and_hangs_up(greeting, reason):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        server = threading.Thread(target=serve)
        server.start()
        url = f"gdb://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DumpError) as caught:
            GdbRemote(url)
        server.join()
        assert str(caught.value) == f"{url}: {reason}"


@pytest.mark.parametrize("url", ["gdb://", "gdb://host", "gdb://host:port", "gdb://a b:70000",
                                 "gdb://host:70000", "gdb://1:2:3"])  # fmt: skip
def test_no_address_of_a_server(url):
    assert is_gdb_url(url)
    with pytest.raises(DumpError) as caught:
        GdbRemote(url)
    assert str(caught.value) == f"{url}: expected gdb://HOST:PORT, as in gdb://localhost:1234"


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"gdb://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(DumpError) as caught:
        GdbRemote(url)
    assert str(caught.value) == f"{url}: Connection refused"


# ---------------------------------------------------------------------- packets


def received(data, count=1, **attributes):
    """What is received of a server that sends this and hangs up; None where it fails."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        packets = Packets(here, "place")
        for name, value in attributes.items():
            setattr(packets, name, value)
        try:
            return [packets.receive(monotonic() + 10) for _ in range(count)]
        except DumpError as error:
            assert str(error).startswith("place: ")
            assert "\n" not in str(error)
            return None


@given(st.lists(st.sampled_from([b"$", b"#", b"00", b"%", b"-", b"+", b"*", b"}", b"a", b"~"])))
def test_anything_is_a_packet_or_an_error(pieces):
    for acknowledged in (True, False):
        answer = received(b"".join(pieces), acknowledged=acknowledged)
        assert answer is None or isinstance(answer[0], bytes)


@given(st.binary(max_size=300))
def test_packed_and_escaped_bodies_come_back(body):
    escaped = re.sub(rb"[#$}*]", lambda match: bytes((0x7D, match[0][0] ^ 0x20)), body)
    packed = re.sub(rb"([^}])\1{3,97}", lambda match: repeated(match, escaped), escaped)
    for raw in (escaped, packed):
        assert received(b"x+$%b#%02x" % (raw, sum(raw) & 0xFF)) == [body]


def repeated(match, text):
    """A run packed, but for one that an escape reaches into or whose count is not allowed."""
    count = len(match[0]) + 28
    is_free = text[match.start() - 1 : match.start()] != b"}" and count < 127
    return match[1] + b"*%c" % count if is_free and chr(count) not in "#$+-" else match[0]


def test_a_notification_and_a_packet_that_broke_off_are_passed_over():
    assert received(b"%Stop:T05#3d$m2$OK#9a$7d*!}\x03#66", 2) == [b"OK", b"7ddddd#"]
