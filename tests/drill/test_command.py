"""`tensorwall drill` against real proxies in front of a real model."""

import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.__main__ import main
from proxy.drill.choice import attack, chosen
from proxy.drill.expect import Bounds, Expectations
from proxy.drill.material import Material, read
from proxy.drill.results import Results
from proxy.drill.slowly import slowly
from proxy.drill.wire import Model
from tests.drill.conftest import Drill
from tests.processes import Backend
from tests.protection.conftest import Protected

Finding = Callable[..., Protected]


def runs(results: dict[str, Any], mode: str) -> list[dict[str, Any]]:
    return [run for run in results["runs"] if run["mode"] == mode]


def test_an_attack_is_measured_with_and_without_protection(
    finding: Finding, drill: Drill, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected, plot = finding(most=20), tmp_path / "drill.png"
    more = ["--attacks", "oars_square", "--budget", "300", "--runs", "2", "--rate", "200", "--forwarded"]
    code, results = drill(protected, *more, "--epsilon", "0.02", "--plot", str(plot))
    assert code == 0
    assert len(runs(results, "off")) == len(runs(results, "on")) == 2
    for run in runs(results, "off"):
        assert (run["found_at"], run["step"], run["watched"], run["refused"]) == (None, None, False, 0)
        assert run["rows"] <= run["budget"] == 300
        assert run["figures"]["success"] in (0, 1)
    for run in runs(results, "on"):
        assert (run["detector"], run["step"]) == ("rows", "block")
        assert 20 < run["found_at"] == run["acted_at"] <= run["acted_spent"] + 1
        assert run["refused"] >= 20, "an attacker gives up when nothing is answered any more"
        assert run["ended"] == "refused"
    printed = capsys.readouterr().out
    assert "| OARS Square |" in printed
    assert "2 of 2" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_what_is_there_is_not_run_again(finding: Finding, drill: Drill) -> None:
    protected = finding(most=10**6)
    more = ["--attacks", "membership_confidence", "--forwarded"]
    _, first = drill(protected, *more)
    _, again = drill(protected, *more, "--runs", "2")
    assert again["runs"][:2] == first["runs"]
    assert [run["run"] for run in runs(again, "on")] == [0, 1]
    seen = protected.count("tensorwall_observed_rows_total")
    assert seen > 0
    _, third = drill(protected, *more, "--runs", "2")
    assert third == again
    assert protected.count("tensorwall_observed_rows_total") == seen


def test_accounts_are_callers(finding: Finding, drill: Drill) -> None:
    more = ["--attacks", "membership_confidence", "--budget", "60", "--forwarded"]
    _, results = drill(finding(most=35), *more)
    assert runs(results, "on")[0]["found_at"] is not None
    _, results = drill(finding(most=35), *more, "--accounts", "3")
    spread = next(run for run in runs(results, "on") if run["accounts"] == 3)
    assert (spread["rows"], spread["found_at"]) == (60, None), "nobody sent more than 35"


def test_api_keys_are_accounts(
    finding: Finding, drill: Drill, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records, keys = tmp_path / "keys.yaml", tmp_path / "keys.txt"
    for owner in ("one", "two"):
        assert main(["keys", "add", "--owner", owner, "--file", str(records)]) == 0
    keys.write_text(capsys.readouterr().out)
    protected = finding(35, "refuse", order=["api_key"], api_keys={"file": str(records)})
    more = ["--attacks", "membership_confidence", "--budget", "60", "--keys", str(keys)]
    code, results = drill(protected, *more, "--accounts", "2", "--spread", "random")
    assert code == 0
    assert runs(results, "on")[0]["rows"] == 60
    keys.write_text("tw_wrong_key\n")
    code, _ = drill(protected, *more)
    assert code == 1
    assert "UNAUTHENTICATED" in capsys.readouterr().err


def test_benign_callers_over_the_wire(finding: Finding, drill: Drill, tmp_path: Path) -> None:
    _, left_alone = drill(finding(most=10**6), "--attacks", "none", "--benign", "20", "--forwarded")
    assert sum(kind["callers"] for kind in left_alone["benign"]) == 20
    assert sum(kind["callers_acted"] + kind["rows_acted"] for kind in left_alone["benign"]) == 0
    (tmp_path / "drill.json").unlink()
    _, all_found = drill(finding(most=0), "--attacks", "none", "--benign", "20", "--forwarded")
    assert sum(kind["callers_acted"] for kind in all_found["benign"]) == 20
    assert sum(kind["rows_acted"] for kind in all_found["benign"]) > 0


def test_benign_callers_in_simulated_time(
    finding: Finding, drill: Drill, data: Path, toy: Backend, tmp_path: Path
) -> None:
    rows = tmp_path / "benign.npz"
    np.savez(rows, x=np.random.default_rng(1).normal(0, 2, (900, 4)).astype(np.float32))
    where = ["--target", toy.address, "--model", "toy", "--input", "x", "--data", str(rows)]
    profile = tmp_path / "profile.json"
    assert main(["calibrate", *where, "--callers", "60", "--rate", "0.02", "--out", str(profile)]) == 0
    more = ["--attacks", "none", "--simulated", "40", "--profile", str(profile), "--forwarded"]
    code, results = drill(finding(most=10**6), *more)
    assert code == 0
    assert sum(kind["callers"] for kind in results["benign"]) == 40
    assert sum(kind["callers_acted"] for kind in results["benign"]) < 20
    assert {kind["how"] for kind in results["benign"]} == {"simulated"}
    parts, scale = read(data, None, np.random.default_rng(0))
    with Model(toy.address, "toy", scale) as model:
        square = attack("oars_square")
        material = Material("toy", **parts, epsilon=0.001)
        run = slowly("oars_square@9s", square, 9.0, 10, model, material, profile, 0, [0], np.random.default_rng(0))
    assert (run.mode, run.rows, run.seconds, run.watched) == ("simulated", 500, 500 * 9.0, True)
    assert run.found_at is None or 0 < run.found_at <= 500


def test_slow_attacks_let_others_pass(finding: Finding, drill: Drill) -> None:
    protected = finding(most=10**6)
    code, results = drill(protected, "--attacks", "oars_square+slow", "--budget", "20", "--forwarded")
    assert code == 0
    spent = runs(results, "on")[0]["rows"]
    assert protected.count("tensorwall_observed_rows_total") >= 11 * spent - 10
    nameless = finding(10**6, order=["peer"])
    code, _ = drill(nameless, "--attacks", "oars_hop_skip_jump+slow", "--budget", "20")
    assert code == 2, "bystanders need accounts of their own"


def test_broken_expectations_end_with_1_and_a_sentence_each(
    finding: Finding, drill: Drill, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = tmp_path / "expect.yaml"
    wanted.write_text("membership: {found: all, median_rows: 40}\nbenign: {acted_on: 0.001}\n")
    more = ["--attacks", "membership_confidence", "--forwarded", "--benign", "20", "--expect", str(wanted)]
    code, _ = drill(finding(most=10**6), *more)
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not as expected: ")]
    assert code == 1
    assert len(sentences) == 2
    assert "found in 0 of 1 runs; expected: all" in sentences[0]
    (tmp_path / "drill.json").unlink()
    wanted.write_text("membership: {found: all, median_rows: 40}\n")
    assert drill(finding(most=20), *more)[0] == 0
    assert main(["drill", "--report", str(tmp_path / "drill.json"), "--expect", str(wanted)]) == 0
    wanted.write_text("evasion: {found: all}\n")
    assert main(["drill", "--report", str(tmp_path / "drill.json"), "--expect", str(wanted)]) == 1


def test_without_admin_and_direct_it_says_what_is_not_known(
    finding: Finding, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected = finding(10**6, order=["peer"])
    where = ["--target", protected.proxy.address, "--model", "toy", "--data", str(data), "--attacks", "oars_square"]
    assert main(["drill", *where, "--budget", "30"]) == 0
    printed = capsys.readouterr()
    assert "without --admin" in printed.err
    assert "without --direct" in printed.err
    assert "| ? |" in printed.out


MISTAKES = {
    "--target is missing": ["--model", "toy"],
    "there is no attack 'squares'; known: hop_skip_jump": ["--attacks", "squares"],
    "there is no disguise 'hat'": ["--attacks", "square+hat"],
    "--runs: 0 is too few": ["--runs", "0"],
    "give --keys FILE or --forwarded": ["--accounts", "3"],
    "needs the target's --profile": ["--simulated", "5"],
    "name it with --output": ["--logits"],
    "no output of toy is a distribution": ["--attacks", "oars_square", "--output", "nothing"],
    "no such file": ["--expect", "nowhere.yaml"],
    "takes x": ["--input", "y"],
    "--budget: 0 is too few": ["--budget", "0"],
    "--seed: -1 is too few": ["--seed", "-1"],
    "--rate: -1.0 is too few": ["--rate", "-1"],
    "--epsilon: nan is no change of a row": ["--epsilon", "nan"],
    "--range: 1 0 holds no values": ["--range", "1", "0"],
    "--plot: . is a folder": ["--plot", "."],
    "none of square can be run with this --data": ["--attacks", "square"],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_mistakes_are_told_in_a_sentence(
    said: str, toy: Backend, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--target", toy.address, "--model", "toy", "--data", str(data)]
    assert main(["drill", *(where if "--target" not in said else []), *MISTAKES[said]]) == 2
    printed = capsys.readouterr()
    assert said.lower() in printed.err.lower()
    assert "Traceback" not in printed.err


def test_expectations_of_what_is_not_run_are_told_before_it_begins(
    toy: Backend, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expect = tmp_path / "expect.yaml"
    where = [
        "--target",
        toy.address,
        "--model",
        "toy",
        "--data",
        str(data),
        "--attacks",
        "oars_square",
        "jacobian+noise",
    ]
    for key in ("evasoin", "square", "inversion"):
        expect.write_text(f"{key}: {{found: all}}")
        assert main(["drill", *where, "--expect", str(expect)]) == 2
        assert f"{key!r} is none of the attacks that are run" in capsys.readouterr().err
    expectations = Expectations.read(expect).model_copy(update={"attacks": {"*+noise": Bounds(), "evasion": Bounds()}})
    expectations.fit(chosen(["oars_square", "jacobian+noise"]), Results())


def test_data_that_does_not_fit(toy: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.npz"
    rows = np.zeros((5, 4), np.float32)
    for arrays, said in (
        ({"z": rows}, "has no array 'x'"),
        ({"x": rows}, "has no array 'y'"),
        ({"x": rows, "y": np.zeros(4, int)}, "y is int64 of shape (4,)"),
        ({"x": rows.astype(str), "y": np.zeros(5, int)}, "must be numbers"),
        ({"x": rows, "y": np.zeros(5, int), "pool_x": rows[:, :2]}, "pool_x is float32 of shape (5, 2)"),
        ({"x": rows[:, :3], "y": np.zeros(5, int)}, "rows of shape (3,) do not fit; toy takes x of (any, 4)"),
    ):
        np.savez(path, **arrays)
        assert main(["drill", "--target", toy.address, "--model", "toy", "--data", str(path)]) == 2
        assert said in capsys.readouterr().err


def test_the_admin_token_is_sent(
    toy: Backend, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Guarded(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Bearer s3cret"
            self.send_response(200 if known else 401)
            self.end_headers()
            if known:
                self.wfile.write(json.dumps({"verdicts": []}).encode() if "verdicts" in self.path else b"")

        def log_message(self, *ignored: Any) -> None: ...

    token = tmp_path / "token"
    token.write_text("s3cret\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        admin = f"127.0.0.1:{server.server_port}"
        where = ["--target", toy.address, "--admin", admin, "--model", "toy", "--data", str(data)]
        attack = ["--attacks", "membership_confidence", "--budget", "40"]
        monkeypatch.delenv("TENSORWALL_ADMIN_TOKEN", raising=False)
        assert main(["drill", *where, *attack]) == 2
        assert "--admin-token-file" in capsys.readouterr().err
        assert main(["drill", *where, *attack, "--admin-token-file", str(token)]) == 0
        monkeypatch.setenv("TENSORWALL_ADMIN_TOKEN", "s3cret")
        assert main(["drill", *where, *attack]) == 0
    finally:
        server.shutdown()
        server.server_close()
