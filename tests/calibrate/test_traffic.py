"""Profiles from recorded traffic and from a running proxy's."""

import json
import threading
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.engine import DETECTORS
from detectors.features import Extractor
from detectors.profile import Profile
from proxy.__main__ import main
from proxy.admin.client import AdminClient
from proxy.calibrate.listen import listened
from proxy.calibrate.recorded import recorded
from proxy.calibrate.traffic import TrafficError
from proxy.capture.observed import ScalingSample, from_wire, observation, to_wire
from proxy.capture.record import RecordedCall
from proxy.config.detection import Detection
from tests.capture.made import MARK, call, write
from tests.processes import TOKEN
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import predict_request, send

RNG = np.random.default_rng(0)
SALT = b"0123456789abcdef"
SCALES = np.array([1, 100, 0.01, 5], np.float32)


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORWALL_ADMIN_TOKEN", TOKEN)


def calls(callers: int = 40, each: int = 20) -> Iterator[RecordedCall]:
    for at in range(callers * each):
        yield call(1000.0 + at, RNG.normal(0, 1, (1, 4)) * SCALES, who=f"10.0.{at % callers}.1")


def calibrate(*arguments: str, out: Path) -> int:
    return main(["calibrate", "--model", "toy", "--rate", "0.02", "--out", str(out), *arguments])


def test_a_profile_is_learned_from_a_recording_and_used(protect: Protect, tmp_path: Path) -> None:
    write(tmp_path / "c" / "a.tfrecord", calls())
    out = tmp_path / "toy.json"
    assert calibrate("--capture", str(tmp_path / "c"), out=out) == 0
    profile = Profile.read(out)
    assert (profile.model, profile.callers, profile.rows, profile.rate) == ("toy", 40, 800, 0.02)
    np.testing.assert_allclose(profile.scaling["x"].scale, SCALES, rtol=0.2)
    assert 700 < profile.seconds < 800
    protected = protect({"detection": {"mode": "enforce", "profile": str(out)}})
    assert protected.count("tensorwall_profile_info", profile=profile.digest) == 1


def test_callers_under_a_verdict_are_left_out_with_all_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = [call(1000.0 + at, RNG.normal(50, 1, (10, 4)), who="10.9.9.9") for at in range(5)]
    marked = [call(2000.0, RNG.normal(50, 1, (10, 4)), who="10.9.9.9", marks=[MARK])]
    other = [call(3000.0, RNG.normal(0, 1, (10, 4)), model="another")]
    write(tmp_path / "c" / "a.tfrecord", [*calls(), *attack])
    write(tmp_path / "c" / "b.tfrecord", [*marked, *other], end=b"torn")
    assert calibrate("--capture", str(tmp_path / "c"), out=tmp_path / "toy.json") == 0
    printed = capsys.readouterr().out
    assert "left out 60 rows of 1 callers under a verdict" in printed
    assert "b.tfrecord: damaged at byte" in printed
    profile = Profile.read(tmp_path / "toy.json")
    assert (profile.callers, profile.rows) == (40, 800)


def test_what_makes_a_recording_worse_is_said(tmp_path: Path) -> None:
    by_defaults = type(MARK)()
    by_defaults.CopyFrom(MARK)
    by_defaults.profile = "defaults"
    found = [call(1.0, share=0.5), call(2.0, who="10.0.0.2", marks=[by_defaults])]
    write(tmp_path / "a.tfrecord", found)
    traffic = recorded([str(tmp_path)], "toy", Detection(), SALT)
    assert len(traffic.observations) == 1
    notes = "\n".join(traffic.notes)
    assert "1 of these callers were found by the stated defaults alone" in notes
    assert "50% of the calls were captured" in notes


