"""A client of the GDB remote serial protocol: reads the memory of a running target.

Source: "Debugging with GDB", appendix E.  QEMU, OpenOCD, J-Link, pyOCD and probe-rs serve it.

What it owns: what a target is asked, and that it is never left stopped: leaving a
:class:`GdbRemote` detaches, which lets it run.

What it does not: packets (``gdb_packets.py``), heaps (``dump.py``), when to read (``live.py``).
"""

from __future__ import annotations

import re
import socket
from binascii import Error as NotHex
from binascii import unhexlify
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from kheap.dump.target.gdb_packets import MOST_PACKET_BYTES, NoAnswer, Packets
from kheap.errors import DumpError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ANSWER_S", "GdbRemote", "is_gdb_url"]

#: Seconds that every answer may take.
ANSWER_S = 5.0
#: Seconds for each answer when taking leave, also of a server that answers no more.
LEAVING_S = 1.0
#: Bytes of a packet where the server does not tell: what GDB itself begins with.
USUAL_PACKET_BYTES = 400
#: No more is read at once: no heap of a target with a debug port is larger.
MOST_READ_BYTES = 1 << 26

SCHEME = "gdb://"
INTERRUPT = b"\x03"
_URL = re.compile(r"gdb://(?:\[([0-9a-fA-F:.%]+)\]|([^\[\]/:@]+)):([0-9]{1,5})/?")


def is_gdb_url(text: str) -> bool:
    """Whether this names a GDB server."""
    return text.startswith(SCHEME)


