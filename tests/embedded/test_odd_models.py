"""Models that serve what nobody expects: outputs of the wrong form, every type, defaults, tensors that are none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from proxy.embedded import inference, predict
from proxy.embedded.models import Model, Models
from proxy.embedded.runtime import tf
from proxy.embedded.status import StatusError
from tests.embedded import requests
from tests.embedded.requests import CODE, classify, example, multi, regress, spec

EXAMPLES = tf.TensorSpec([None], tf.string, name="inputs")
FLOATS = tf.TensorSpec([None], tf.float32)


def rows(values: Any, *tail: int) -> Callable[[Any], Any]:
    """A tensor [batch, *tail] of one value, for the examples given."""
    return lambda inputs: tf.fill(tf.concat([tf.shape(inputs), tf.constant(tail, tf.int32)], 0), values)


OUTPUTS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "scores_rank": {"scores": rows(1.0)},
    "scores_type": {"scores": rows(tf.constant(1.0, tf.float64), 2)},
    "scores_batch": {"scores": lambda inputs: tf.zeros((5, 2))},
    "classes_rank": {"classes": rows("a")},
    "classes_type": {"classes": rows(1, 2)},
    "classes_batch": {"classes": lambda inputs: tf.fill((5, 2), "a")},
    "widths": {"classes": rows("a", 2), "scores": rows(1.0, 3)},
    "classes_only": {"classes": rows(b"\xff", 2)},
    "no_classes": {"classes": rows("a", 0), "scores": rows(1.0, 0)},
    "regress_rank": {"outputs": rows(1.0, 2)},
    "regress_batch": {"outputs": lambda inputs: tf.zeros((5,))},
    "regress_type": {"outputs": rows(1)},
    "regress_flat": {"outputs": rows(1.5)},
    "regress_name": {"values": rows(1.5)},
}


def example_signature(outputs: dict[str, Callable[[Any], Any]]) -> Any:
    return tf.function(lambda inputs: {key: make(inputs) for key, make in outputs.items()}, [EXAMPLES])


def casts(x: Any) -> dict[str, Any]:
    kinds = ("half", "bfloat16", "double", "int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "uint64")
    made = {kind: tf.cast(x, kind) for kind in (*kinds, "complex64", "complex128")}
    return {**made, "bool": x > 1, "string": tf.strings.as_string(x), "float8_e5m2": tf.cast(x, "float8_e5m2")}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("odd") / "1"
    signatures = {key: example_signature(outputs) for key, outputs in OUTPUTS.items()}
    signatures["casts"] = tf.function(casts, [FLOATS])
    signatures["pair"] = tf.function(lambda a, b: {"sum": a + b}, [FLOATS, FLOATS])
    signatures["sparse"] = tf.function(lambda x: {"x": tf.sparse.from_dense(x).values}, [FLOATS])
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    _change(folder / "saved_model.pb")
    return Models([Model("odd", folder.parent, {})])


def _change(path: Path) -> None:
    """Signatures that TF2's `save` would not write: defaults, and names of tensors that are none."""
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    signatures = model.meta_graphs[0].signature_def
    signatures["defaults"].CopyFrom(signatures["pair"])
    signatures["defaults"].defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    signatures["no_feed"].CopyFrom(signatures["pair"])
    signatures["no_feed"].inputs["a"].name = "gone:0"
    signatures["no_fetch"].CopyFrom(signatures["pair"])
    signatures["no_fetch"].outputs["sum"].name = "gone:0"
    signatures["composite"].CopyFrom(signatures["pair"])
    signatures["composite"].outputs["sum"].coo_sparse.values_tensor_name = "values:0"
    signatures["index"].CopyFrom(signatures["pair"])
    signatures["index"].outputs["sum"].name = signatures["pair"].outputs["sum"].name.replace(":0", ":1")
    signatures["twice"].CopyFrom(signatures["pair"])
    signatures["twice"].inputs["b"].name = signatures["pair"].inputs["a"].name
    signatures["through"].CopyFrom(signatures["pair"])
    signatures["through"].outputs["again"].CopyFrom(signatures["pair"].outputs["sum"])
    path.write_bytes(model.SerializeToString())


