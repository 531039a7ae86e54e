"""`tensorwall callers`, `events` and `operators`, as an operator types them, against a running proxy."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from proxy.__main__ import main
from proxy.activity import caller_key
from proxy.admin.operators import Operators, token_hash
from proxy.config.admin import Operator
from tests.certificates import Authority
from tests.e2e.model_server import ModelServer
from tests.processes import TOKEN, Proxy, Running, free_port, serving_proxy

HOSTILE = "<b>\n\u202e" + "x" * 10_000


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ModelServer() as server:
        yield server.address


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "events.jsonl"


@pytest.fixture(scope="module")
def proxy(upstream: str, log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serving_proxy(tmp_path_factory.mktemp("cli"), upstream, events={"file": {"path": str(log)}}) as running:
        yield running


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tensorwall(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Exit code, standard output and standard error of a command."""

    def run(*arguments: str, token: str | None = TOKEN) -> tuple[int, str, str]:
        monkeypatch.delenv("TENSORWALL_ADMIN", raising=False)
        if token is None:
            monkeypatch.delenv("TENSORWALL_ADMIN_TOKEN", raising=False)
        else:
            monkeypatch.setenv("TENSORWALL_ADMIN_TOKEN", token)
        try:
            code = main(list(arguments))
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_callers_are_blocked_listed_shown_and_released(proxy: Proxy, tensorwall: Command) -> None:
    where = ("--admin", proxy.admin)
    name = "api_key:camera-7"
    code, out, _ = tensorwall("callers", "block", name, "--reason", "steals", "--for", "2h", "--model", "m", *where)
    assert code == 0
    assert out.startswith(f"block of {name} for m until 20")
    code, out, _ = tensorwall("callers", "list", *where)
    assert code == 0
    head, row = out.splitlines()
    assert head.split()[:2] == ["CALLER", "KEY"]
    assert row.split()[:3] == [name, caller_key(name), "blocked"]
    code, out, _ = tensorwall("callers", "show", caller_key(name), *where)
    assert "block for m until" in out
    assert "by tester: steals" in out
    code, out, _ = tensorwall("callers", "release", caller_key(name), "--reason", "sorry", "--json", *where)
    assert (code, json.loads(out)["action"]) == (0, "release")
    code, out, _ = tensorwall("callers", "immunise", name, "--reason", "ours", *where)
    assert code == 0
    code, out, _ = tensorwall("callers", "end-immunity", name, "--reason", "ours no more", *where)
    assert code == 0
    code, _, error = tensorwall("callers", "end-immunity", name, "--reason", "x", *where)
    assert code == 1
    assert "no immunity" in error


def test_mistakes_are_said_in_a_sentence(proxy: Proxy, tmp_path: Path, tensorwall: Command) -> None:
    where = ("--admin", proxy.admin)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert tensorwall("callers", "list", *where, "--token-file", str(tmp_path / "token"), token=None)[0] == 0
    for arguments, token, code, said in (
        (("list", *where), None, 2, "TENSORWALL_ADMIN_TOKEN"),
        (("list", *where), "a b", 2, "a token is needed"),
        (("list", *where), "wrong", 2, "not valid"),
        (("list", *where, "--token-file", "/nowhere"), None, 2, "/nowhere"),
        (("list", "--admin", f"127.0.0.1:{free_port()}"), TOKEN, 1, "is the proxy running"),
        (("list", "--admin", proxy.address), TOKEN, 1, proxy.address),
        (("list", "--admin", "nonsense"), TOKEN, 2, "write HOST:PORT"),
        (("list", "--admin", f"http://{proxy.admin}"), TOKEN, 2, "write HOST:PORT"),
        (("list", "--admin", "localhost:port"), TOKEN, 2, "write HOST:PORT"),
        (("list", *where, "--tls"), TOKEN, 1, "Without --tls"),
        (("block", HOSTILE, "--reason", "x", *where), TOKEN, 2, "at most 256 characters"),
        (("list", *where, "--limit", "0"), TOKEN, 2, "limit"),
        (("list", *where, "--ca", "/nowhere"), TOKEN, 2, "/nowhere"),
        (("show", "nobody", *where), TOKEN, 1, "no such caller"),
        (("block", "x", "--reason", "", *where), TOKEN, 2, "reason"),
        (("block", HOSTILE[:5], "--reason", HOSTILE[:600], *where), TOKEN, 2, "reason"),
        (("block", "x", "--reason", HOSTILE, *where), TOKEN, 1, "larger than"),
        (("block", "x", "--reason", "x", "--for", "soon", *where), TOKEN, 2, "write seconds"),
    ):
        found, _, error = tensorwall("callers", *arguments, token=token)
        assert (found, said in error) == (code, True), (arguments, error)
        assert not set(error) & {"\u202e"}


