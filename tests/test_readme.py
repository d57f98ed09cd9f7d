"""The README's Python example runs, and its console output is what the command prints."""

import re
from pathlib import Path

import pytest

from kheap.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_example(monkeypatch, capsys):
    pytest.importorskip("numpy")
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    (promised,) = re.findall(r"^# (\d+ bytes: .*)$", code, re.MULTILINE)
    assert printed.endswith(promised + "\n")
    assert printed.startswith("Heap at 0x20000000 contains 127 units")


def test_console_example(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (command, shown) = re.findall(r"\$ kheap (replay .*?)\n(.*?)```", README, re.DOTALL)[0]
    assert main(command.split()) == 1
    assert capsys.readouterr().out.startswith(shown.rstrip("\n"))
