"""A GDB server on 127.0.0.1, with a program that runs a step at each continue.

It serves any ``read(address, count)``, such as that of :class:`kheap.dump.memory.Memory`, one
debugger after the other, and can be told to behave as servers do at their worst.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

STOPPED = b"T02thread:01;"


@dataclass
class Manners:
    """What a server does its own way.

    Attributes:
        packet_bytes: What it says as PacketSize; 0: nothing.
        no_ack: It offers to do without acknowledgements.
        vcont: It knows ``vCont;c``.
        deaf: It does not heed the interrupt.
        runs: The target runs when a debugger connects; else it is stopped then.
        stops_to_answer: As QEMU: whatever arrives while the target runs stops it, and is lost.
        damaged: So many packets are sent with a wrong checksum at first.
        refused: So many packets are not understood at first.
        chatter: Before each answer comes a notification, output, and news of a stop.
        repeats: Runs of equal characters are packed.
        escapes: Every digit 0 is escaped.
        dribbles: Every byte is sent by itself.
        most_bytes: It answers no read with more.
        answers: What it answers to requests that begin so; None: nothing.
    """

    packet_bytes: int = 0x400
    no_ack: bool = True
    vcont: bool = True
    deaf: bool = False
    runs: bool = False
    stops_to_answer: bool = False
    damaged: int = 0
    refused: int = 0
    chatter: bool = False
    repeats: bool = False
    escapes: bool = False
    dribbles: bool = False
    most_bytes: int = 1 << 20
    answers: Mapping[str, bytes | None] = field(default_factory=dict)


class GdbStub:
    """The server; ``with`` it, and its thread ends at the end.

    Args:
        read: Serves memory; None where there is none.
        step: What the program does each time it is let run.

    Attributes:
        url: Where it is.
        running: Whether the target runs.
        requests: All packets that it took.
        halts: How often the target was interrupted.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes | memoryview | None],
        *,
        step: Callable[[], object] = lambda: None,
        **manners: object,
    ) -> None:
        self.manners = Manners(**manners)
        self.running = self.manners.runs
        self.requests: list[str] = []
        self.halts = 0
        self._read, self._step = read, step
        self._acknowledges = True
        self._last = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"gdb://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Serve what was sent to the end, and no more."""
        self._closing = True
        with socket.create_connection(self._listener.getsockname()):
            self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive(), "a debugger is still connected"

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._closing:
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = connection
                self._acknowledges = True
                self.running = self.manners.runs
                try:
                    self._listen(connection)
                except ConnectionError:
                    continue

    def _listen(self, connection: socket.socket) -> None:
        held = b""
        while data := connection.recv(4096):
            held += data
            while match := re.match(rb"\$([^#]*)#(..)|[^$]", held, re.DOTALL):
                if self.running and self.manners.stops_to_answer:
                    self._stop()
                    held = held[1:]
                    continue
                held = held[match.end() :]
                self._take(match)

    def _take(self, match: re.Match[bytes]) -> None:
        if match[0] == b"\x03" and self.running and not self.manners.deaf:
            self._stop()
        elif match[0] == b"-":
            self._transmit(self._last)
        elif match[1] is not None:
            assert sum(match[1]) & 0xFF == int(match[2], 16)
            if self.manners.refused:
                self.manners.refused -= 1
                self._send(b"-")
                return
            if self._acknowledges:
                self._send(b"+")
            self.requests.append(match[1].decode())
            self._answer(self.requests[-1])

    def _stop(self) -> None:
        self.running = False
        self.halts += 1
        self._packet(STOPPED)

    def _answer(self, request: str) -> None:
        for begin, answer in self.manners.answers.items():
            if request.startswith(begin):
                if answer is not None:
                    self._packet(answer)
                return
        if request in ("c", "vCont;c"):
            self.running = True
            self._step()
            return
        if self.manners.chatter:
            self._send(b"%Stop:T05#12")
            self._packet(b"O48690a")
            self._packet(b"T05")
        self._packet(self._reply(request))
        if request == "QStartNoAckMode":
            self._acknowledges = False

    def _reply(self, request: str) -> bytes:
        if request.startswith("qSupported"):
            size = self.manners.packet_bytes
            known = [f"PacketSize={size:x}"] if size else []
            return ";".join(
                [*known, "QStartNoAckMode+"][: 2 if self.manners.no_ack else 1]
            ).encode()
        if request.startswith("m"):
            return self._memory(request)
        if request == "D":
            self.running = True
            return b"OK"
        if request == "vCont?":
            return b"vCont;c;C;s;S" if self.manners.vcont else b""
        return {"QStartNoAckMode": b"OK", "?": b"OK" if self.running else b"T05"}.get(request, b"")

    def _memory(self, request: str) -> bytes:
        address, count = (int(number, 16) for number in request[1:].split(","))
        assert not self.manners.packet_bytes or 2 * count + 4 <= self.manners.packet_bytes
        data = self._read(address, count)
        return b"E0e" if data is None else bytes(data)[: self.manners.most_bytes].hex().encode()

    def _packet(self, body: bytes) -> None:
        if self.manners.repeats:
            body = re.sub(rb"(.)\1{3,97}", _packed, body)
        if self.manners.escapes:
            body = body.replace(b"0", b"}\x10")
        self._last = body
        self._transmit(body)

    def _transmit(self, body: bytes) -> None:
        checksum = sum(body) & 0xFF
        if self.manners.damaged:
            self.manners.damaged -= 1
            checksum ^= 1
        self._send(b"$%b#%02x" % (body, checksum))

    def _send(self, data: bytes) -> None:
        if self.manners.dribbles:
            for i in range(len(data)):
                self._connection.sendall(data[i : i + 1])
        else:
            self._connection.sendall(data)


def _packed(match: re.Match[bytes]) -> bytes:
    """A run as one character and its count, where the count's own character is allowed."""
    count = len(match[0]) + 28
    return match[0] if count > 126 or chr(count) in "#$+-" else match[1] + b"*%c" % count
