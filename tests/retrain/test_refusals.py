"""What the command refuses: exit 1 and a sentence, before or after training, and the served folder stays as it was."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="the extra retrain is not installed")
tf = pytest.importorskip("tensorflow", reason="the extra retrain is not installed")
# Its first import sets logging up anew, which makes absl close what was stderr when TensorFlow was imported: not in a
# test that captures.
pytest.importorskip("art.attacks.evasion", reason="the extra retrain is not installed")

from defenses.retraining.lock import locked  # noqa: E402
from defenses.retraining.publish import BusyError, publishing  # noqa: E402
from proxy.__main__ import main  # noqa: E402
from tests.defenses.retraining.subjects import digits  # noqa: E402
from tests.retrain.jobs import write_job  # noqa: E402

pytestmark = pytest.mark.timeout(600)
ONCE = {"epochs": 1, "batch": 100, "check": {"every_epochs": 1, "rows": 50, "steps": 2}}
HARDLY = {"optimizer": {"learning_rate": 1e-7}}
PLAIN = {"kind": "fgsm", "clean": 1.0}


@keras.saving.register_keras_serializable("tests")
class Rounded(keras.layers.Layer):  # type: ignore[name-defined]  # an import that may be skipped
    """Through which no gradient goes, but in training."""

    def call(self, x: Any, training: bool = False) -> Any:
        return x if training else tf.round(x * 2) / 2


def rounded(start: str) -> Any:
    """The model of a file, behind a rounding of its logits."""
    whole = keras.saving.load_model(start)
    return keras.Model(whole.inputs, Rounded()(whole.outputs[0]))


def fresh(shape: list[int], classes: int = 10) -> Any:
    """Without any training."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(classes)]
    return keras.Sequential([keras.Input(tuple(shape), name="image"), *layers])


def _factory(name: str, **settings: Any) -> dict[str, Any]:
    return {"file": None, "factory": f"{__name__}:{name}", "settings": settings}


