"""Which versions are loaded: at the start, as folders come and go, and while calls run. `refresh` is one look."""

import logging
import shutil
import threading
from pathlib import Path

import pytest

from proxy.embedded import models
from proxy.embedded.apis import model_pb2
from proxy.embedded.models import Model, ModelError, Models, State
from proxy.embedded.predict import predict
from proxy.embedded.status import StatusError
from tests.embedded import requests
from tests.embedded.requests import X, spec


@pytest.fixture
def base(saved: Path, tmp_path: Path) -> Path:
    """A base path of its own with version 1 of toy."""
    shutil.copytree(saved / "toy" / "1", tmp_path / "toy" / "1")
    return tmp_path / "toy"


def add(saved: Path, base: Path, version: int, like: int = 2) -> Path:
    """A further version, complete at once."""
    shutil.copytree(saved / "toy" / str(like), base / "writing")
    return (base / "writing").rename(base / str(version))


def states(model: Model) -> dict[int, int]:
    return {version: status.state for version, status in model.statuses()}


def logits(model: Model, version: int | None = None) -> tuple[int, float]:
    """The version that answers and the first number of its answer: 6 x version for the toys 1 and 2."""
    reply = predict(Models([model]), requests.predict(spec(version=version), x=X), None)
    return reply.model_spec.version.value, round(reply.outputs["logits"].float_val[0])


def test_the_newest_and_the_labelled_are_loaded(saved: Path, base: Path) -> None:
    for version in (2, 3, 10):
        add(saved, base, version)
    model = Model("toy", base, {"stable": 2})
    assert states(model) == {10: State.AVAILABLE, 2: State.AVAILABLE}
    assert model.newest == 10
    with pytest.raises(StatusError, match=r"Servable not found for request: Specific\(toy, 3\)"):
        logits(model, 3)


def test_a_new_version_takes_over(saved: Path, base: Path) -> None:
    model = Model("toy", base, {})
    assert logits(model) == (1, 6)
    add(saved, base, 2)
    model.refresh()
    assert logits(model) == (2, 12)
    assert states(model) == {2: State.AVAILABLE, 1: State.END}


def test_a_labelled_version_stays(saved: Path, base: Path) -> None:
    model = Model("toy", base, {"stable": 1})
    add(saved, base, 2)
    model.refresh()
    assert (logits(model), logits(model, 1)) == ((2, 12), (1, 6))


def test_a_folder_that_is_still_being_written_is_not_looked_into(saved: Path, base: Path) -> None:
    model = Model("toy", base, {})
    shutil.copytree(saved / "toy" / "2" / "variables", base / "2" / "variables")
    model.refresh()
    assert states(model) == {1: State.AVAILABLE}
    shutil.copy(saved / "toy" / "2" / "saved_model.pb", base / "2")
    model.refresh()
    assert logits(model) == (2, 12)


def test_a_model_file_before_its_variables_is_tried_again_when_they_are_there(
    saved: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model("toy", base, {})
    (base / "2").mkdir()
    shutil.copy(saved / "toy" / "2" / "saved_model.pb", base / "2")
    for _ in range(3):
        model.refresh()
    assert logits(model) == (1, 6)
    (version, status), *_ = model.statuses()
    assert (version, status.state) == (2, State.END)
    assert status.error_code != 0
    assert status.error_message
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1, "tried once while nothing changes"
    shutil.copytree(saved / "toy" / "2" / "variables", base / "2" / "variables")
    model.refresh()
    assert logits(model) == (2, 12)
    assert model.statuses()[0][1].error_code == 0


def test_a_broken_version_hides_no_good_one_below_it(saved: Path, base: Path) -> None:
    model = Model("toy", base, {})
    add(saved, base, 2)
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"\xffno protobuf")
    model.refresh()
    assert logits(model) == (2, 12)
    assert states(model) == {3: State.END, 2: State.AVAILABLE, 1: State.END}


def test_a_removed_version_gives_way_to_the_one_below(saved: Path, base: Path) -> None:
    add(saved, base, 2)
    model = Model("toy", base, {})
    shutil.rmtree(base / "2")
    model.refresh()
    assert logits(model) == (1, 6)
    add(saved, base, 2)
    model.refresh()
    assert logits(model) == (2, 12)


@pytest.mark.parametrize("gone", ["1", "."])
def test_the_last_version_stays_when_its_folder_goes(base: Path, gone: str, caplog: pytest.LogCaptureFixture) -> None:
    model = Model("toy", base, {})
    shutil.rmtree(base / gone)
    for _ in range(3):
        model.refresh()
    assert logits(model) == (1, 6)
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


