"""The story: what an operator would try first, one small scene each, checked as it is told."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from proxy.demo.stage import CALL_SECONDS, DRAIN_SECONDS, SETTLE_SECONDS, SceneError, Stage
from proxy.demo.voice import picture

PREDICT = "/tensorflow.serving.PredictionService/Predict"
IMAGES = 1000
"""How many test images are sent through the proxy, at most."""
BATCH = 100
CALLS = 300
"""Calls timed on each way."""
BOMB_ELEMENTS = 100_000_000

Images = NDArray[np.float32]


def expect(condition: bool, expected: str, got: object) -> None:
    """Raises SceneError unless the condition holds."""
    if not condition:
        raise SceneError(f"expected {expected}, got {got}")


def one_picture(stage: Stage) -> None:
    """One test image, the three likeliest classes and the true one."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(stage.proxied)
    answer = stub.Predict(predict_request(stage, stage.dataset.x_test[:1]), timeout=CALL_SECONDS)
    scores = np.array(answer.outputs["probabilities"].float_val)
    lines = [f"{stage.dataset.class_names[best]:12} {scores[best]:7.2%}" for best in scores.argsort()[:-4:-1]]
    lines += ["", f"in truth: {stage.dataset.class_names[int(stage.dataset.y_test[0])]}"]
    drawn = picture(stage.dataset.x_test[0])
    beside = [""] * max(0, (len(drawn) - len(lines)) // 2) + lines
    stage.say("\n".join(f"|{row}|  {text}" for row, text in zip(drawn, beside + [""] * len(drawn), strict=False)))


def same_answers(stage: Stage) -> None:
    """Many test images both ways: accuracy, and whether the replies are the same bytes."""
    right = {"directly": 0, "through the proxy": 0}
    same = rows = replies = 0
    for images, labels in batches(stage):
        request = predict_request(stage, images)
        answers = [predict(channel, request) for channel in (stage.direct, stage.proxied)]
        same += answers[0] == answers[1]
        replies, rows = replies + 1, rows + len(labels)
        for way, answer in zip(right, answers, strict=True):
            right[way] += int((class_ids(answer) == labels).sum())
    for way, count in right.items():
        stage.say(f"{rows:,} test images {way + ':':18} {count / rows:.1%} right")
    stage.say(f"{same} of {replies} replies have the same bytes both ways")
    expect(same == replies, "the same bytes in every reply", f"them in {same} of {replies}")


def how_long(stage: Stage) -> None:
    """The latency of single images, both ways in turn."""
    request = predict_request(stage, stage.dataset.x_test[:1])
    took: dict[str, list[float]] = {"directly": [], "through the proxy": []}
    for _ in range(CALLS):  # in turn, so that whatever else the machine does falls on both
        for way, channel in zip(took, (stage.direct, stage.proxied), strict=True):
            began = time.perf_counter()
            predict(channel, request)
            took[way].append((time.perf_counter() - began) * 1e3)
    for way, times in took.items():
        p99 = statistics.quantiles(times, n=100)[98]
        stage.say(
            f"{CALLS} calls of one image {way + ':':18} median {statistics.median(times):.2f} ms, p99 {p99:.2f} ms"
        )
    added = statistics.median(took["through the proxy"]) - statistics.median(took["directly"])
    stage.say(f"the proxy adds {added:.2f} ms at the median (client and servers share this machine)")


def same_errors(stage: Stage) -> None:
    """Three mistakes, answered the same both ways."""
    unknown_model, unknown_signature, wrong_type = (predict_request(stage, stage.dataset.x_test[:1]) for _ in range(3))
    unknown_model.model_spec.name = "nobody"
    unknown_signature.model_spec.signature_name = "nothing"
    wrong_type.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.int32)))
    for name, request in (
        ("unknown model", unknown_model),
        ("unknown signature", unknown_signature),
        ("wrong type", wrong_type),
    ):
        direct, proxied = (refusal(channel, request) for channel in (stage.direct, stage.proxied))
        stage.say(f"{name}: {proxied}")
        expect(direct == proxied, f"{direct} through the proxy as well", proxied)


def tensor_bomb(stage: Stage) -> None:
    """A small tensor that claims much memory."""
    bomb = TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0])
    bomb.tensor_shape.dim.add(size=BOMB_ELEMENTS)
    stage.say(f"a tensor of {bomb.ByteSize()} bytes claims {BOMB_ELEMENTS * 4 / 1e6:.0f} MB: one value, to be repeated")
    request = predict_request(stage, stage.dataset.x_test[:1])
    request.inputs["image"].CopyFrom(bomb)
    before = forwarded(stage)
    said = refusal(stage.proxied, request)
    stage.say(said)
    stage.say(f"calls that reached the model server through the proxy: {before} before, {forwarded(stage)} after")
    expect(said.startswith("INVALID_ARGUMENT"), "INVALID_ARGUMENT", said)
    expect(forwarded(stage) == before, "no call to be forwarded", forwarded(stage) - before)