def test_the_wire_keeps_an_observation_as_it_is() -> None:
    made = observation(call(rows=RNG.normal(0, 1, (7, 4))), Detection(), Extractor(SALT))
    assert made is not None
    again = from_wire(to_wire(made, True), "toy")
    for name in ("digests", "fingerprints", "embeddings"):
        np.testing.assert_array_equal(getattr(made.features, name), getattr(again.features, name))
    for name in ("classes", "margins", "entropies"):
        np.testing.assert_array_equal(getattr(made.answers, name), getattr(again.answers, name))
    assert (again.time, again.caller, again.groups) == (made.time, made.caller, made.groups)


def test_no_caller_alone_gives_the_scale_of_columns() -> None:
    extractor = Extractor(SALT)
    sample = ScalingSample(Detection(), extractor, 200)
    for at in range(300):
        sample.add(call(float(at), RNG.normal(7, 1, (50, 4)), who="10.9.9.9"))
    assert not sample.enough
    assert sample.scaling() == {}
    for at in range(40):
        sample.add(call(float(at), RNG.normal(0, 1, (10, 4)) * SCALES, who=f"10.0.{at}.1"))
    assert sample.enough
    np.testing.assert_allclose(sample.scaling()["x"].scale[:2], SCALES[:2], rtol=0.5)
    images = ScalingSample(Detection(), extractor, 200)
    images.add(call(rows=RNG.normal(0, 1, (2, 8, 8, 1))))
    assert images.enough, "images need none"


class Traffic(threading.Thread):
    """Callers that go on until told to stop: forty plain ones, and one that sends far more."""

    def __init__(self, protected: Protected, greedy: bool = False) -> None:
        super().__init__(daemon=True)
        self._protected = protected
        self._greedy = greedy
        self.ended = threading.Event()

    def run(self) -> None:
        turn = 0
        while not self.ended.is_set():
            self._send(f"10.0.{turn % 40}.1", 10)
            time.sleep(0.01)  # so that a fast machine has not far more to learn from than a slow one
            if self._greedy and turn % 10 == 0:
                self._send("10.9.9.9", 400)
            turn += 1

    def _send(self, who: str, rows: int) -> None:
        body = predict_request(x=(RNG.normal(0, 1, (rows, 4)) * SCALES).astype(np.float32)).SerializeToString()
        send(self._protected.channel, "Predict", body, **{"x-forwarded-for": who})


@pytest.fixture
def watching(protect: Protect) -> Protected:
    own = [{"path": "tests.detection.own:Rows", "settings": {"most": 2000}}]
    built_in = dict.fromkeys(DETECTORS, False)  # stated defaults know nothing of this model
    detection = {"mode": "shadow", "inputs": ["x"], "own": own, "detectors": built_in}
    return protect({"detection": detection}, identity={"order": ["forwarded_for"]})


