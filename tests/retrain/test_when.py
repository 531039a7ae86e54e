"""A run that is not due ends at once, before TensorFlow is imported; and the manifest that starts it."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from defenses.retraining.schedule import DAY, note_success, stamp
from proxy.retrain import cli

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes" / "retrain-cronjob.yaml"


def job(folder: Path, **publish: Any) -> Path:
    values = {
        "name": "m",
        "model": {"file": str(folder / "no.keras"), "gives": "logits"},
        "data": {"train": {"kind": "npz", "file": str(folder / "no.npz")}},
        "method": {"kind": "fgsm"},
        "epsilon": {"value": 0.1},
        "training": {"epochs": 1},
        "output": str(folder / "out"),
        **({"publish": {"base": str(folder), **publish}} if publish else {}),
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args(arguments))


def test_what_is_not_due_ends_at_once(tmp_path: Path) -> None:
    textfile = tmp_path / "m.prom"
    note_success(textfile, "m", time.time() - 3 * DAY)
    log = tmp_path / "events.jsonl"
    verdict = {"id": "a", "model": "m", "step": "block", "mode": "enforce"}
    log.write_text(json.dumps({"event": "verdict.new", "time": stamp(time.time() - DAY), "verdict": verdict}) + "\n")
    given = ["--job", str(job(tmp_path, textfile=str(textfile))), "--when", "attacks>=2,days>=7", "--events", str(log)]
    code = (
        "import sys; from proxy.__main__ import main; code = main(); assert 'tensorflow' not in sys.modules; "
        "sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", code, "retrain", *given], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        "m: not due: the last success was 3.0 days ago, and 7 must lie between.\n"
        "m: not due: 1 attacks were confirmed since the last success, and 2 are needed.\n"
    )


def test_conditions_that_cannot_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--job", str(job(tmp_path)), "--when", "days>=7") == 2
    assert "--when needs publish.textfile" in capsys.readouterr().err
    file = str(job(tmp_path, textfile=str(tmp_path / "m.prom")))
    assert run("--job", file, "--when", "attacks>=1") == 2
    assert "with --events" in capsys.readouterr().err
    assert run("--job", file, "--when", "attacks>=1", "--events", str(tmp_path / "no")) == 2
    assert "there is no such audit log" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        run("--job", file, "--when", "sometimes")
    assert raised.value.code == 2


def test_the_cron_job_runs_one_at_a_time_and_a_command_that_there_is() -> None:
    spec = yaml.safe_load(MANIFEST.read_text())["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    each = spec["jobTemplate"]["spec"]
    assert each["activeDeadlineSeconds"] > 0
    assert each["backoffLimit"] > 0
    (container,) = each["template"]["spec"]["containers"]
    assert container["command"] == ["tensorwall", "retrain"]
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    parser.parse_args(container["args"])
    volumes = {volume["name"] for volume in each["template"]["spec"]["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}
