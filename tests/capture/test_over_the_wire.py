"""Capture as callers and operators meet it: a real model, a real proxy, files that TensorFlow reads."""

import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from protos import serving_pb2 as serving
from proxy.capture.record import RecordedCall
from proxy.capture.source import Source
from tests.protection.conftest import Protect, Protected
from tests.protection.toy import X, classify, example, multi, predict_request, regress, send

ROWS = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)
BY_HEADER = {"order": ["forwarded_for"]}


def capture(folder: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(folder), "models": {"toy": 1}, **more}


def ask(protected: Protected, rows: Any = X, caller: str = "10.0.0.1") -> bytes:
    body = predict_request(x=np.asarray(rows, np.float32)).SerializeToString()
    return send(protected.channel, "Predict", body, **{"x-forwarded-for": caller})


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped(protected: Protected, folder: Path) -> list[RecordedCall]:
    """All that is captured, once the proxy has ended."""
    assert protected.proxy.process.stop() == 0
    assert not list(folder.rglob("*.unfinished"))
    source = Source([str(folder)])
    found = list(source)
    assert source.problems == []
    return found


def test_every_method_is_captured_and_tensorflow_reads_it(
    protect: Protect, direct: grpc.Channel, tmp_path: Path
) -> None:
    protected = protect({}, capture=capture(tmp_path / "c"))
    request = predict_request(x=X)
    reply = send(protected.channel, "Predict", request.SerializeToString())
    classify(protected.channel, [example(row) for row in X.tolist()])
    regress(protected.channel, [example(row) for row in X.tolist()], example([1.0] * 4))
    multi(protected.channel, "classify", [example(row) for row in X.tolist()])
    with pytest.raises(grpc.RpcError):
        send(protected.channel, "Predict", predict_request(z=X).SerializeToString())  # not answered
    found = stopped(protected, tmp_path / "c")
    assert [each.path.rpartition("/")[2] for each in found] == ["Predict", "Classify", "Regress", "MultiInference"]
    assert {each.rows for each in found} == {2}
    assert found[0].caller.id == "peer:127.0.0.1"

    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    files = sorted(map(str, (tmp_path / "c").glob("toy/*.tfrecord")))
    logs = [prediction_log_pb2.PredictionLog.FromString(each.numpy()) for each in tf.data.TFRecordDataset(files)]
    kinds = [each.WhichOneof("log_type") for each in logs]
    assert kinds == ["predict_log", "classify_log", "regress_log", "multi_inference_log"]
    np.testing.assert_array_equal(tf.make_ndarray(logs[0].predict_log.request.inputs["x"]), X)
    theirs = serving.PredictResponse.FromString(logs[0].predict_log.response.SerializeToString())
    assert theirs == serving.PredictResponse.FromString(reply)
    assert logs[0].log_metadata.model_spec.name == "toy"
    assert len(logs[2].regress_log.request.input.example_list_with_context.examples) == 2
    # What TensorFlow Serving does with a warm-up file: each request of it, as it is.
    for log, method in ((logs[0].predict_log, "Predict"), (logs[1].classify_log, "Classify")):
        assert send(direct, method, log.request.SerializeToString())


def test_nothing_is_captured_unless_asked_for(protect: Protect, tmp_path: Path) -> None:
    protected = protect({"limits": [{"by": "caller", "rate": "100000/s"}]})
    ask(protected)
    assert protected.count("tensorwall_captured_calls_total") == 0
    other = protect({}, capture={"path": str(tmp_path / "c"), "models": {"another": 1}})
    ask(other)
    assert protected.proxy.process.stop() == other.proxy.process.stop() == 0
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_the_models_own_answer_and_the_callers_own_request_are_captured(
    protect: Protect, direct: grpc.Channel, tmp_path: Path
) -> None:
    rules = {
        "inputs": {"x": {"range": [0, 4], "steps": [{"kind": "bit_depth", "bits": 1}]}},
        "outputs": {"*": {"on_mismatch": "pass", "steps": [{"kind": "label_only"}]}},
    }
    protected = protect(rules, capture=capture(tmp_path / "c"))
    told = serving.PredictResponse.FromString(ask(protected))
    (found,) = stopped(protected, tmp_path / "c")
    kept = serving.PredictResponse.FromString(found.reply)
    assert told.outputs["probs"] != kept.outputs["probs"], "the caller got the label only"
    assert serving.PredictRequest.FromString(found.body) == predict_request(x=X)


