"""Requests that TensorFlow Serving runs when it loads a version, so that the first caller does not wait for it."""

from pathlib import Path

from defenses.retraining.robustness.subject import Rows
from defenses.retraining.signatures import Signature, SignatureError

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
"""Where TensorFlow Serving looks, in a version folder."""
MOST_ROWS = 32
"""Far below the 1,000 records that TensorFlow Serving takes."""


def write_warmup(folder: Path, model: str, signatures: dict[str, Signature], rows: Rows) -> int:
    """Writes a PredictionLog for each row and one for all of them to a version folder, by `serving_default`.

    Args:
        folder: of the version.
        model: the name that it is served as.
        signatures: of the version.
        rows: (n, ...) as the model takes them, benign; the first MOST_ROWS are taken.

    Returns:
        The number of records; 0 if there is no `serving_default` of one numeric input.

    Raises:
        SignatureError: tensorflow-serving-api is not installed.
    """
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        raise SignatureError("warm-up records need tensorflow-serving-api: pip install 'tensorwall[retrain]'") from None
    default = signatures.get("serving_default")
    if default is None or len(default.inputs) != 1:
        return 0
    ((argument, tensor),) = default.inputs.items()
    if tensor.dtype == "string":
        return 0
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    rows = rows[:MOST_ROWS]
    batches = [*(rows[at : at + 1] for at in range(len(rows))), rows]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in batches:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = "serving_default"
            request.inputs[argument].CopyFrom(tf.make_tensor_proto(tf.cast(batch, tensor.dtype)))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return len(batches)
