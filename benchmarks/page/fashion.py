"""Fashion-MNIST, a small model of it, its benign profile, and who asks it what."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from detectors.benign import Benign
from detectors.features import Extractor, summarise
from detectors.profile import Profile
from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor
from proxy.demo import idx
from proxy.tensors import set_array, to_array

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Debian's `dataset-fashion-mnist`."""
TRAINED = 8000
SALT = b"of these pictures"
SAMPLE = 512

Rows = NDArray[np.float32]


@cache
def images(kind: str) -> Rows:
    """(n, 28, 28, 1) in [0, 1], of `train` or `t10k`."""
    raw = idx.read(FOLDER / f"{kind}-images-idx3-ubyte.gz", 3)
    return (raw[..., np.newaxis] / 255).astype(np.float32)


@cache
def _weights() -> NDArray[np.float64]:
    """Softmax regression, by gradient descent; right on four of five test images."""
    rng = np.random.default_rng(0)
    rows = _flat(images("train")[:TRAINED])
    wanted = np.eye(10)[idx.read(FOLDER / "train-labels-idx1-ubyte.gz", 1)[:TRAINED]]
    weights = np.zeros((rows.shape[1], 10))
    for _ in range(15):
        for part in np.array_split(rng.permutation(TRAINED), 80):
            weights -= 0.1 * rows[part].T @ (_softmax(rows[part] @ weights) - wanted[part]) / len(part)
    return weights


def model(rows: Rows) -> NDArray[np.float64]:
    """(n, 10) probabilities."""
    return _softmax(_flat(rows) @ _weights())


def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
    """The model as a server: `image` to `probabilities`."""
    del context
    request = serving.PredictRequest.FromString(body)
    reply = serving.PredictResponse()
    reply.model_spec.CopyFrom(request.model_spec)
    reply.outputs["probabilities"].dtype = tensor.DT_FLOAT
    set_array(reply.outputs["probabilities"], model(to_array(request.inputs["image"])).astype(np.float32))
    return reply.SerializeToString()


def write_profile(path: Path) -> Path:
    """The shipped thresholds, which are of these images, with a sample of them."""
    rows = images("t10k")[:SAMPLE]
    features, said = Extractor(SALT)({"image": rows}, len(rows)), summarise(model(rows))
    benign = Benign.of(features.embeddings, said.classes, said.margins, said.entropies)
    replace(Profile.defaults("fashion", SALT), calibrated=True, benign=benign).write(path)
    return path


def search(seed: int, steps: int) -> list[Rows]:
    """A search for an adversarial example: bisection between two images, then small steps along the boundary, again."""
    rng = np.random.default_rng(seed)
    rows = images("t10k")
    inner, outer = rows[seed : seed + 1], rows[seed + 1 : seed + 2]
    own = model(inner).argmax()
    while model(outer).argmax() == own:
        at = int(rng.integers(len(rows)))
        outer = rows[at : at + 1]
    asked: list[Rows] = []
    for step in range(steps):
        if step % 30 < 12:
            asked.append((inner + outer) / 2)
            if model(asked[-1]).argmax() == own:
                inner = asked[-1]
            else:
                outer = asked[-1]
        else:
            asked.append((outer + rng.normal(0, 0.03, outer.shape)).clip(0, 1).astype(np.float32))
            if model(asked[-1]).argmax() != own:
                outer = asked[-1]
    return asked


def _flat(rows: Rows) -> NDArray[np.float64]:
    return np.concatenate([rows.reshape(len(rows), -1).astype(np.float64), np.ones((len(rows), 1))], axis=1)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares
