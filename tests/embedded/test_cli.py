"""`tensorwall backend` as a user meets it: what it prints, how it ends, and one sentence for each mistake."""

import argparse
import logging
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.embedded import cli
from tests.embedded.conftest import connect
from tests.embedded.requests import X, predict, spec
from tests.processes import Backend

BANNER = re.compile(
    r"^tensorwall backend: serving (.+) on (127\.0\.0\.1:\d+) \((.+ for trying out and tests, not .+)\)$"
)


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    """`run` takes over the signals and the log of its process, which is this one here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    root.setLevel(level)
    root.handlers[:] = handlers


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="tensorwall backend")
    cli.add_arguments(made)
    return made


def test_importing_the_command_imports_neither_tensorflow_nor_grpc() -> None:
    code = "import sys, proxy.embedded.cli; sys.exit(bool({'tensorflow', 'grpc', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_line_once_it_serves_and_a_clean_end(saved: Path, tmp_path: Path) -> None:
    """SIGINT here; SIGTERM is how every other test ends its server."""
    shutil.copytree(saved / "toy" / "1", tmp_path / "toy" / "1")
    (tmp_path / "toy" / "7").mkdir()
    (tmp_path / "toy" / "7" / "saved_model.pb").write_bytes(b"\xff")
    arguments = [
        "--model",
        f"toy={tmp_path}/toy",
        "--model",
        f"sleeper={saved}/sleeper",
        "--port",
        "0",
        "--poll",
        "0.05",
    ]
    command = [sys.executable, "-m", "proxy", "backend", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        banner = BANNER.match(process.stdout.readline())
        assert banner is not None
        assert banner[1] == "toy (version 1) sleeper (version 1)"
        one = connect(banner[2])
        shutil.copytree(saved / "toy" / "2", tmp_path / "toy" / "writing")
        (tmp_path / "toy" / "writing").rename(tmp_path / "toy" / "2")
        while one.prediction.Predict(predict(x=X), timeout=20).model_spec.version.value == 1:
            pass
        one.prediction.Predict(predict(spec("sleeper"), seconds=[0.0]), timeout=20)
        one.channel.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    broken, *lines = [line.split(" ", 2)[2] for line in err.splitlines()]
    assert broken.startswith("WARNING model toy: version 7 cannot be loaded: ")
    assert lines == [
        "INFO model toy: version 1 loaded",
        "INFO model sleeper: version 1 loaded",
        "INFO model toy: version 2 loaded",
        "INFO model toy: version 1 unloaded",
    ], "nothing of TensorFlow's own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --model"),
        (["--model", "toy"], "'toy' is not NAME=DIR"),
        (["--model", "=dir"], "'=dir' is not NAME=DIR"),
        (["--model", "toy=d", "--port", "70000"], "'70000' is not a port from 0 to 65535"),
        (["--model", "toy=d", "--port", "-1"], "'-1' is not a port"),
        (["--model", "toy=d", "--poll", "0"], "'0' is not a number of seconds above 0"),
        (["--model", "toy=d", "--poll", "nan"], "'nan' is not a number of seconds above 0"),
        (["--model", "toy=d", "--label", "toy=1"], "'toy=1' is not MODEL:LABEL=VERSION"),
        (["--model", "toy=d", "--label", "toy:stable=x"], "'toy:stable=x' is not MODEL:LABEL=VERSION"),
    ],
)
def test_arguments_that_are_none(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def ends_with(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence on standard error of a start that must fail with 2."""
    assert cli.run(parser().parse_args(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (sentence,) = captured.err.splitlines()
    assert sentence.startswith("tensorwall backend: ")
    assert sentence.endswith(".")
    return sentence


def test_models_that_cannot_be_served(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1").mkdir()
    assert "there is no folder" in ends_with(capsys, "--model", f"toy={tmp_path}/nope")
    assert "has no version folder" in ends_with(capsys, "--model", f"toy={tmp_path}")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff")
    assert "cannot be loaded as a SavedModel" in ends_with(capsys, "--model", f"toy={tmp_path}")
    assert "is itself a SavedModel" in ends_with(capsys, "--model", f"toy={saved}/toy/1")
    assert "--model toy is given twice" in ends_with(capsys, "--model", f"toy={saved}/toy", "--model", "toy=/")


def test_a_start_that_fails_says_one_sentence_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff")
    command = [sys.executable, "-m", "proxy", "backend", "--model", f"toy={tmp_path}", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith(f"tensorwall backend: model toy: {tmp_path}/1 cannot be loaded as a SavedModel: ")


def test_without_tensorflow_it_names_the_extra(saved: Path) -> None:
    code = "import sys; sys.modules['tensorflow'] = None; from proxy.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "backend", "--model", f"toy={saved}/toy", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("The embedded server needs the extra: pip install 'tensorwall[tensorflow]'.\n")
    assert len(ended.stderr.splitlines()) == 1


def test_labels_that_cannot_be_given(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ("--model", f"toy={saved}/toy")
    assert "there is no --model other" in ends_with(capsys, *toy, "--label", "other:a=1")
    assert "--label toy:a is given twice" in ends_with(capsys, *toy, "--label", "toy:a=1", "--label", "toy:a=2")
    assert "has no version 9, only 1, 2" in ends_with(capsys, *toy, "--label", "toy:a=9")


def test_a_port_or_host_that_cannot_be_had(saved: Path, backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ("--model", f"toy={saved}/toy")
    assert "cannot be listened on" in ends_with(capsys, *toy, "--port", backend.address.rpartition(":")[2])
    assert "cannot be listened on" in ends_with(capsys, *toy, "--port", "0", "--host", "no.such.host.invalid")


def test_a_stop_before_it_serves_is_a_clean_end_too(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_stop_on_signals", lambda stop: stop.set())
    assert cli.run(parser().parse_args(["--model", f"toy={saved}/toy", "--port", "0"])) == 0
    assert BANNER.match(capsys.readouterr().out.rstrip())
