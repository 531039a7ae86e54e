"""`tensorwall demo` as a user meets it: to the end, on a terminal, interrupted, and with a server that dies."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.demo.conftest import DEMO, FirstRun, alive, gone

SECONDS = 90.0
ENTER, CTRL_C = b"\n", b"\x03"
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A demo on a terminal of its own.

    Attributes:
        process: the demo.
        text: what it has written so far, servers' process ids included.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.text = ""
        self._descriptor = descriptor

    def read_until(self, words: str) -> None:
        """Reads on until `words` are there."""
        deadline = time.monotonic() + SECONDS
        while words not in self.text:
            assert time.monotonic() < deadline, f"no {words!r} in:\n{self.text}"
            assert self._read(), f"ended without {words!r}:\n{self.text}"

    def type(self, keys: bytes) -> None:
        """As from the keyboard."""
        os.write(self._descriptor, keys)

    def end(self) -> int:
        """Reads to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    @property
    def servers(self) -> list[int]:
        """The process ids that the story names."""
        return [int(pid) for pid in re.findall(r"\(process (\d+)\)", self.text)]

    def _read(self) -> bool:
        readable, _, _ = select.select([self._descriptor], [], [], SECONDS)
        try:
            read = os.read(self._descriptor, 65536) if readable else b""
        except OSError:  # the other side is closed
            read = b""
        self.text += read.decode(errors="replace").replace("\r\n", "\n")
        return bool(read)


@contextmanager
def terminal(first_run: FirstRun) -> Iterator[Terminal]:
    """A demo in a session of its own whose controlling terminal is a pty; its model is kept already."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", TAKE_TERMINAL, *DEMO, "--cache", str(first_run.cache)]
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


def test_it_tells_the_whole_story_and_ends_by_itself(first_run: FirstRun) -> None:
    out = first_run.done.stdout
    assert (first_run.done.returncode, first_run.done.stderr) == (0, ""), out
    assert re.search(r"trained in [\d.]+ s; 9\d\.\d% right on test images", out)
    direct, proxied = re.findall(r"360 test images .*: +([\d.]+)% right", out)
    assert direct == proxied
    assert "4 of 4 replies have the same bytes both ways" in out
    assert "NOT_FOUND 'Servable not found for request: Latest(nobody)'" in out
    assert re.search(r"a tensor of 17 bytes claims 400 MB.*\n +INVALID_ARGUMENT", out)
    assert "HandleReloadConfigRequest: PERMISSION_DENIED" in out
    assert 'tensorwall_calls_total{code="PERMISSION_DENIED"' in out
    assert "none of those accepted failed" in out
    assert "exit code 0 after" in out
    assert "\x1b" not in out, "no colour where there is no terminal"


def test_it_leaves_nothing_behind(first_run: FirstRun) -> None:
    servers = [int(pid) for pid in re.findall(r"\(process (\d+)\)", first_run.done.stdout)]
    assert len(servers) == 2
    assert not any(alive(pid) for pid in servers)
    assert list(first_run.temporary.iterdir()) == []


def test_on_a_terminal_it_stays_until_enter(first_run: FirstRun) -> None:
    with terminal(first_run) as demo:
        demo.read_until("the model server itself listens on")
        assert "kept from an earlier run" in demo.text
        admin = re.findall(r"http://[\d.:]+/metrics", demo.text)[-1]
        with urllib.request.urlopen(admin, timeout=10) as page:
            assert b"tensorwall_calls_total" in page.read()
        demo.type(ENTER)
        assert demo.end() == 0, demo.text
        assert "none of those accepted failed" in demo.text
        assert "\x1b[1m" in demo.text
        assert all(gone(pid) for pid in demo.servers)


def test_ctrl_c_in_the_middle_leaves_nothing_behind(first_run: FirstRun) -> None:
    with terminal(first_run) as demo:
        demo.read_until("the proxy is ready")
        demo.type(CTRL_C)
        assert demo.end() == 1
        assert "interrupted; nothing is left running" in demo.text
        assert "Traceback" not in demo.text
        assert len(demo.servers) == 2
        assert all(gone(pid) for pid in demo.servers)


def test_a_server_that_dies_fails_the_story(first_run: FirstRun) -> None:
    with terminal(first_run) as demo:
        demo.read_until("the proxy is ready")
        os.kill(demo.servers[0], signal.SIGKILL)
        assert demo.end() == 1, demo.text
        assert "tensorwall demo: " in demo.text
        assert "Traceback" not in demo.text
        assert all(gone(pid) for pid in demo.servers)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [*DEMO, "--cache", str(tmp_path / "file" / "cache")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert re.search(r"the model cannot be kept \(Not a directory\); name another folder.*file/cache", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback(first_run: FirstRun) -> None:
    command = shlex.join([*DEMO, "--cache", str(first_run.cache)])
    done = subprocess.run(["sh", "-c", f"{command} | head -2"], capture_output=True, text=True, timeout=60, check=False)
    assert "Images" in done.stdout
    assert done.stderr == ""