def test_callers_under_a_verdict_are_marked_and_capped_apart(protect: Protect, tmp_path: Path) -> None:
    own = [{"path": "tests.detection.own:Rows", "settings": {"most": 20}}]
    protected = protect(
        {"detection": {"mode": "shadow", "own": own}},
        identity=BY_HEADER,
        capture=capture(tmp_path / "c", rows_per_hour=12, rows_per_hour_under_verdict=8),
    )
    ask(protected, ROWS[:12])
    ask(protected, ROWS[12:24])
    until(lambda: protected.count("tensorwall_verdicts", subject="caller"))
    for _ in range(6):
        ask(protected)
    for _ in range(8):
        ask(protected, X, "10.9.0.2")
    assert protected.count("tensorwall_capture_dropped_calls_total", reason="verdict_cap") == 2
    assert protected.count("tensorwall_capture_dropped_calls_total", reason="cap") == 3
    found = stopped(protected, tmp_path / "c")
    marked = [each for each in found if each.marks]
    assert {each.caller.id for each in marked} == {"forwarded_for:10.0.0.1"}
    assert [each.rows for each in marked] == [2] * 4
    mark = marked[0].marks[0]
    assert (mark.technique, mark.step, mark.mode, mark.subject) == ("extraction", "block", "shadow", "caller")
    assert mark.profile == "defaults"
    assert sum(each.rows for each in found if each.caller.id == "forwarded_for:10.9.0.2") == 12
    assert found[0].caller.address == "10.0.0.0/24", "no address is kept"


def test_a_share_of_calls_is_captured(protect: Protect, tmp_path: Path) -> None:
    protected = protect({}, capture=capture(tmp_path / "c", models={"toy": 0.3}))
    for _ in range(300):
        ask(protected)
    found = stopped(protected, tmp_path / "c")
    assert 50 < len(found) < 130  # five standard deviations
    assert {each.share for each in found} == {0.3}


def reconfigure(protected: Protected, change: Callable[[dict[str, Any]], None]) -> None:
    process = protected.proxy.process
    path = Path(re.findall(r"--config\0([^\0]+)", Path(f"/proc/{process.process.pid}/cmdline").read_text())[0])
    config = yaml.safe_load(path.read_text())
    change(config)
    before = protected.count("tensorwall_config_reloads_total")
    path.write_text(yaml.safe_dump(config))
    os.kill(process.process.pid, signal.SIGHUP)
    until(lambda: protected.count("tensorwall_config_reloads_total") > before)


def test_a_reload_changes_it_without_loss(protect: Protect, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    protected = protect({}, capture=capture(one))
    for _ in range(50):
        ask(protected)
    reconfigure(protected, lambda config: config["capture"].update(path=str(two)))
    for _ in range(30):
        ask(protected)
    until(lambda: not list(one.rglob("*.unfinished")))
    reconfigure(protected, lambda config: config.pop("capture"))
    ask(protected)
    until(lambda: not list(two.rglob("*.unfinished")))
    assert protected.count("tensorwall_captured_calls_total") == 80
    assert len(list(Source([str(one)]))) == 50
    assert len(stopped(protected, two)) == 30
    assert stat.S_IMODE(next(one.rglob("*.tfrecord")).stat().st_mode) == 0o600


def test_a_kill_loses_no_finished_record(protect: Protect, tmp_path: Path) -> None:
    protected = protect({}, capture=capture(tmp_path / "c", file_records=8))
    for _ in range(20):
        ask(protected)
    until(lambda: protected.count("tensorwall_captured_calls_total") == 20)
    protected.proxy.process.kill()
    assert len(list((tmp_path / "c").rglob("*.unfinished"))) == 1
    assert len(list(Source([str(tmp_path / "c")]))) == 16
    again = protect({}, capture=capture(tmp_path / "c"))
    until(lambda: again.count("tensorwall_capture_files_total", outcome="recovered") == 1)
    assert len(stopped(again, tmp_path / "c")) == 20
    protected.proxy.process.process.returncode = 0  # it was this test that ended it


def test_a_full_disk_harms_no_call(protect: Protect, tmp_path: Path) -> None:
    place = tmp_path / "c"
    place.write_text("in the way")
    protected = protect({}, capture=capture(place))
    for _ in range(5):
        ask(protected)
    until(lambda: protected.count("tensorwall_capture_dropped_calls_total", reason="disk") == 5)
    assert protected.count("tensorwall_capture_failing") == 1
    assert protected.proxy.process.log().count("capture cannot write") == 1
    place.unlink()
    until(lambda: ask(protected) and protected.count("tensorwall_captured_calls_total"))
    assert protected.count("tensorwall_capture_failing") == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("path: s3x://b/p, spool: /tmp, models: {m: 1}", "s3x://"),
        ("path: memory://b, models: {m: 1}", "set spool"),
        ("path: /tmp/c, spool: /tmp/s, models: {m: 1}", "remove spool"),
        ("path: /tmp/c, models: {m: 2}", "less than or equal to 1"),
        ("path: /tmp/c, models: {}", "at least 1"),
        ("path: '', models: {m: 1}", "the path is empty"),
        ("path: /tmp/c, models: {m: 1}, disk_bytes: 1MiB", "less than two files"),
        ("models: {m: 1}", "is required"),
    ],
)
def test_mistakes_are_named(section: str, said: str) -> None:
    from proxy.config.load import ConfigError, parse

    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        parse(f"upstream: a:1\ncapture: {{{section}}}\n", {})
    assert ":2: capture" in str(caught.value)
