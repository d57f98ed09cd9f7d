"""A microcontroller in QEMU, with prepared RAM and a program that counts."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from struct import pack

import pytest

RAM = 0x20000000
#: What the program counts up while it runs.
COUNTER = 0x20007FFC
#: Stack pointer and entry; then: r0 = COUNTER; again: r1 = [r0]; r1 += 1; [r0] = r1; again.
PROGRAM = pack("<2I6HI", 0x20008000, 9, 0x4802, 0x6801, 0x3101, 0x6001, 0xE7FB, 0xBF00, COUNTER)


@contextmanager
def microcontroller(folder, ram):
    """A Cortex-M3 that holds ``ram`` and has not begun to run; the URL of its GDB server."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no qemu-system-arm here")
    (folder / "program.bin").write_bytes(PROGRAM)
    (folder / "ram.bin").write_bytes(ram)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        machine = ["-M", "lm3s6965evb", "-nodefaults", "-nographic", "-S"]
        load = f"loader,file={folder / 'ram.bin'},addr={RAM:#x},force-raw=on"
        server = f"socket,id=gdb,fd={number},server=on,wait=off"
        qemu = subprocess.Popen(
            ["qemu-system-arm", *machine, "-kernel", folder / "program.bin", "-device", load,
             "-chardev", server, "-gdb", "chardev:gdb"],
            pass_fds=[number], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        url = f"gdb://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield url
    finally:
        qemu.kill()
        qemu.wait()