def refused(call: Callable[..., Any], served: Models, request: Any) -> tuple[Any, str]:
    with pytest.raises(StatusError) as raised:
        call(served, request, None)
    return raised.value.code, raised.value.message


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("scores_rank", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("scores_type", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("scores_batch", "Expected scores output batch size of 2. Got: 5"),
        ("classes_rank", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("classes_type", "Expected classes Tensor of DT_STRING. Got: DT_INT32"),
        ("classes_batch", "Expected classes output batch size of 2. Got: 5"),
        ("widths", "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
    ],
)
def test_outputs_that_do_not_classify(odd: Models, signature: str, message: str) -> None:
    request = classify(spec("odd", signature), example(1), example(2))
    assert refused(inference.classify, odd, request) == (CODE.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (
            "regress_rank",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        ("regress_batch", "Input batch size did not match output batch size: 2 vs. 5"),
        ("regress_type", "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_outputs_that_are_no_regression(odd: Models, signature: str, message: str) -> None:
    request = regress(spec("odd", signature), example(1), example(2))
    assert refused(inference.regress, odd, request) == (CODE.INVALID_ARGUMENT, message)


def test_a_regression_by_another_name(odd: Models) -> None:
    code, message = refused(inference.regress, odd, regress(spec("odd", "regress_name"), example(1)))
    assert code == CODE.INVALID_ARGUMENT
    assert message.startswith("No regression outputs found in SignatureDef: ")


def test_forms_that_are_allowed(odd: Models) -> None:
    classes = inference.classify(odd, classify(spec("odd", "classes_only"), example(1)), None).result.classifications
    assert [(one.label, one.score) for one in classes[0].classes] == [("�", 0.0)] * 2
    empty = inference.classify(odd, classify(spec("odd", "no_classes"), example(1), example(2)), None).result
    assert [len(row.classes) for row in empty.classifications] == [0, 0]
    flat = inference.regress(odd, regress(spec("odd", "regress_flat"), example(1), example(2)), None).result
    assert [one.value for one in flat.regressions] == [1.5, 1.5]


def test_a_task_that_fails_afterwards_fails_all(odd: Models) -> None:
    request = multi((spec("odd", "regress_rank"), "regress"), examples=[example(1)])
    assert refused(inference.multi_inference, odd, request)[0] == CODE.INVALID_ARGUMENT


def test_every_type_comes_back_in_its_own_field(odd: Models) -> None:
    outputs = predict.predict(odd, requests.predict(spec("odd", "casts"), x=[0.0, 1.0, 2.0]), None).outputs
    assert {alias: [field.name for field, _ in proto.ListFields()][2:] for alias, proto in outputs.items()} == {
        "half": ["half_val"],
        "bfloat16": ["half_val"],
        "double": ["double_val"],
        "int8": ["int_val"],
        "uint8": ["int_val"],
        "int16": ["int_val"],
        "uint16": ["int_val"],
        "int32": ["int_val"],
        "int64": ["int64_val"],
        "uint32": ["uint32_val"],
        "uint64": ["uint64_val"],
        "complex64": ["scomplex_val"],
        "complex128": ["dcomplex_val"],
        "bool": ["bool_val"],
        "string": ["string_val"],
        "float8_e5m2": ["float8_val"],
    }
    numbers = {alias: tf.make_ndarray(proto) for alias, proto in outputs.items() if alias not in ("bool", "string")}
    assert all(np.array_equal(array.astype(np.complex128), [0, 1, 2]) for array in numbers.values())
    assert list(outputs["bool"].bool_val) == [False, False, True]


def test_an_input_that_is_left_out_gets_its_default(odd: Models) -> None:
    def total(**inputs: Any) -> list[float]:
        reply = predict.predict(odd, requests.predict(spec("odd", "defaults"), **inputs), None)
        return list(reply.outputs["sum"].float_val)

    assert total(a=[1.0]) == [11.0]
    assert total(a=[1.0], b=[2.0]) == [3.0]


def test_with_defaults_the_input_that_is_missing_is_named(odd: Models) -> None:
    def message(**inputs: Any) -> str:
        return refused(predict.predict, odd, requests.predict(spec("odd", "defaults"), **inputs))[1]

    assert message(b=[1.0]).endswith("in the request {b}, or default input alias set: b")
    assert message(a=[1.0], c=[1.0]) == "Inputs contains invalid name. Used request inputs: a, request input: a,c"


@pytest.mark.parametrize(
    ("signature", "code", "message"),
    [
        ("no_feed", CODE.NOT_FOUND, "FeedInputs: unable to find feed output gone:0"),
        ("no_fetch", CODE.NOT_FOUND, "FetchOutputs node gone:0: not found"),
        ("composite", CODE.NOT_FOUND, "FetchOutputs node : not found"),
        ("index", CODE.INVALID_ARGUMENT, "output index too large, must be < 1"),
        ("twice", CODE.INVALID_ARGUMENT, '" fed more than once.'),
    ],
)
def test_names_of_no_tensor(odd: Models, signature: str, code: Any, message: str) -> None:
    got, text = refused(predict.predict, odd, requests.predict(spec("odd", signature), a=[1.0], b=[2.0]))
    assert got == code
    assert message in text


def test_one_tensor_under_two_names(odd: Models) -> None:
    reply = predict.predict(odd, requests.predict(spec("odd", "through"), a=[1.0], b=[2.0]), None)
    assert {alias: list(proto.float_val) for alias, proto in reply.outputs.items()} == {"sum": [3.0], "again": [3.0]}
