"""The rows that are asked about: natural ones, all distinct, so that nothing is near by accident or on purpose."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos import serving_pb2 as serving
from protos import tensor_pb2 as tensor

CLASSES = 10
GRID = 7
_POOL_BYTES = 64 * 2**20
"""Of requests that are made before a measurement begins; after the last comes the first again."""


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one kind.

    Attributes:
        name: of the load, and of the model that is asked.
        rows: a call.
        shape: of a row.
    """

    name: str
    rows: int
    shape: tuple[int, ...]


LOADS = (
    Load("image", 1, (28, 28, 1)),
    Load("images", 32, (28, 28, 1)),
    Load("photo", 1, (224, 224, 3)),
    Load("table", 1, (30,)),
)


def natural(load: Load, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, *shape): smooth images with a little noise, or rows around ten centres."""
    if len(load.shape) == 1:
        centres = np.random.default_rng(0).normal(0, 3, (CLASSES, *load.shape))
        return (centres[rng.integers(0, CLASSES, count)] + rng.normal(0, 1, (count, *load.shape))).astype(np.float32)
    height, width, channels = load.shape
    coarse = rng.random((count, channels, GRID, GRID), dtype=np.float32)
    made = np.moveaxis(_between(height) @ coarse @ _between(width).T, 1, -1)
    made = made + rng.normal(0, 0.03, made.shape).astype(np.float32)
    return np.ascontiguousarray(made.clip(0, 1), dtype=np.float32)


def _between(size: int) -> NDArray[np.float32]:
    """(size, GRID) that draws straight lines between GRID values."""
    places = np.linspace(0, GRID - 1, size)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(GRID))).astype(np.float32)
    return weights


def requests(load: Load, most: int, seed: int) -> list[bytes]:
    """Serialized PredictRequests of distinct rows."""
    rng = np.random.default_rng(seed)
    row_bytes = 4 * int(np.prod(load.shape))
    count = max(1, min(most, _POOL_BYTES // (row_bytes * load.rows)))
    return [predict(load.name, natural(load, load.rows, rng)) for _ in range(count)]


def predict(model: str, values: NDArray[Any]) -> bytes:
    """A serialized PredictRequest with these float32 values as its input `x`."""
    request = serving.PredictRequest(model_spec=serving.ModelSpec(name=model))
    fill(request.inputs["x"], values)
    return request.SerializeToString()


def reply(model: str, rows: int, rng: np.random.Generator) -> bytes:
    """A serialized PredictResponse with probabilities for each row as its output `probabilities`."""
    made = serving.PredictResponse(model_spec=serving.ModelSpec(name=model, signature_name="serving_default"))
    made.model_spec.version.value = 1
    fill(made.outputs["probabilities"], rng.dirichlet(np.full(CLASSES, 0.3), rows))
    return made.SerializeToString()


def fill(proto: tensor.TensorProto, values: NDArray[Any]) -> None:
    """Puts float32 values into a tensor."""
    proto.dtype = tensor.DT_FLOAT
    proto.tensor_content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
