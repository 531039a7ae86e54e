"""Small SavedModels that tests and demonstrations serve: `python -m tests.savedmodels DIR` writes all of them.

TensorFlow is imported inside the writers, so that importing this module costs nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def write_toy(base: Path, versions: Sequence[int] = (1, 2)) -> Path:
    """The model `toy`, saved by TF2 under `base/VERSION`; returns `base`.

    Signatures: `serving_default` x float[-1, 4] -> logits, probs float[-1, 3], cls int64[-1]; `two` a, b float[-1] ->
    sum; `classify` and `regress` (serialized tf.Example, feature x of 4 floats); `strs` s string[-1] -> out ("<s>").
    The weights are `version * arange(12) / 10`, so that for x = [1, 2, 3, 4] neighbouring logits differ by `version`;
    regress gives `sum(x) * version / 2`. `two` and `strs` are the same in every version.
    """
    for version in versions:
        _save_toy(base / str(version), version)
    return base


def _save_toy(folder: Path, version: int) -> None:
    import tensorflow as tf

    module = tf.Module()
    weights = tf.reshape(tf.range(12, dtype=tf.float32), (4, 3)) / 10.0 * float(version)
    module.w = tf.Variable(weights, name="w")
    feature = {"x": tf.io.FixedLenFeature([4], tf.float32)}

    def predict(x: Any) -> dict[str, Any]:
        logits = tf.matmul(x, module.w)
        return {"logits": logits, "probs": tf.nn.softmax(logits), "cls": tf.argmax(logits, axis=-1)}

    def two(a: Any, b: Any) -> dict[str, Any]:
        return {"sum": a + b}

    def classify(inputs: Any) -> dict[str, Any]:
        scores = tf.nn.softmax(tf.matmul(tf.io.parse_example(inputs, feature)["x"], module.w))
        classes = tf.tile(tf.constant([["c0", "c1", "c2"]]), [tf.shape(scores)[0], 1])
        return {"classes": classes, "scores": scores}

    def regress(inputs: Any) -> dict[str, Any]:
        x = tf.io.parse_example(inputs, feature)["x"]
        return {"outputs": tf.reduce_sum(x, axis=1, keepdims=True) * (version / 2.0)}

    def strs(s: Any) -> dict[str, Any]:
        return {"out": tf.strings.join(["<", s, ">"])}

    vector = tf.TensorSpec([None], tf.float32)
    examples = tf.TensorSpec([None], tf.string, name="inputs")
    signatures = {
        "serving_default": tf.function(predict, [tf.TensorSpec([None, 4], tf.float32, name="x")]),
        "two": tf.function(two, [vector, vector]),
        "classify": tf.function(classify, [examples]),
        "regress": tf.function(regress, [examples]),
        "strs": tf.function(strs, [tf.TensorSpec([None], tf.string, name="s")]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    set_method_names(folder, {"classify": CLASSIFY, "regress": REGRESS})


def set_method_names(folder: Path, names: dict[str, str]) -> None:
    """Give the signatures of a SavedModel the `method_name`s that TF2's `save` cannot express."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        for key, method_name in names.items():
            graph.signature_def[key].method_name = method_name
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_half_plus_two(base: Path, version: int = 1) -> Path:
    """A TF1 SavedModel of y = 0.5 x + 2 under `base/VERSION`, variables included; returns `base`.

    Signatures: `serving_default` x float -> y; `regress_x_to_y` and `classify_x_to_y` (serialized tf.Example, feature
    x of 1 float; the scores are y, there are no classes).
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = v1.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], name="x")
        a = v1.get_variable("a", initializer=0.5, use_resource=False)
        b = v1.get_variable("b", initializer=2.0, use_resource=False)
        y = tf.add(tf.multiply(a, x), b, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(base / str(version)))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map={
                "serving_default": _signature({"x": x}, {"y": y}, PREDICT),
                "regress_x_to_y": _signature({"inputs": serialized}, {"outputs": y}, REGRESS),
                "classify_x_to_y": _signature({"inputs": serialized}, {"scores": y}, CLASSIFY),
            },
        )
        builder.save()
    return base


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method_name: str) -> Any:
    from tensorflow.compat.v1.saved_model import build_tensor_info
    from tensorflow.compat.v1.saved_model.signature_def_utils import build_signature_def

    infos = [{key: build_tensor_info(tensor) for key, tensor in side.items()} for side in (inputs, outputs)]
    return build_signature_def(*infos, method_name)


def write_sleeper(base: Path, version: int = 1) -> Path:
    """A model whose run takes as long as its input says, without using the CPU; returns `base`.

    Signature `serving_default`: seconds float[-1] -> slept float[-1] (the input); the run takes the largest of them.
    """
    import tensorflow as tf

    def sleep(seconds: Any) -> dict[str, Any]:
        microseconds = tf.cast(tf.reduce_max(seconds) * 1e6, tf.int64)
        rows = tf.raw_ops.TensorSliceDataset(components=[seconds[tf.newaxis]], output_shapes=[[None]])
        slow = tf.raw_ops.SleepDataset(
            input_dataset=rows, sleep_microseconds=microseconds, output_types=[tf.float32], output_shapes=[[None]]
        )
        # Asking for a second element would sleep again; a take of one ends without asking.
        one = tf.raw_ops.TakeDataset(
            input_dataset=slow, count=tf.constant(1, tf.int64), output_types=[tf.float32], output_shapes=[[None]]
        )
        (slept,) = tf.raw_ops.DatasetToSingleElement(dataset=one, output_types=[tf.float32], output_shapes=[[None]])
        return {"slept": slept}

    signature = tf.function(sleep, [tf.TensorSpec([None], tf.float32, name="seconds")])
    tf.saved_model.save(tf.Module(), str(base / str(version)), signatures={"serving_default": signature})
    return base


def main() -> None:
    """Write every model under the folder given on the command line, each in a folder of its own name."""
    parser = argparse.ArgumentParser(description="Write small SavedModels for trying out a model server.")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    write_toy(directory / "toy")
    write_half_plus_two(directory / "half_plus_two")
    write_sleeper(directory / "sleeper")


if __name__ == "__main__":
    main()