def test_names_that_are_no_versions_are_passed_over(saved: Path, base: Path) -> None:
    for name in ("2a", "-3", "latest", "٤", str(2**63)):
        shutil.copytree(saved / "toy" / "2", base / name)
    (base / "5").write_text("a file")
    model = Model("toy", base, {})
    model.refresh()
    assert states(model) == {1: State.AVAILABLE}


def test_a_version_in_use_is_unloaded_when_its_last_call_has_ended(saved: Path, base: Path) -> None:
    model = Model("toy", base, {})
    add(saved, base, 2)
    with model.lease(None) as servable:
        model.refresh()
        assert states(model) == {2: State.AVAILABLE, 1: State.UNLOADING}
        assert logits(model) == (2, 12), "new calls get the new version"
        (output,) = servable.run(
            [("serving_default_x:0", X)], [servable.signatures["serving_default"].outputs["logits"].name], None
        )
        assert round(output.value[0, 0]) == 6, "the call in flight still has the old one"
    assert states(model) == {2: State.AVAILABLE, 1: State.END}
    with pytest.raises(StatusError):
        servable.run([], ["NoOp"], None)


def test_a_version_that_comes_back_while_it_drains_stays_available(saved: Path, base: Path) -> None:
    add(saved, base, 2)
    model = Model("toy", base, {})
    with model.lease(2):
        shutil.rmtree(base / "2")
        model.refresh()
        add(saved, base, 2)
        model.refresh()
    assert states(model) == {2: State.AVAILABLE, 1: State.END}
    assert logits(model) == (2, 12)


def test_no_call_fails_while_versions_change(saved: Path, base: Path) -> None:
    model = Model("toy", base, {})
    done, wrong, answered = threading.Event(), [], []

    def call() -> None:
        while not done.is_set():
            try:
                answered.append(logits(model))
            except StatusError as error:
                wrong.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for version in range(2, 8):
        add(saved, base, version, like=2 - version % 2)
        model.refresh()
    done.set()
    for caller in callers:
        caller.join()
    assert not wrong
    assert {first for _, first in answered} <= {6, 12}
    assert all(first == 6 * (2 - version % 2) for version, first in answered), "each answer is its version's own"
    assert states(model) == {7: State.AVAILABLE} | dict.fromkeys(range(1, 7), State.END)


def test_ended_versions_are_forgotten_beyond_a_bound(saved: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_ENDED_VERSIONS", 2)
    model = Model("toy", base, {})
    for version in range(2, 6):
        add(saved, base, version)
        model.refresh()
    assert states(model) == {5: State.AVAILABLE, 4: State.END, 3: State.END}


def test_closing_ends_runs_in_flight(saved: Path) -> None:
    model = Model("sleeper", saved / "sleeper", {})
    ended: list[Exception] = []

    def sleep() -> None:
        try:
            predict(Models([model]), requests.predict(spec("sleeper"), seconds=[60.0]), None)
        except StatusError as error:
            ended.append(error)

    caller = threading.Thread(target=sleep)
    caller.start()
    while caller.is_alive():
        model.close()
        caller.join(0.01)
    assert len(ended) == 1


def test_a_spec_of_another_model(base: Path) -> None:
    served = Models([Model("toy", base, {})])
    with (
        pytest.raises(StatusError, match=r"Servable not found for request: Latest\(other\)"),
        served.lease(model_pb2.ModelSpec(name="other")),
    ):
        raise AssertionError("nothing to lease")


def test_a_start_without_anything_to_serve_says_what_is_missing(saved: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    shutil.copytree(base, tmp_path / "broken")
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"\xff")
    expected = {
        tmp_path / "none": r"there is no folder .*/none",
        tmp_path / "empty": r"has no version folder with a SavedModel, such as .*/empty/1/saved_model.pb",
        tmp_path / "file": r"cannot be read: Not a directory",
        base / "1": r"is itself a SavedModel, where its version folders should be; give the folder above it, .*/toy$",
        tmp_path / "broken": r"/broken/1 cannot be loaded as a SavedModel: .",
    }
    for folder, message in expected.items():
        with pytest.raises(ModelError, match="^model toy: .*" + message) as raised:
            Model("toy", folder, {})
        assert "\n" not in str(raised.value)


def test_a_start_with_a_label_on_nothing_names_the_versions(saved: Path, base: Path) -> None:
    add(saved, base, 2)
    with pytest.raises(ModelError, match=r"^label toy:stable=7: .* has no version 7, only 1, 2$"):
        Model("toy", base, {"stable": 7})
    (base / "1" / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"^label toy:stable=1: .*/1 cannot be loaded: ."):
        Model("toy", base, {"stable": 1})


def test_a_start_with_a_broken_newest_serves_the_one_below(saved: Path, base: Path) -> None:
    add(saved, base, 2)
    (base / "2" / "saved_model.pb").write_bytes(b"\xff")
    assert logits(Model("toy", base, {})) == (1, 6)