def test_a_profile_is_learned_from_a_live_window(
    watching: Protected, protect: Protect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic = Traffic(watching, greedy=True)
    traffic.start()
    try:
        assert calibrate("--live", watching.proxy.admin, "--seconds", "4", out=tmp_path / "toy.json") == 0
    finally:
        traffic.ended.set()
        traffic.join()
    printed = capsys.readouterr().out
    assert "of 1 callers under a verdict" in printed
    profile = Profile.read(tmp_path / "toy.json")
    assert profile.callers == 40
    assert 1 < profile.seconds < 5
    np.testing.assert_allclose(profile.scaling["x"].scale, SCALES, rtol=0.3)
    assert watching.count("tensorwall_live_rows_total", outcome="sent") > profile.rows
    assert watching.count("tensorwall_live_rows_total", outcome="dropped") == 0
    again = protect({"detection": {"mode": "enforce", "profile": str(tmp_path / "toy.json")}})
    assert again.count("tensorwall_profile_info", profile=profile.digest) == 1


def client(protected: Protected) -> AdminClient:
    return AdminClient(protected.proxy.admin, Namespace(token_file=None, tls=False, ca=None))


def asking(protected: Protected, body: Any, content: str = "application/json") -> urllib.request.Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return urllib.request.Request(
        f"http://{protected.proxy.admin}/observations",
        data,
        {"Content-Type": content, "Authorization": f"Bearer {TOKEN}"},
    )


def post(protected: Protected, body: Any, content: str = "application/json") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(asking(protected, body, content), timeout=5) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_window_is_refused_with_the_reason(watching: Protected) -> None:
    for change, code, said in (
        ({"model": "nobody"}, 404, "does not watch the model 'nobody'"),
        ({"model": 3}, 400, "model"),
        ({"seconds": 0}, 400, "seconds: 0"),
        ({"seconds": True}, 400, "seconds: true"),
        ({"seconds": 10**9}, 400, "up to 86400"),
        ({"salt": "00"}, 400, "16 to 64 bytes"),
        ({"salt": "zz"}, 400, "hexadecimal"),
        ({"salt": None}, 400, "salt"),
    ):
        answer = post(watching, {"model": "toy", "seconds": 1, "salt": "00" * 16} | change)
        assert answer[0] == code, change
        assert said in answer[1]
    for body in (b"", b"[]", b"nonsense", b"\xff", b"[" * 900):
        assert post(watching, body)[0] == 400, body
    assert post(watching, b"x" * 5000)[0] == 413
    assert post(watching, {"model": "toy"}, "text/plain")[0] == 415


def test_a_model_has_one_window_and_another_when_its_listener_has_gone(watching: Protected) -> None:
    wanted = {"model": "toy", "seconds": 60, "salt": "00" * 16}
    with urllib.request.urlopen(asking(watching, wanted), timeout=5):
        assert post(watching, wanted)[0] == 409
    deadline = time.monotonic() + 20
    while post(watching, wanted | {"seconds": 0.1})[0] == 409:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_proxy_that_stops_ends_its_windows(watching: Protected) -> None:
    heard: list[Any] = []
    listener = threading.Thread(target=lambda: heard.append(listened(client(watching), "toy", 60, SALT)), daemon=True)
    listener.start()
    time.sleep(0.5)
    assert watching.proxy.process.stop() == 0
    listener.join(20)
    assert heard[0].notes == ["the window ended early: the proxy stops"]


def test_a_proxy_that_dies_is_told(watching: Protected) -> None:
    told: list[TrafficError] = []

    def listen() -> None:
        try:
            listened(client(watching), "toy", 60, SALT)
        except TrafficError as error:
            told.append(error)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    time.sleep(0.5)
    watching.proxy.process.kill()
    listener.join(20)
    assert str(told[0]).startswith(f"--live: {watching.proxy.admin}")
    watching.proxy.process.process.returncode = 0  # it was this test that ended it


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "one of the arguments --data --capture --live is required"),
        (["--capture", "a", "--live", "b:1"], 2, "not allowed with"),
        (["--capture", "a", "--target", "b:1"], 2, "--target: means nothing with --capture"),
        (["--data", "a", "--input", "x"], 2, "--target: --data needs it"),
        (["--data", "a", "--target", "b:1"], 2, "a: cannot be read: No such file"),
        (["--data", "a", "--target", "b:1", "--input", "x", "--seconds", "4"], 2, "--seconds: means nothing"),
        (["--live", "b:1"], 2, "--seconds: --live needs it"),
        (["--live", "b:1", "--seconds", "0"], 2, "--seconds: 0 is no time to listen"),
        (["--live", "b:1", "--seconds", "1", "--output", "p"], 2, "--output: means nothing with --live"),
        (["--live", "127.0.0.1:1", "--seconds", "1"], 1, "refused"),
        (["--capture", "/nowhere"], 1, "there is no such file"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended: object = calibrate(*arguments, out=tmp_path / "out.json")
    except SystemExit as end:  # argparse's way
        ended = end.code
    assert ended == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert not (tmp_path / "out.json").exists()


def test_a_recording_of_another_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.tfrecord", [call(model="another")])
    assert calibrate("--capture", str(tmp_path), out=tmp_path / "out.json") == 1
    assert "there are calls of another" in capsys.readouterr().err
