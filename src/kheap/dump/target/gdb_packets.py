"""Packets of the GDB remote serial protocol: ``$body#checksum`` over a socket.

Source: "Debugging with GDB", appendix E.

What it owns: framing, checksums, acknowledgements, escapes and repeats, and waits that end.
What it does not: what packets say (``gdb_remote.py``).
"""

from __future__ import annotations

import socket
from time import monotonic

from kheap.errors import DumpError

__all__ = ["MOST_PACKET_BYTES", "NoAnswer", "Packets"]

#: No packet may be longer, whatever the server says.
MOST_PACKET_BYTES = 1 << 17
#: How often a packet is sent, or asked for, again before the connection counts as broken.
MOST_REPEATS = 3
#: Seconds that sending may take: a server reads what is sent, but for one that hangs.
SENDING_S = 5.0

_ESCAPE, _REPEAT = b"}*"


class NoAnswer(Exception):
    """Nothing came in time."""


class Packets:
    """Packets over a socket.

    Attributes:
        acknowledged: Whether each packet is answered by ``+``, or by ``-`` to have it again.
    """

    def __init__(self, connection: socket.socket, place: str) -> None:
        self.acknowledged = True
        self._connection = connection
        self._place = place
        self._held = bytearray()
        self._sent = b""
        self._repeats = 0

    def send(self, body: str) -> None:
        """Send a packet; whether it arrived is seen when the next one is awaited."""
        raw = body.encode("ascii")
        self._sent = b"$%b#%02x" % (raw, sum(raw) & 0xFF)
        self._repeats = 0
        self.write(self._sent)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.settimeout(SENDING_S)
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise DumpError(f"{self._place}: {error.strerror or 'cannot send'}") from None

    def receive(self, deadline: float) -> bytes:
        """The next packet, decoded; notifications are passed over.

        Raises:
            NoAnswer: None came before ``deadline``, a time of ``monotonic()``.
            DumpError: What came is not the protocol, or the connection is closed.
        """
        while True:
            lead = self._take(1, deadline)
            if lead == b"$":
                body = self._body(deadline)
                if body is not None:
                    return body
            elif lead == b"%":
                self._raw_body(deadline)
            elif lead == b"-" and self.acknowledged:
                self._repeat(self._sent)

    def _body(self, deadline: float) -> bytes | None:
        """What stands behind a ``$``; None where it is damaged and was asked for again."""
        raw, is_sound = self._raw_body(deadline)
        if is_sound:
            if self.acknowledged:
                self.write(b"+")
            return self._decoded(raw)
        if not self.acknowledged:
            raise DumpError(f"{self._place}: a packet with a wrong checksum")
        self._repeat(b"-")
        return None

    def _raw_body(self, deadline: float) -> tuple[bytes, bool]:
        """The bytes up to ``#``, and whether the checksum behind it is theirs."""
        end, searched = -1, 0
        while end < 0:
            end = self._held.find(b"#", searched)
            searched = len(self._held) if end < 0 else end
            self._require_short(searched)
            if end < 0:
                self._fill(deadline)
        raw = self._take(end + 1, deadline)[:-1]
        checksum = self._take(2, deadline)
        # One that broke off, with the next behind it.
        raw = raw[raw.rfind(b"$") + 1 :]
        return raw, checksum.lower() == b"%02x" % (sum(raw) & 0xFF)

    def _decoded(self, raw: bytes) -> bytes:
        """The packet with escapes (``}`` and a byte) and repeats (``*`` and a count) undone."""
        if _ESCAPE not in raw and _REPEAT not in raw:
            return raw
        out, source = bytearray(), iter(raw)
        for byte in source:
            if byte == _ESCAPE:
                out.append(next(source, 0) ^ 0x20)
            elif byte == _REPEAT:
                out += out[-1:] * (next(source, 0) - 29)
            else:
                out.append(byte)
            self._require_short(len(out))
        return bytes(out)

    def _require_short(self, count: int) -> None:
        if count > MOST_PACKET_BYTES:
            raise DumpError(f"{self._place}: a packet of over {MOST_PACKET_BYTES:,} bytes")

    def _repeat(self, data: bytes) -> None:
        self._repeats += 1
        if self._repeats > MOST_REPEATS:
            raise DumpError(
                f"{self._place}: packets arrive damaged, also after {MOST_REPEATS} repeats"
            )
        self.write(data)

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._held) < count:
            self._fill(deadline)
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _fill(self, deadline: float) -> None:
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise NoAnswer
        self._connection.settimeout(left_s)
        try:
            data = self._connection.recv(1 << 16)
        except TimeoutError:
            raise NoAnswer from None
        except OSError as error:
            raise DumpError(f"{self._place}: {error.strerror or 'cannot receive'}") from None
        if not data:
            raise DumpError(f"{self._place}: the server closed the connection")
        self._held += data
