"""Classify, Regress and MultiInference over a socket with the stock client."""

from typing import Any

import numpy as np
import pytest

from proxy.embedded.apis import classification_pb2, inference_pb2, regression_pb2
from proxy.embedded.runtime import tf
from tests.embedded.conftest import Client
from tests.embedded.requests import CODE, classify, example, multi, refusal, regress, spec

ROW = example(1, 2, 3, 4)
CLASSIFY, REGRESS = spec(signature="classify"), spec(signature="regress")
HALF_CLASSIFY = spec("half_plus_two", "classify_x_to_y")
HALF_REGRESS = spec("half_plus_two", "regress_x_to_y")


def test_classes_and_scores(client: Client) -> None:
    reply = client.prediction.Classify(classify(CLASSIFY, ROW, example(0, 0, 0, 0)))
    first, second = reply.result.classifications
    assert [one.label for one in first.classes] == ["c0", "c1", "c2"]
    assert np.allclose([one.score for one in first.classes], [0.0158762373, 0.11731042, 0.866813302])
    assert np.allclose([one.score for one in second.classes], 1 / 3)
    assert reply.model_spec == spec(signature="classify", version=2)


def test_scores_without_classes(client: Client) -> None:
    reply = client.prediction.Classify(classify(HALF_CLASSIFY, example(2)))
    (only,) = reply.result.classifications[0].classes
    assert (only.label, only.score) == ("", 3.0)


@pytest.mark.parametrize(("version", "value"), [(1, 5.0), (2, 10.0)])
def test_regression(client: Client, version: int, value: float) -> None:
    reply = client.prediction.Regress(regress(spec(signature="regress", version=version), ROW, ROW))
    assert [one.value for one in reply.result.regressions] == [value, value]
    assert reply.model_spec == spec(signature="regress", version=version)


def with_context(context: Any, *examples: Any) -> Any:
    request = regress(REGRESS)
    request.input.example_list_with_context.context.CopyFrom(context)
    request.input.example_list_with_context.examples.extend(examples)
    return request


def test_the_context_is_merged_into_each_example(client: Client) -> None:
    reply = client.prediction.Regress(
        with_context(ROW, tf.train.Example(), example(5, feature="other"), example(1, 1, 1, 1))
    )
    assert [one.value for one in reply.result.regressions] == [10.0, 10.0, 4.0]


def test_multi_inference_runs_both_on_one_input(client: Client) -> None:
    request = multi((HALF_REGRESS, "regress"), (HALF_CLASSIFY, "classify"), examples=[example(2), example(4)])
    regression, classification = client.prediction.MultiInference(request).results
    assert [one.value for one in regression.regression_result.regressions] == [3.0, 4.0]
    assert [one.classes[0].score for one in classification.classification_result.classifications] == [3.0, 4.0]
    assert regression.model_spec == spec("half_plus_two", "regress_x_to_y", 1)
    assert classification.model_spec == spec("half_plus_two", "classify_x_to_y", 1)


PARSE_NODE = "\n\t [[{{function_node __inference_classify_"


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (classification_pb2.ClassificationRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (classify(spec("nope"), ROW), CODE.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (classify(spec(), ROW), CODE.INVALID_ARGUMENT, "Expected one or two output Tensors, found 3"),
        (classify(spec(signature="two"), ROW), CODE.INVALID_ARGUMENT, "Expected one input Tensor."),
        (classify(spec(signature="nope"), ROW), CODE.INVALID_ARGUMENT, "No signature was found with the name: nope"),
        (classify(CLASSIFY), CODE.INVALID_ARGUMENT, "Input is empty."),
        (
            classify(CLASSIFY, example(1, 2)),
            CODE.INVALID_ARGUMENT,
            "Name: <unknown>, Key: x, Index: 0.  Number of float values != expected.  "
            "Values size: 2 but output shape: [4]" + PARSE_NODE,
        ),
        (
            classify(REGRESS),
            CODE.INVALID_ARGUMENT,
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: ',
        ),
        (
            classify(spec(signature="strs"), ROW),
            CODE.INVALID_ARGUMENT,
            "No classification inputs found in SignatureDef: ",
        ),
    ],
)
def test_classify_refusals(client: Client, request_: Any, code: Any, details: str) -> None:
    """The order of checks: signature before input, input before the run; texts that name nodes by their start."""
    got, text = refusal(client.prediction.Classify, request_)
    assert got == code
    assert text.startswith(details)
    assert text == details or details.endswith((": ", PARSE_NODE))


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (regression_pb2.RegressionRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (regress(spec("nope")), CODE.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (regress(spec(signature="nope")), CODE.INVALID_ARGUMENT, "No signature was found with the name: nope"),
        (regress(CLASSIFY), CODE.INVALID_ARGUMENT, "Expected one output Tensor."),
        (regress(REGRESS), CODE.INVALID_ARGUMENT, "Input is empty."),
        (with_context(ROW), CODE.INVALID_ARGUMENT, "Input is empty."),
    ],
)
def test_regress_refusals(client: Client, request_: Any, code: Any, details: str) -> None:
    assert refusal(client.prediction.Regress, request_) == (code, details)


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (inference_pb2.MultiInferenceRequest(), CODE.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            multi((spec("nope"), "classify"), examples=[ROW]),
            CODE.NOT_FOUND,
            "Servable not found for request: Latest(nope)",
        ),
        (
            multi((CLASSIFY, "classify"), (spec(""), "regress"), examples=[ROW]),
            CODE.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            multi((CLASSIFY, "classify"), (HALF_REGRESS, "regress"), examples=[ROW]),
            CODE.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            multi((CLASSIFY, "classify"), (CLASSIFY, "classify"), examples=[ROW]),
            CODE.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify",
        ),
        (
            multi((spec(signature="nope"), "classify"), examples=[ROW]),
            CODE.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            multi((CLASSIFY, "predict"), examples=[ROW]),
            CODE.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            multi((CLASSIFY, "classify"), (REGRESS, "regress"), examples=[ROW]),
            CODE.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
        (multi((CLASSIFY, "classify"), examples=[]), CODE.INVALID_ARGUMENT, "Input is empty."),
    ],
)
def test_multi_inference_refusals(client: Client, request_: Any, code: Any, details: str) -> None:
    assert refusal(client.prediction.MultiInference, request_) == (code, details)
