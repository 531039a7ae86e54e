"""Children of the demo: awaited with a deadline, and gone whatever happens to the demo."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.demo.children import Child, ChildError, interruptible
from tests.demo.conftest import alive, gone

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
# A parent that says who its child is, and then waits inside the block.
PARENT = """
import sys, time
from pathlib import Path
from proxy.demo.children import Child, interruptible
with interruptible(), Child("sleeper", ["-c", sys.argv[2]], Path(sys.argv[1])) as child:
    child.wait_for(lambda: child.output() or None, 20, "up")
    print(child.pid, flush=True)
    time.sleep(600)
"""


@contextmanager
def family(log: Path, child: str = SLEEP) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A parent process inside its `with Child` block, and the child's process id."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), child], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            yield parent, int(parent.stdout.readline())
        finally:
            parent.kill()


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("child", [SLEEP, STUBBORN], ids=["willing", "stubborn"])
def test_a_signal_to_the_parent_ends_the_child_too(tmp_path: Path, name: signal.Signals, child: str) -> None:
    with family(tmp_path / "log", child) as (parent, pid):
        assert alive(pid)
        parent.send_signal(name)
        parent.wait(20)
        assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_parent_that_is_killed_outright_takes_the_child_along(tmp_path: Path) -> None:
    with family(tmp_path / "log", STUBBORN) as (parent, pid):
        parent.kill()
        parent.wait(20)
        assert gone(pid)


def test_an_exception_in_the_block_ends_the_child_and_what_it_started(tmp_path: Path) -> None:
    script = (
        f"import subprocess, sys; other = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);"
        "print(other.pid, flush=True); other.wait()"
    )
    pids = []

    def fail_within() -> None:
        with Child("it", ["-c", script], tmp_path / "log") as child:
            child.wait_for(lambda: "up" in child.output() or None, 20, "up")
            pids.extend([child.pid, int(child.output().split()[0])])
            assert all(alive(pid) for pid in pids)
            raise RuntimeError("scene")

    with pytest.raises(RuntimeError, match="scene"):
        fail_within()
    assert all(gone(pid) for pid in pids)


def test_ctrl_c_on_the_terminal_reaches_the_parent_alone(tmp_path: Path) -> None:
    with Child("it", ["-c", SLEEP], tmp_path / "log") as child:
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


def test_an_early_end_is_told_with_the_last_words(tmp_path: Path) -> None:
    with (
        Child("it", ["-c", "print('no such folder'); raise SystemExit(3)"], tmp_path / "log") as child,
        pytest.raises(ChildError) as error,
    ):
        child.wait_for(lambda: None, 20, "serving")
    assert str(error.value).startswith("it ended with 3 before it was serving; it last said")
    assert str(error.value).endswith("no such folder")


def test_waiting_has_a_deadline(tmp_path: Path) -> None:
    with Child("it", ["-c", SLEEP], tmp_path / "log") as child:
        with pytest.raises(ChildError, match=r"it was not serving within 0 s"):
            child.wait_for(lambda: None, 0.0, "serving")
        with pytest.raises(ChildError, match=r"it had not ended after 0 s"):
            child.wait(0.01)
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