class GdbRemote:
    """A target behind a GDB server.

    Args:
        url: ``gdb://HOST:PORT``.
        halts: Stop the target to read, between :meth:`halt` and :meth:`resume`; False: these
            do nothing, and what is read is read while it runs, if the server can do that.
        timeout_s: Seconds that every answer may take.

    Attributes:
        running: Whether the target runs, as far as is known.  Most servers stop it when a
            debugger connects.
        piece_bytes: Bytes that are asked for at once; longer reads are split.
        timeout_s: As given.

    Raises:
        DumpError: No such server, or it does not speak the protocol.
    """

    def __init__(self, url: str, *, halts: bool = True, timeout_s: float = ANSWER_S) -> None:
        self.url = url
        self.halts = halts
        self.running = False
        self.piece_bytes = 0
        self.timeout_s = timeout_s
        self._continue = "c"
        self._connection = _connected(url, timeout_s)
        self._packets = Packets(self._connection, url)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """The target itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take leave."""
        self.close()

    def read(self, address: int, count: int) -> bytes | None:
        """``count`` bytes of memory; None where the target has no such memory.

        It is a ``fetch`` for :class:`~kheap.dump.memory.Memory`.

        Raises:
            DumpError: No answer in time, or one that is not the protocol.

        Complexity: one request for each ``piece_bytes``.
        """
        if count > MOST_READ_BYTES:
            return None
        data = bytearray()
        while len(data) < count:
            # A piece may come back short; the rest is asked for then.
            piece = self._piece(address + len(data), min(count - len(data), self.piece_bytes))
            if not piece:
                return None
            data += piece
        return bytes(data)

    def halt(self) -> None:
        """Stop the target, where it runs.

        Raises:
            DumpError: It does not stop in time, or has exited.
        """
        if self.halts and self.running:
            self._packets.write(INTERRUPT)
            self._await("the interrupt", _is_stop)

    def resume(self) -> None:
        """Let the target run, where it was stopped to be read."""
        if self.halts and not self.running:
            self._run()

    def close(self) -> None:
        """Let the target run and take leave, as well as a broken connection allows."""
        self.timeout_s = min(self.timeout_s, LEAVING_S)
        try:
            with suppress(DumpError):
                self.halt()
            with suppress(DumpError):
                self._detach()
        finally:
            self._connection.close()

    # ------------------------------------------------------------------ what is asked

    def _greet(self) -> None:
        self._packets.write(b"+")
        features = self._ask("qSupported").decode("ascii", "replace").split(";")
        self._limit(features)
        if "QStartNoAckMode+" in features and self._ask("QStartNoAckMode") == b"OK":
            self._packets.acknowledged = False
        if b"c" in self._ask("vCont?").split(b";")[1:]:
            self._continue = "vCont;c"
        self._packets.send("?")
        self.running = self._await("?", lambda answer: not _is_output(answer)) == b"OK"
        if not self.halts and not self.running:
            self._run()

    def _limit(self, features: list[str]) -> None:
        """Ask for no more at once than fits a packet: two digits a byte, and the frame."""
        name = "PacketSize="
        said = [feature[len(name) :] for feature in features if feature.startswith(name)]
        try:
            packet_bytes = int(said[0], 16) if said else USUAL_PACKET_BYTES
        except ValueError:
            raise DumpError(f"{self.url}: {name}{said[0][:20]} is no size") from None
        self.piece_bytes = max(1, (min(packet_bytes, MOST_PACKET_BYTES) - 4) // 2)

    def _piece(self, address: int, count: int) -> bytes:
        """Up to ``count`` bytes; none where the target has no such memory."""
        request = f"m{address:x},{count:x}"
        answer = self._ask(request)
        if not answer or _is_refusal(answer):
            return b""
        try:
            piece = unhexlify(answer)
        except NotHex:
            piece = b""
        if not 0 < len(piece) <= count:
            shown = answer[:20].decode("ascii", "backslashreplace")
            raise DumpError(f"{self.url}: malformed answer to {request}: {shown!r}")
        return piece

    def _run(self) -> None:
        self.running = True  # even if this is interrupted: then close() stops it first
        self._packets.send(self._continue)

    def _detach(self) -> None:
        """Detach, which lets the target run; where the server cannot, only let it run."""
        for _ in range(2):
            self._packets.send("D")
            # The answer to what was asked before may still come, if that was interrupted.
            answer = self._await("D", lambda answer: answer in (b"OK", b"") or _is_news(answer))
            # QEMU stops a running target at whatever arrives, and does not read on.
            if not _is_stop(answer):
                break
        if answer != b"OK":
            self._run()

    def _ask(self, request: str) -> bytes:
        """The answer to a request; stops and output that come in between are not it."""
        self._packets.send(request)
        return self._await(request, lambda answer: not _is_stop(answer) and not _is_output(answer))

    def _await(self, request: str, is_wanted: Callable[[bytes], bool]) -> bytes:
        """The next packet that is wanted."""
        deadline = monotonic() + self.timeout_s
        try:
            while True:
                answer = self._packets.receive(deadline)
                if _is_stop(answer):
                    self.running = False
                if answer.startswith((b"W", b"X")):
                    raise DumpError(f"{self.url}: the target has exited")
                if is_wanted(answer):
                    return answer
        except NoAnswer:
            hint = "" if self.halts else " while the target runs; try without --no-halt"
            raise DumpError(
                f"{self.url}: no answer to {request} within {self.timeout_s:g} s{hint}"
            ) from None


def _is_stop(answer: bytes) -> bool:
    return answer.startswith((b"S", b"T", b"N"))


def _is_news(answer: bytes) -> bool:
    return _is_stop(answer) or _is_refusal(answer)


def _is_output(answer: bytes) -> bool:
    return answer.startswith(b"O") and answer != b"OK"


def _is_refusal(answer: bytes) -> bool:
    return answer.startswith(b"E.") or (answer.startswith(b"E") and len(answer) == 3)


def _connected(url: str, timeout_s: float) -> socket.socket:
    parts = _URL.fullmatch(url)
    if parts is None or int(parts[3]) > 0xFFFF:
        raise DumpError(f"{url}: expected gdb://HOST:PORT, as in gdb://localhost:1234")
    try:
        connection = socket.create_connection((parts[1] or parts[2], int(parts[3])), timeout_s)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or f"cannot connect within {timeout_s:g} s"
        raise DumpError(f"{url}: {reason}") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