def test_the_port_is_reached_over_tls_and_a_socket(upstream: str, tmp_path: Path, tensorwall: Command) -> None:
    authority = Authority()
    cert, key = authority.server("localhost").write(tmp_path, "admin")
    tester = {"name": "t", "role": "operator", "sha256": token_hash(TOKEN)}
    port = free_port()
    for admin, tls, options in (
        (f"localhost:{port}", {"cert": str(cert), "key": str(key)}, ["--ca", str(authority.write(tmp_path))]),
        (f"unix:{tmp_path}/admin.sock", None, []),
    ):
        config = {
            "upstream": upstream,
            "listen": {"grpc": "127.0.0.1:0", "admin": admin},
            "admin": {"operators": [tester], "tls": tls},
            "shutdown": {"settle": 0},
            "log": {"format": "json"},
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        with Running("serve", "--config", str(tmp_path / "c.yaml")) as process:
            process.wait_until(lambda: "listening" in process.log(), "listening")
            code, out, error = tensorwall("callers", "list", "--admin", admin, *options)
            assert (code, out.split()[0]) == (0, "CALLER"), error
            if tls:
                code, _, error = tensorwall("callers", "list", "--admin", admin, "--tls")
                assert (code, "certificate is not to be trusted" in error, "--ca" in error) == (1, True, True), error
                code, _, error = tensorwall("callers", "list", "--admin", admin)
                assert (code, "does it speak TLS?" in error) == (1, True), error


def test_events_are_shown_filtered_and_followed(proxy: Proxy, tensorwall: Command) -> None:
    where = ("--admin", proxy.admin)
    tensorwall("callers", "immunise", "one", "--reason", f"a {HOSTILE[:5]}", "--model", "toy", *where)
    code, out, _ = tensorwall("events", "--kind", "action", "--limit", "1", *where)
    (line,) = out.splitlines()
    assert code == 0
    assert line.endswith(r"action                 immunise one for toy by tester: a <b>\n\u202e")
    assert tensorwall("events", "--kind", "action", "--model", "other", *where)[1].count("immunise one") == 0
    with Running("events", "--follow", "--json", *where, environment={"TENSORWALL_ADMIN_TOKEN": TOKEN}) as follower:
        follower.wait_until(lambda: "immunise" in follower.log(), "showing the latest")
        tensorwall("callers", "end-immunity", "one", "--model", "toy", "--reason", "over", *where)
        follower.wait_until(lambda: "end_immunity" in follower.log(), "showing the next")
        ids = [event["id"] for event in follower.events()]
        assert len(set(ids)) == len(ids)


def test_a_log_is_followed_across_files_and_verified(
    proxy: Proxy, log: Path, tmp_path: Path, tensorwall: Command
) -> None:
    deadline = time.monotonic() + 10
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tensorwall("events", "--verify", str(log), token=None)[0] == 0
    copy = tmp_path / "events.jsonl"
    copy.write_bytes(log.read_bytes())
    code, out, _ = tensorwall("events", "--verify", str(copy), token=None)
    head = out.split("head ")[1].split()[0].rstrip(",")
    assert "the log is whole" in out
    assert tensorwall("events", "--verify", str(copy), "--anchor", head, token=None)[0] == 0
    code, out, _ = tensorwall("events", "--verify", str(copy), "--anchor", "0" * 64, token=None)
    assert code == 1
    lines = copy.read_bytes().splitlines(keepends=True)
    tampered = tmp_path / "tampered.jsonl"
    tampered.write_bytes(b"".join([lines[0].replace(b"proxy.started", b"proxy.stopped"), *lines[1:]]))
    code, out, _ = tensorwall("events", "--verify", str(tampered), token=None)
    assert code == 1
    assert f"{tampered}:2:" in out
    assert "is NOT whole" in out
    for arguments in (("--verify", "/nowhere"), ("--anchor", "0" * 64), ("--verify", str(copy), "--anchor", "x")):
        assert tensorwall("events", *arguments, token=None)[0] == 2
    with Running("events", "--follow", "--json", "--file", str(copy)) as follower:
        follower.wait_until(lambda: len(follower.events()) == len(lines), "showing what is there")
        with copy.open("ab") as file:
            file.write(lines[-1][:20])
            file.flush()
            file.write(lines[-1][20:])
        follower.wait_until(lambda: len(follower.events()) == len(lines) + 1, "showing what was appended")
        copy.rename(tmp_path / "events.jsonl.1")
        copy.write_bytes(lines[0])
        follower.wait_until(lambda: len(follower.events()) == len(lines) + 2, "showing the next file")


def test_an_operator_is_made_with_a_token_that_is_shown_once(tensorwall: Command) -> None:
    code, out, error = tensorwall(
        "operators", "add", "--name", "alice@example", "--role", "viewer", "--expires", "2100-01-31"
    )
    assert code == 0
    token = out.strip()
    assert len(token) > 43
    assert token not in error
    (line,) = [line for line in error.splitlines() if line.strip().startswith("- {")]
    operator = Operator.model_validate(yaml.safe_load(line)[0])
    assert Operators([operator]).by_token(token) == operator
    for wrong in (
        ("--name", "a b", "--role", "viewer"),
        ("--name", "a", "--role", "root"),
        ("--name", "a", "--role", "viewer", "--expires", "soon"),
        ("--name", "a", "--role", "viewer", "--expires", "2001-01-01"),
    ):
        assert tensorwall("operators", "add", *wrong)[0] == 2
