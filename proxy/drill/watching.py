"""What the target finds meanwhile: its verdicts, read off its admin port again and again."""

import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from proxy.admin.client import TOKEN_VARIABLE
from proxy.config.detection import STEPS, StepName
from proxy.drill.wire import DrillError, UsageError
from proxy.policy.verdict import harder

POLL = 0.05
"""Seconds between looks."""
SECONDS = 10.0
SETTLED = 60.0
"""Seconds for which detectors that are behind are waited for."""
QUEUE = "tensorwall_observation_queue_rows"
LOOKS = 3
"""With an empty queue and the same verdicts, after which nothing more is expected."""


class Admin:
    """A proxy's admin port.

    Args:
        address: host:port.
        model: whose verdicts.
        token: file with a bearer token; None: what the environment variable TENSORWALL_ADMIN_TOKEN holds, if anything.

    Raises:
        UsageError: the token cannot be read.
    """

    def __init__(self, address: str, model: str, token: Path | None = None) -> None:
        self._address, self._model = address, model
        try:
            secret = os.environ.get(TOKEN_VARIABLE, "") if token is None else token.read_text()
            self._headers = {"Authorization": f"Bearer {secret.strip()}"} if secret.strip() else {}
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--admin-token-file: {token} cannot be read: {error}") from None

    def verdicts(self) -> list[dict[str, Any]]:
        """Those that stand. Raises DrillError."""
        found: list[dict[str, Any]] = json.loads(
            self._get(f"/verdicts?{urllib.parse.urlencode({'model': self._model})}")
        )["verdicts"]
        return found

    def waiting(self) -> float:
        """Rows that the detectors have not seen yet. Raises DrillError."""
        lines = self._get("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(QUEUE + " "))

    def settle(self, seconds: float = SETTLED) -> None:
        """Waits until the detectors have seen everything, or so many seconds are over. Raises DrillError."""
        deadline, quiet, known = time.monotonic() + seconds, 0, -1
        while quiet < LOOKS and time.monotonic() < deadline:
            time.sleep(POLL)
            seen = len(self.verdicts())
            quiet = quiet + 1 if seen == known and not self.waiting() else 0
            known = seen

    def _get(self, path: str) -> str:
        url = f"http://{self._address}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=self._headers), timeout=SECONDS) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise UsageError(
                    f"--admin: {url} wants a token: set {TOKEN_VARIABLE}, or name a file with one as --admin-token-file"
                ) from None
            raise DrillError(f"--admin: {url} answers {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise DrillError(f"--admin: {url} does not answer: {error}") from None


@dataclass(frozen=True)
class Found:
    """What became of one attack's callers.

    Attributes:
        found_at: rows of the first verdict's subject when it was found, None if it never was.
        found_spent: rows that the attacker had spent when the verdict was first seen, over all its accounts.
        acted_at, acted_spent: the same for the first verdict on a step beyond observe.
        detector: of the first verdict's first evidence; of the first that acts, if one does.
        step: the hardest that was reached.
    """

    found_at: int | None = None
    found_spent: int | None = None
    acted_at: int | None = None
    acted_spent: int | None = None
    detector: str | None = None
    step: StepName | None = None


class Watching:
    """Looks at the verdicts while an attack runs; use it as a context manager, and then read `found`.

    Args:
        admin: to look at.
        spent: the attacker's rows so far.
        callers: the attacker's; empty if their ids are not known, and whatever is new counts.
        settle: waits, in the end, until the detectors have seen everything.

    Attributes:
        found: see `Found`.
    """

    def __init__(
        self, admin: Admin, spent: Callable[[], int], callers: Collection[str] = (), settle: float = SETTLED
    ) -> None:
        self.found = Found()
        self._admin, self._spent, self._callers, self._settle = admin, spent, frozenset(callers), settle
        self._before = {verdict["id"]: verdict["highest"] for verdict in admin.verdicts()}
        self._ended = threading.Event()
        self._failure: DrillError | None = None
        self._thread = threading.Thread(target=self._look, name="drill-watching", daemon=True)

    def __enter__(self) -> "Watching":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._wait()
            if self._failure is not None:
                raise self._failure

    def _look(self) -> None:
        try:
            while not self._ended.wait(POLL):
                self._take()
        except DrillError as failure:
            self._failure = failure

    def _wait(self) -> None:
        deadline, quiet, known = time.monotonic() + self._settle, 0, ""
        while quiet < LOOKS and time.monotonic() < deadline:
            time.sleep(POLL)
            seen = self._take()
            quiet = quiet + 1 if seen == known and not self._admin.waiting() else 0
            known = seen

    def _take(self) -> str:
        """Looks once; gives what there is to see, for comparison."""
        ours = [verdict for verdict in self._admin.verdicts() if self._is_ours(verdict)]
        acting = [verdict for verdict in ours if verdict["highest"] != "observe"]
        if ours:
            first = min(ours, key=lambda verdict: float(verdict["since"]))
            step = STEPS[max(STEPS.index(verdict["highest"]) for verdict in ours)]
            self.found = replace(self._first(first, acting), step=harder(self.found.step, step))
        return json.dumps(sorted((verdict["id"], verdict["highest"]) for verdict in ours))

    def _first(self, first: dict[str, Any], acting: list[dict[str, Any]]) -> Found:
        """What was found before stays; verdicts may have run out since."""
        found, spent = self.found, self._spent()
        if found.found_at is None:
            found = replace(found, found_at=int(first["found_at"]), found_spent=spent, detector=_detector(first))
        if found.acted_at is None and acting:
            acted = min(acting, key=lambda verdict: int(verdict["acted_at"]))
            found = replace(found, acted_at=int(acted["acted_at"]), acted_spent=spent, detector=_detector(acted))
        return found

    def _is_ours(self, verdict: dict[str, Any]) -> bool:
        if verdict["highest"] is None or self._before.get(verdict["id"], "") == verdict["highest"]:
            return False
        if not self._callers:
            return True
        kind, subject = verdict["subject"]["kind"], verdict["subject"]["id"]
        return subject in self._callers if kind == "caller" else bool(self._callers & set(verdict["callers"]))


def _detector(verdict: dict[str, Any]) -> str:
    return str(verdict["evidence"][0]["detector"]) if verdict["evidence"] else ""
