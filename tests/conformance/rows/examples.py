"""Classify, Regress and MultiInference: lists of tf.Example in, classes and values out."""

import re

import grpc

from protos import example_pb2 as example
from protos import serving_pb2 as serving
from tests.conformance.case import CLASSIFY, MULTI_INFERENCE, REGRESS, Case, refused
from tests.conformance.messages import ROW, X, classify, examples, features, multi, regress, spec, task
from tests.conformance.replies import Array, Classes, classified, inferred, regressed, toy

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND

_BOTH = examples(*(features(row) for row in X.tolist()))
_SHARED = serving.Input(
    example_list_with_context=serving.ExampleListWithContext(
        examples=[features(), features()], context=features(ROW.tolist())
    )
)
_EMPTY = serving.Input(example_list=serving.ExampleList())
_WHOLE = example.Feature(int64_list=example.Int64List(value=[1, 2, 3, 4]))


def _classes(x: Array) -> Classes:
    return [[(f"c{i}", score) for i, score in enumerate(row)] for row in toy(x)["probs"].tolist()]


def _half(signature: str) -> serving.ModelSpec:
    return spec("half_plus_two", signature=signature)


_CLASSES = task("classify", _half("classify_x_to_y"))
_VALUES = task("regress", _half("regress_x_to_y"))

_CLASSIFY_ROWS = (
    Case("classify: good", CLASSIFY, classify(), reply=classified(_classes(X[:1]), signature="classify")),
    Case("classify: two rows", CLASSIFY, classify(data=_BOTH), reply=classified(_classes(X), signature="classify")),
    Case(
        "classify: a shared context",
        CLASSIFY,
        classify(data=_SHARED),
        reply=classified(_classes(X[[0, 0]]), signature="classify"),
    ),
    Case(
        "classify: scores without classes",
        CLASSIFY,
        classify(_half("classify_x_to_y"), examples(features([2.0]))),
        reply=classified([[("", 3.0)]], name="half_plus_two", version=1, signature="classify_x_to_y"),
    ),
    refused(
        "classify: predict signature",
        classify(spec()),
        _INVALID,
        "Expected one or two output Tensors, found 3",
        method=CLASSIFY,
    ),
    refused(
        "classify: regress signature",
        classify(spec(signature="regress")),
        _INVALID,
        re.compile(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: "
        ),
        method=CLASSIFY,
    ),
    refused(
        "classify: unknown signature",
        classify(spec(signature="nope")),
        _INVALID,
        "No signature was found with the name: nope",
        method=CLASSIFY,
    ),
    refused(
        "classify: unknown model",
        classify(spec("nope")),
        _NOT_FOUND,
        "Servable not found for request: Latest(nope)",
        method=CLASSIFY,
    ),
    refused("classify: empty message", b"", _INVALID, "Missing ModelSpec", method=CLASSIFY),
    refused("classify: no input", classify(data=serving.Input()), _INVALID, "Input is empty.", method=CLASSIFY),
    refused("classify: empty list", classify(data=_EMPTY), _INVALID, "Input is empty.", method=CLASSIFY),
    refused(
        "classify: example of wrong length",
        classify(data=examples(features([1.0, 2.0]))),
        _INVALID,
        re.compile(
            r"Name: <unknown>, Key: x, Index: 0\.  Number of float values != expected\.  "
            r"Values size: 2 but output shape: \[4\]"
        ),
        method=CLASSIFY,
    ),
    refused(
        "classify: example of wrong type",
        classify(data=examples(features(_WHOLE))),
        _INVALID,
        re.compile(
            r"Name: <unknown>, Key: x, Index: 0\.  Data types don't match\. Data type: int64 but expected type: float"
        ),
        method=CLASSIFY,
    ),
    refused(
        "classify: method_name is checked where the server was told so",
        classify(spec()),
        _INVALID,
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
        method=CLASSIFY,
        flag="enable_signature_method_name_check",
    ),
)

_REGRESS_ROWS = (
    Case("regress: good", REGRESS, regress(), reply=regressed([10.0], signature="regress")),
    Case("regress: two rows", REGRESS, regress(data=_BOTH), reply=regressed([10.0, 26.0], signature="regress")),
    Case(
        "regress: version by label",
        REGRESS,
        regress(spec(label="stable", signature="regress")),
        reply=regressed([5.0], version=1, signature="regress"),
    ),
    refused(
        "regress: unknown model",
        regress(spec("nope")),
        _NOT_FOUND,
        "Servable not found for request: Latest(nope)",
        method=REGRESS,
    ),
    refused(
        "regress: unknown signature",
        regress(spec(signature="nope")),
        _INVALID,
        "No signature was found with the name: nope",
        method=REGRESS,
    ),
    refused("regress: empty message", b"", _INVALID, "Missing ModelSpec", method=REGRESS),
    refused("regress: no input", regress(data=serving.Input()), _INVALID, "Input is empty.", method=REGRESS),
    refused("regress: empty list", regress(data=_EMPTY), _INVALID, "Input is empty.", method=REGRESS),
)

_MULTI_ROWS = (
    Case(
        "multi: good",
        MULTI_INFERENCE,
        multi(_CLASSES, _VALUES),
        reply=inferred(("classify_x_to_y", [[("", 3.0)]]), ("regress_x_to_y", [3.0])),
    ),
    Case(
        "multi: two rows, tasks the other way round",
        MULTI_INFERENCE,
        multi(_VALUES, _CLASSES, data=examples(features([2.0]), features([-4.0]))),
        reply=inferred(("regress_x_to_y", [3.0, 0.0]), ("classify_x_to_y", [[("", 3.0)], [("", 0.0)]])),
    ),
    Case("multi: one task", MULTI_INFERENCE, multi(_VALUES), reply=inferred(("regress_x_to_y", [3.0]))),
    *(
        refused(f"multi: {name}", request, code, details, method=MULTI_INFERENCE)
        for name, request, code, details in (
            ("empty message", b"", _INVALID, "ModelSpec has no name specified."),
            ("no tasks", multi(), _INVALID, "ModelSpec has no name specified."),
            (
                "unknown model",
                multi(task("classify", spec("nope"))),
                _NOT_FOUND,
                "Servable not found for request: Latest(nope)",
            ),
            (
                "unknown signature",
                multi(_CLASSES, task("regress", _half("nope"))),
                _INVALID,
                "Requested signature not found in model graph: nope",
            ),
            (
                "one signature twice",
                multi(_CLASSES, _CLASSES),
                _INVALID,
                "Duplicate evaluation of signature: classify_x_to_y",
            ),
            (
                "two models",
                multi(_CLASSES, task("regress", spec(signature="regress"))),
                _INVALID,
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            ),
            (
                "signatures with different inputs",
                multi(task("classify", spec(signature="classify")), task("regress", spec(signature="regress"))),
                _INVALID,
                "Input tensor must be the same for all Signatures.",
            ),
            (
                "unknown method_name",
                multi(task("nope", _half("regress_x_to_y"))),
                grpc.StatusCode.UNIMPLEMENTED,
                "Unsupported signature method_name: nope",
            ),
            ("empty list", multi(_VALUES, data=_EMPTY), _INVALID, "Input is empty."),
        )
    ),
)

ROWS = (*_CLASSIFY_ROWS, *_REGRESS_ROWS, *_MULTI_ROWS)
