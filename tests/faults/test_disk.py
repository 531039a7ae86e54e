"""A disk that is full, for captured calls and the audit log at once: no call suffers, nothing is torn, losses are told.

`tests/capture/test_files.py`, `tests/events/test_log.py` and `tests/events/test_outlets.py` have the writers alone.
"""

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.activity import caller_key
from proxy.capture.tfrecord import records
from proxy.events.chain import check
from tests.admin.browser import ask
from tests.e2e.model_server import ModelServer
from tests.faults.seen import Load, State, figure, settles, until
from tests.processes import Proxy, serving_proxy
from tests.protection.toy import X, predict_request

ROOM = 64 * 1024
BODY = predict_request(x=X).SerializeToString()
"""Its reply is as long, so that a captured call takes about 300 bytes."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of ROOM bytes; what becomes full is the disk itself (ENOSPC)."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tensorwall-test", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here ({made.stderr.decode().strip()}); the limit on files is tried")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Full:
    """Makes a proxy's disk full, and frees it again.

    Args:
        place: a folder on it.
        limited: no file system of its own, but a limit of ROOM bytes to each file (EFBIG).
    """

    def __init__(self, place: Path, limited: bool) -> None:
        self.place = place
        self._limited = limited

    def fill(self, proxy: Proxy) -> None:
        """A file system of ROOM bytes fills by itself."""
        if self._limited:
            resource.prlimit(proxy.process.process.pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))

    def free(self, proxy: Proxy) -> None:
        if self._limited:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(proxy.process.process.pid, resource.RLIMIT_FSIZE, unlimited)
        else:
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.place)], check=True)


@pytest.fixture(params=["disk", "limit"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Full]:
    place = tmp_path / "place"
    place.mkdir()
    with small_disk(place) if request.param == "disk" else contextlib.nullcontext():
        yield Full(place, limited=request.param == "limit")


def test_a_full_disk_costs_no_call_and_tears_nothing(tmp_path: Path, full: Full) -> None:
    audit = full.place / "audit.jsonl"
    settings: dict[str, Any] = {
        "models": {"toy": {}},
        "capture": {"path": str(full.place / "calls"), "models": {"toy": 1.0}},
        "events": {"file": {"path": str(audit)}},
    }
    with ModelServer() as server, serving_proxy(tmp_path, server.address, **settings) as proxy:
        before = State.of(proxy)
        with Load([proxy.address], callers=4, deadline=5, body=BODY) as load:
            load.until(20)
            full.fill(proxy)
            until(lambda: figure(proxy, "tensorwall_capture_failing") == 1, "unable to capture")
            until(lambda: _decided(proxy) and _outlet(proxy, "failed") > 0, "unable to write events")
            load.until(50)
            assert figure(proxy, "tensorwall_events_waiting", outlet="file") > 0
            full.free(proxy)
            until(lambda: figure(proxy, "tensorwall_capture_failing") == 0, "capturing again")
            until(lambda: figure(proxy, "tensorwall_events_waiting", outlet="file") == 0, "all events written")
            load.until(20)
            load.end()
        assert set(load.codes) == {"OK"}
        settles(proxy, before)
        until(lambda: figure(proxy, "tensorwall_capture_queue_bytes") == 0, "all written that was taken")
        written = figure(proxy, "tensorwall_captured_calls_total")
        dropped = figure(proxy, "tensorwall_capture_dropped_calls_total")
        assert written + dropped == sum(load.codes.values()), "each call was written or its loss counted"
        assert proxy.process.log().count("capture cannot write") <= 2, "told once, not with each call"
        events = figure(proxy, "tensorwall_events_total")
        assert proxy.process.stop() == 0
    assert sum(_whole(path) for path in (full.place / "calls").rglob("*.tfrecord")) == written
    found = check([audit])
    assert (found.problems, found.lost) == ([], 0)
    assert found.lines >= events


def _decided(proxy: Proxy) -> bool:
    """An operator's action, which the audit log must have."""
    name = "peer:10.9.9.9"
    asked = {"reason": "x" * 200, "name": name}
    return ask(proxy.admin, f"/api/v1/callers/{caller_key(name)}/block", "POST", asked).status == 200


def _outlet(proxy: Proxy, outcome: str) -> float:
    return figure(proxy, "tensorwall_event_deliveries_total", outlet="file", outcome=outcome)


def _whole(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in records(file))