def closed_doors(stage: Stage) -> None:
    """A call that would make the model server load another model."""
    stub = model_service_pb2_grpc.ModelServiceStub(stage.proxied)
    try:
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        stage.say(f"HandleReloadConfigRequest: {told(error)}")
        expect(error.code() is grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", told(error))
    else:
        raise SceneError("expected PERMISSION_DENIED, got an answer")


def what_metrics_say(stage: Stage) -> None:
    """What has been counted of the calls so far."""
    told_of = ("tensorwall_calls_total", "tensorwall_refusals_total")
    lines = [line for line in metrics(stage) if line.startswith(told_of) and not line.endswith(" 0.0")]
    stage.say("\n".join(lines))
    expect(any("PERMISSION_DENIED" in line for line in lines), "the refused call among them", lines)


def graceful_end(stage: Stage) -> None:
    """The proxy is asked to end while a caller sends; then the model server."""
    load = Load(stage)
    with load.running():
        stage.proxy.wait_for(lambda: load.answered >= 20 or None, CALL_SECONDS, "under load")
        before, began = load.answered, time.monotonic()
        stage.proxy.terminate()
        stage.proxy.wait_for(lambda: stage.get("/readyz")[0] == 503 or None, SETTLE_SECONDS, "not ready")
        stage.say(f"SIGTERM; /readyz says 503, and callers have {SETTLE_SECONDS:.0f} s to look elsewhere")
        code = stage.proxy.wait(SETTLE_SECONDS + DRAIN_SECONDS + CALL_SECONDS)
    stage.say(f"{load.answered - before} calls answered in that time, {load.failed or 'none'} of those accepted failed")
    stage.say(f"then {load.last or 'nothing'}; exit code {code} after {time.monotonic() - began:.1f} s")
    expect(code == 0 and not load.failed, "exit code 0 and no failed call", f"{code} and {load.failed}: {load.last}")
    expect(load.ended - began >= SETTLE_SECONDS, "calls to be taken until then", f"{load.last} before")
    stage.backend.terminate()
    expect(stage.backend.wait(CALL_SECONDS) == 0, "the model server to end with 0", "something else")


Scene = Callable[[Stage], None]

SCENES: tuple[tuple[str, Scene], ...] = (
    ("A stock client asks the proxy what is on a picture", one_picture),
    ("The answers are the model's own, byte for byte", same_answers),
    ("What the way through the proxy costs", how_long),
    ("So are the model server's errors: code and text", same_errors),
    ("A tensor bomb is refused before the model server sees it", tensor_bomb),
    ("Whoever reaches the model server may tell it what to load; through the proxy nobody may", closed_doors),
    ("An operator sees it all on /metrics", what_metrics_say),
)
FINALE: tuple[str, Scene] = ("SIGTERM under load: what was accepted is answered", graceful_end)


def play(scene: Scene, stage: Stage) -> None:
    """Plays one scene.

    Raises:
        SceneError: it did not go as told, or a call failed that should not have.
    """
    try:
        scene(stage)
    except grpc.RpcError as error:
        raise SceneError(f"a call failed: {told(error)}") from error


class Load:
    """One caller that sends images through the proxy, one after the other, until the proxy takes no more.

    Attributes:
        answered: calls that got an answer.
        failed: calls that failed though the proxy had taken them.
        last: how the last one ended, if not with an answer.
        ended: when that was, in monotonic seconds.
    """

    def __init__(self, stage: Stage) -> None:
        self.answered = self.failed = 0
        self.last, self.ended = "", 0.0
        self._stop = threading.Event()
        self._channel = stage.proxied
        self._request = predict_request(stage, stage.dataset.x_test[:1])

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Sends within the block."""
        thread = threading.Thread(target=self._send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(CALL_SECONDS)

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                predict(self._channel, self._request)
            except grpc.RpcError as error:
                self.last, self.ended = told(error), time.monotonic()
                self.failed += error.code() is not grpc.StatusCode.UNAVAILABLE  # nobody listens: it was never taken
                return
            self.answered += 1


def predict_request(stage: Stage, images: Images) -> predict_pb2.PredictRequest:
    """A request of the stock client for images (N, H, W, 1)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = stage.model.name
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    return request


def predict(channel: grpc.Channel, request: predict_pb2.PredictRequest) -> bytes:
    """The reply as it came."""
    answer: bytes = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=CALL_SECONDS)
    return answer


def class_ids(answer: bytes) -> NDArray[np.int64]:
    """The predicted classes, int64 (N,)."""
    return np.array(predict_pb2.PredictResponse.FromString(answer).outputs["class_ids"].int64_val)


def refusal(channel: grpc.Channel, request: predict_pb2.PredictRequest) -> str:
    """Code and text of a call that must fail."""
    try:
        predict(channel, request)
    except grpc.RpcError as error:
        return told(error)
    raise SceneError("expected an error, got an answer")


def told(error: grpc.RpcError) -> str:
    """Code and text of an error."""
    return f"{error.code().name} {error.details()!r}"


def metrics(stage: Stage) -> list[str]:
    """The lines of the proxy's /metrics."""
    status, page = stage.get("/metrics")
    expect(status == 200, "the page (200)", status)
    return page.splitlines()


def forwarded(stage: Stage) -> int:
    """How many Predict calls the proxy has sent to the model server."""
    counts = [line for line in metrics(stage) if line.startswith("tensorwall_upstream_seconds_count")]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in counts if 'method="Predict"' in line))


def batches(stage: Stage) -> Iterator[tuple[Images, NDArray[np.uint8]]]:
    """The test images that are sent, with their classes."""
    images, labels = stage.dataset.x_test[:IMAGES], stage.dataset.y_test[:IMAGES]
    for start in range(0, len(labels), BATCH):
        yield images[start : start + BATCH], labels[start : start + BATCH]