class Refused:
    """One run of the command on a job in `folder`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *arguments: str, **changes: Any) -> tuple[int, str]:
        """Exit code and all that was said."""
        job = write_job(self.folder, **changes)
        code = main(["retrain", "--job", str(job), *arguments])
        said = self._capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Refused]:
    yield Refused(tmp_path, capsys)
    numbers = [path.name for path in (tmp_path / "served").iterdir() if path.name.isdigit()]
    assert numbers == ["1"], "nothing was published"
    assert not (tmp_path / "retraining.prom").exists()


def test_worse_clean_accuracy(run: Refused) -> None:
    model = _factory("fresh", shape=[8, 8, 1])
    code, said = run(model=model, training={**ONCE, **HARDLY}, gates={"clean_loss": 0.02})
    assert code == 1
    assert "refused by the gate of clean accuracy: clean accuracy goes from " in said
    assert "and may fall by 2.0% at most." in said
    report = (run.folder / "out" / "report.html").read_text()
    assert "and may fall by 2.0% at most." in report
    assert {path.name for path in (run.folder / "out").iterdir()} >= {"report.json", "curve.svg", "training.svg"}


def test_masked_gradients(run: Refused) -> None:
    model = _factory("rounded", start=str(run.folder / "start.keras"))
    code, said = run(model=model, method=PLAIN, training={**ONCE, **HARDLY})
    assert code == 1
    assert "refused by the gate of masked gradients: the robust accuracy cannot be believed: " in said
    assert "so gradients are masked." in said


def test_changed_outputs(run: Refused) -> None:
    code, said = run(model=_factory("fresh", shape=[8, 8, 1], classes=11), training=ONCE)
    assert code == 1
    assert "refused by the gate of signatures: callers would notice: " in said


@pytest.mark.parametrize("shape", [(64,), (9, 9, 1)])
def test_changed_inputs_are_told_before_training(run: Refused, shape: tuple[int, ...]) -> None:
    rows = run.folder / "other.npz"
    np.savez(rows, x=np.resize(digits().train, (200, *shape)), y=digits().train_labels[:200])
    data = {"train": {"kind": "npz", "file": str(rows)}, "test": None}
    code, said = run(model=_factory("fresh", shape=list(shape)), data=data, training=ONCE)
    assert code == 1
    assert f"refused by the gate of signatures: {run.folder}/served/1 does not take rows of {shape}" in said
    assert not (run.folder / "out" / "candidate.keras").exists()


def test_poison(run: Refused) -> None:
    data = digits()
    callers = np.array([f"caller-{n % 3}" for n in range(90)])
    poisoned = run.folder / "reviewed.npz"
    np.savez(poisoned, x=data.test[:90], y=(data.test_labels[:90] + 1) % 10, caller=callers)
    captured = {"file": str(poisoned)}
    code, said = run(data={"captured": captured}, training=ONCE)
    assert code == 2
    assert "looks poisoned: caller caller-0: " in said
    assert not (run.folder / "out" / "candidate.keras").exists()
    code, said = run("--no-publish", data={"captured": {**captured, "poisoned": "report"}}, training=ONCE)
    assert code == 1, "a candidate of one epoch is not worth it"
    assert "poison in data.captured, let in by the job: caller caller-0: " in said
    assert "They look poisoned, and the job let them in" in (run.folder / "out" / "report.html").read_text()


def test_another_run_goes_on(run: Refused) -> None:
    (run.folder / "out").mkdir()
    with locked(run.folder / "out" / ".lock", "a test"):
        code, said = run(training=ONCE)
    assert code == 1
    assert f"/out/.lock is locked by a test, process {os.getpid()} on " in said
    assert "; wait until it has ended, or name another folder" in said
    with publishing(run.folder / "served", "a test"):
        code, said = run(training=ONCE)
        assert code == 1
        assert f"job.yaml: another run publishes to {run.folder}/served: a test, process {os.getpid()} on " in said
        assert not (run.folder / "out" / "metrics.jsonl").exists(), "it is told before the training"
        code, said = run("--dry-run", training=ONCE)
        assert code == 0, "it publishes nothing"


def test_the_served_folder_is_this_run_s_from_before_the_training(
    run: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defenses.retraining import run as runs

    found = list[str]()

    def looked(prepared: Any, step_done: Any) -> Any:
        found.append((run.folder / "served" / ".retraining.lock").read_text())
        with pytest.raises(BusyError), publishing(run.folder / "served", "a test"):
            pass
        return train(prepared, step_done)

    train = runs.train
    monkeypatch.setattr(runs, "train", looked)
    code, _ = run(model=_factory("fresh", shape=[8, 8, 1]), training={**ONCE, **HARDLY})
    assert code == 1, "a gate refuses it"
    assert found[0].startswith(f"the retraining of digits, process {os.getpid()} on ")


def test_what_publishes_nothing_leaves_no_lock(run: Refused) -> None:
    code, _ = run("--no-publish", model=_factory("fresh", shape=[8, 8, 1]), training={**ONCE, **HARDLY})
    assert code == 1, "a gate refuses it"
    assert [path.name for path in (run.folder / "served").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("publish", "message"),
    [
        ({"base": "/nowhere"}, "publish.base: there is no folder /nowhere"),
        ({"base": "{folder}"}, "has no version with a saved_model.pb"),
        ({"textfile": "/nowhere/digits.prom"}, "publish.textfile: /nowhere is no folder that can be written"),
        ({"output": "scores"}, "there is no 'scores'"),
    ],
)
def test_what_a_publication_would_fail_by_is_told_at_once(run: Refused, publish: dict[str, str], message: str) -> None:
    given = {key: value.format(folder=run.folder) for key, value in publish.items()}
    code, said = run("--dry-run", publish=given, training=ONCE)
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    "value", ["[]", '{"cluster": {"worker": ["127.0.0.1:4000"]}}', '{"cluster": {"worker": []}, "task": {}}']
)
def test_a_tf_config_that_names_no_worker(run: Refused, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TF_CONFIG", value)
    code, said = run(strategy="multi_worker", training=ONCE)
    assert code == 2
    assert f"job.yaml: strategy: TF_CONFIG is {value!r}: " in said
    assert said.count("\n") == 1
    assert not (run.folder / "out").exists()


def test_a_dry_run_leaves_the_last_run_as_it_was(run: Refused) -> None:
    out = run.folder / "out"
    out.mkdir()
    (out / "metrics.jsonl").write_text('{"kind": "epoch", "step": 14}\n')
    code, _ = run("--dry-run", training=ONCE)
    assert code == 0
    assert [path.name for path in out.iterdir()] == ["metrics.jsonl"]
    assert (out / "metrics.jsonl").read_text() == '{"kind": "epoch", "step": 14}\n'
