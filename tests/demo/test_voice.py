"""How the demo speaks: plain where nobody looks, readable pictures."""

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from proxy.demo.voice import Voice, picture, quiet


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environment", "emphasis"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_emphasis_is_for_terminals_that_want_it(
    out: io.StringIO, environment: Mapping[str, str], emphasis: bool
) -> None:
    Voice(out, environment).title("A title")
    assert ("\x1b[1mA title\x1b[0m" in out.getvalue()) is emphasis
    assert "A title" in out.getvalue()


def test_lines_are_indented_without_trailing_blanks() -> None:
    out = io.StringIO()
    Voice(out, {})("one\n\ntwo  ")
    assert out.getvalue() == "  one\n\n  two\n"


def test_a_picture_is_as_wide_as_it_looks() -> None:
    assert picture(np.array([[[0.0], [1.0]], [[0.5], [0.05]]], np.float32)) == ["  @@", "++  "]
    large = np.zeros((28, 28, 1), np.float32)
    large[2:4] = 1.0
    assert picture(large) == [" " * 28, "@" * 28, *[" " * 28] * 12]


def test_quiet_sends_native_output_to_a_file_and_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(tmp_path / "log"):
        os.write(2, b"from C++\n")
    sys.stderr.write("heard\n")
    assert capfd.readouterr().err == "heard\n"
    assert (tmp_path / "log").read_text() == "from C++\n"
