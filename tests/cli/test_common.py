"""What commands have in common: the answer in two forms, and one line for an error."""

from argparse import Namespace

import pytest

from kheap.cli.common import as_command_error, print_answer
from kheap.errors import CommandError


def refusal(error, *kinds, **options):
    with pytest.raises(CommandError) as caught, as_command_error(*kinds, **options):
        raise error
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_an_error_names_its_file():
    missing = FileNotFoundError(2, "No such file or directory", "a.csv")
    assert refusal(missing, OSError, place="a.csv") == "a.csv: No such file or directory"
    assert refusal(OSError("not seekable"), OSError, place="a.csv") == "a.csv: not seekable"
    assert refusal(ValueError("no such heap"), ValueError) == "no such heap"


def test_an_error_always_has_a_reason():
    assert refusal(MemoryError(), ValueError, MemoryError, place="a.csv") == "a.csv: out of memory"


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), as_command_error(ValueError, OSError, place="a.csv"):
        raise KeyError


def test_only_the_answer_that_is_printed_is_made(capsys):
    print_answer(Namespace(json=True), lambda: {"failed": 0}, lambda: 1 / 0)
    assert capsys.readouterr().out == '{\n  "failed": 0\n}\n'
    print_answer(Namespace(json=False), lambda: 1 / 0, lambda: (word for word in ("[*]", "free")))
    assert capsys.readouterr().out == "[*]\nfree\n"
