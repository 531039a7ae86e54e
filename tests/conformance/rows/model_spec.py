"""Predict: which model, version, label and signature. Checked first, in this order."""

import grpc

from protos import serving_pb2 as serving
from tests.conformance.case import PREDICT, Case, refused
from tests.conformance.messages import ROW, X, features, floats, predict, spec, strings
from tests.conformance.replies import predicted, text, toy

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

_EXAMPLE = {"inputs": strings(features(ROW.tolist()).SerializeToString())}
_LONG = "s" * 2000

ROWS = (
    Case("good", PREDICT, predict(), reply=predicted(toy(X))),
    Case("good, version named", PREDICT, predict(model=spec(version=1)), reply=predicted(toy(X, 1), version=1)),
    Case("good, latest version named", PREDICT, predict(model=spec(version=2)), reply=predicted(toy(X))),
    Case("good, label", PREDICT, predict(model=spec(label="stable")), reply=predicted(toy(X, 1), version=1)),
    Case("good, signature named", PREDICT, predict(model=spec(signature="serving_default")), reply=predicted(toy(X))),
    Case(
        "good, another signature",
        PREDICT,
        predict({"a": floats(X[0]), "b": floats(X[1])}, spec(signature="two")),
        reply=predicted({"sum": X[0] + X[1]}, signature="two"),
    ),
    Case(
        "good, strings",
        PREDICT,
        predict({"s": strings(b"a", b"", b"\xff\x00")}, spec(signature="strs")),
        reply=predicted({"out": text(b"<a>", b"<>", b"<\xff\x00>")}, signature="strs"),
    ),
    Case(
        "Predict on the classify signature",
        PREDICT,
        predict(_EXAMPLE, spec(signature="classify"), ["scores"]),
        reply=predicted({"scores": toy(X[:1])["probs"]}, signature="classify"),
    ),
    Case(
        "Predict on the regress signature",
        PREDICT,
        predict(_EXAMPLE, spec(signature="regress")),
        reply=predicted({"outputs": ROW.sum().reshape(1, 1)}, signature="regress"),
    ),
    refused("no model_spec", serving.PredictRequest(inputs={"x": floats()}), _INVALID, "Missing ModelSpec"),
    refused("empty message", b"", _INVALID, "Missing ModelSpec"),
    refused("empty name", predict(model=spec("")), _INVALID, "ModelSpec has no name specified."),
    refused("empty model_spec", b"\x0a\x00", _INVALID, "ModelSpec has no name specified."),
    refused("unknown model", predict(model=spec("nope")), _NOT_FOUND, "Servable not found for request: Latest(nope)"),
    refused(
        "unknown model, not ASCII",
        predict(model=spec("modèle\n%41 名")),
        _NOT_FOUND,
        "Servable not found for request: Latest(modèle\n%41 名)",
    ),
    refused(
        "unknown model, version named",
        predict(model=spec("nope", version=3)),
        _NOT_FOUND,
        "Servable not found for request: Specific(nope, 3)",
    ),
    refused(
        "unknown version",
        predict(model=spec(version=99)),
        _NOT_FOUND,
        "Servable not found for request: Specific(toy, 99)",
    ),
    refused(
        "version -1",
        predict(model=spec(version=-1)),
        _NOT_FOUND,
        "Servable not found for request: Specific(toy, -1)",
    ),
    refused(
        "version 0, set", predict(model=spec(version=0)), _NOT_FOUND, "Servable not found for request: Specific(toy, 0)"
    ),
    refused(
        "unknown label",
        predict(model=spec(label="nope")),
        _INVALID,
        "Unrecognized servable version label: nope",
    ),
    refused(
        "label of an unknown model",
        predict(model=spec("nope", label="stable")),
        _INVALID,
        "Unrecognized servable version label: stable",
    ),
    refused(
        "unknown signature",
        predict(model=spec(signature="nope")),
        _PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
    refused(
        "a long text is cut at 1024 characters",
        predict(model=spec(signature=_LONG)),
        _PRECONDITION,
        f'Serving signature key "{_LONG}" not found.'[:1024] + "...TRUNCATED",
    ),
    refused(
        "order: model before signature",
        predict(model=spec("nope", signature="nope")),
        _NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    ),
    refused(
        "order: signature before inputs",
        predict({}, spec(signature="nope")),
        _PRECONDITION,
        'Serving signature key "nope" not found.',
    ),
)
