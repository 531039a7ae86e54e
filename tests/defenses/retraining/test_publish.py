"""Versions appear whole, one run at a time; and go again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from defenses.retraining.publish import BusyError, PublishError, publishing


def model(folder: Path) -> None:
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "data").write_bytes(b"x" * 1000)
    (folder / "saved_model.pb").write_bytes(b"a model")


def test_the_next_version_after_the_highest_number(tmp_path: Path) -> None:
    for name in ("2", "10", "notes"):
        (tmp_path / name).mkdir()
    with publishing(tmp_path, "a test") as versions:
        assert versions.publish(model) == tmp_path / "11"
        assert versions.newest() == tmp_path / "11"
    assert (tmp_path / "11" / "variables" / "data").stat().st_size == 1000
    assert (tmp_path / "11").stat().st_mode & 0o055 == 0o055 & ~_umask(), "another user serves it"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    def broken(folder: Path) -> None:
        model(folder)
        raise RuntimeError("half way")

    with publishing(tmp_path, "a test") as versions:
        with pytest.raises(RuntimeError, match="half way"):
            versions.publish(broken)
        with pytest.raises(PublishError, match=r"without a saved_model\.pb"):
            versions.publish(lambda folder: folder.mkdir())
        assert versions.numbers() == [1]
    assert not list(tmp_path.glob(".retraining-*"))


def test_two_runs_never_publish_at_once(tmp_path: Path) -> None:
    holder = rf"the retraining of m, process {os.getpid()} on \S+, since 20\S+Z; wait until it has ended$"
    with publishing(tmp_path, "the retraining of m"):
        said = rf"^another run publishes to {tmp_path}: {holder}"
        with pytest.raises(BusyError, match=said), publishing(tmp_path, "another"):
            pass
    assert (tmp_path / ".retraining.lock").read_text() == "", "nobody has it"
    with publishing(tmp_path, "a test") as versions:
        assert versions.publish(model).name == "1"


KILLED = """
import sys, time
from pathlib import Path
from defenses.retraining.publish import publishing
def write(folder):
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
with publishing(Path(sys.argv[1]), "a run") as versions:
    versions.publish(write)
"""


def test_a_run_that_is_killed_leaves_no_version_and_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert [path.name for path in tmp_path.iterdir() if path.name.isdigit()] == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    with publishing(tmp_path, "a test") as versions:
        assert versions.publish(model) == tmp_path / "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".retraining.lock", "1"]


def test_a_version_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    """A watcher that looks all the time while versions are published never sees one without its last file."""
    script = (
        "import sys, time\nfrom pathlib import Path\nbase = Path(sys.argv[1])\nprint('looking', flush=True)\n"
        "end = time.monotonic() + 30\n"
        "while not (base / '20').exists() and time.monotonic() < end:\n"
        "    for folder in base.iterdir():\n"
        "        if folder.name.isdigit() and not (folder / 'last').is_file():\n"
        "            sys.exit(f'{folder} is not whole')\n"
    )

    def write(folder: Path) -> None:
        model(folder)
        time.sleep(0.005)
        (folder / "last").write_bytes(b"")

    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        with publishing(tmp_path, "a test") as versions:
            for _ in range(20):
                versions.publish(write)
        assert watcher.wait(60) == 0


def test_a_withdrawn_version_gives_way_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    with publishing(tmp_path, "a test") as versions:
        versions.publish(model)
        with pytest.raises(PublishError, match="nothing to go back to"):
            versions.withdraw(1)
        versions.publish(model)
        kept = versions.withdraw(2)
        assert (kept / "saved_model.pb").is_file()
        assert versions.newest() == tmp_path / "1"
        assert versions.publish(model) == tmp_path / "3"
        with pytest.raises(PublishError, match="has no version 2"):
            versions.withdraw(2)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="cannot be published to"), publishing(tmp_path / "no", "a test"):
        pass
    with (
        publishing(tmp_path, "a test") as versions,
        pytest.raises(PublishError, match="has no version with a saved_model"),
    ):
        versions.newest()
