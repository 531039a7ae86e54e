"""Predict over a socket with the stock client: code and text of every row seen on a genuine server, and its order."""

from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2

from proxy.embedded.apis import predict_pb2
from proxy.embedded.runtime import tf
from tests.embedded import requests
from tests.embedded.conftest import Client
from tests.embedded.requests import CODE, X, example, predict, refusal, spec

NODE = "StatefulPartitionedCall_1/StatefulPartitionedCall/MatMul"
ONE = np.array([1], np.float32)
SHORT = tensor_pb2.TensorProto(dtype=1, tensor_content=b"\0\0\0\0")
SHORT.tensor_shape.dim.add().size = 4


def wrong_alias(alias: str, feed: str, sent: str) -> str:
    return (
        f"Signature input alias: {alias}(feed name: {feed}) not found in request and no default value provided. "
        f"Inputs expected to be in the request {sent}, or default input alias set: "
    )


def wrong_size(sizes: str, sent: str, known: str, extra: str, missing: str) -> str:
    return (
        f"input size does not match signature: {sizes} len({sent}) != len({known}). Sent extra: {extra}. "
        f"Missing but required: {missing}."
    )


def wrong_output(alias: str) -> str:
    return (
        f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {{cls,logits,probs}}."
    )


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        pytest.param(predict_pb2.PredictRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec", id="no spec"),
        pytest.param(
            predict(spec("")),
            CODE.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
            id="no name, nothing else looked at",
        ),
        pytest.param(
            predict(spec("nope")), CODE.NOT_FOUND, "Servable not found for request: Latest(nope)", id="unknown model"
        ),
        pytest.param(
            predict(spec("nope", version=3)),
            CODE.NOT_FOUND,
            "Servable not found for request: Specific(nope, 3)",
            id="unknown model, a version",
        ),
        pytest.param(
            predict(spec(version=99)), CODE.NOT_FOUND, "Servable not found for request: Specific(toy, 99)", id="version"
        ),
        pytest.param(
            predict(spec(version=-1)),
            CODE.NOT_FOUND,
            "Servable not found for request: Specific(toy, -1)",
            id="version -1",
        ),
        pytest.param(
            predict(spec(version=0)), CODE.NOT_FOUND, "Servable not found for request: Specific(toy, 0)", id="version 0"
        ),
        pytest.param(
            predict(spec(label="nope")),
            CODE.INVALID_ARGUMENT,
            "Unrecognized servable version label: nope",
            id="unknown label",
        ),
        pytest.param(
            predict(spec("nope", label="nope")),
            CODE.INVALID_ARGUMENT,
            "Unrecognized servable version label: nope",
            id="unknown label of an unknown model",
        ),
        pytest.param(
            predict(spec(label="")), CODE.INVALID_ARGUMENT, "Unrecognized servable version label: ", id="empty label"
        ),
        pytest.param(
            predict(spec(signature="nope")),
            CODE.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
            id="unknown signature, before inputs",
        ),
        pytest.param(
            predict(output_filter=["nope"]),
            CODE.INVALID_ARGUMENT,
            wrong_size("0!=1", "{}", "{x}", "{}", "{x}"),
            id="no inputs, before the filter",
        ),
        pytest.param(
            predict(spec(signature="two"), a=ONE),
            CODE.INVALID_ARGUMENT,
            wrong_size("1!=2", "{a}", "{a,b}", "{}", "{b}"),
            id="one of two",
        ),
        pytest.param(
            predict(x=X, z=X, y=X),
            CODE.INVALID_ARGUMENT,
            wrong_size("3!=1", "{x,y,z}", "{x}", "{y,z}", "{}"),
            id="two too many",
        ),
        pytest.param(
            predict(y=SHORT),
            CODE.INVALID_ARGUMENT,
            wrong_alias("x", "serving_default_x:0", "{y}"),
            id="wrong alias, before its tensor",
        ),
        pytest.param(
            predict(spec(signature="two"), a=ONE, c=ONE),
            CODE.INVALID_ARGUMENT,
            wrong_alias("b", "two_b:0", "{a,c}"),
            id="one alias of two wrong",
        ),
        pytest.param(
            predict(x=SHORT, output_filter=["nope"]),
            CODE.INVALID_ARGUMENT,
            "tensor parsing error: x",
            id="short content, before the filter",
        ),
        pytest.param(
            predict(x=tensor_pb2.TensorProto()), CODE.INVALID_ARGUMENT, "tensor parsing error: x", id="empty tensor"
        ),
        pytest.param(
            predict(x=X.astype(np.float64), output_filter=["nope"]),
            CODE.INVALID_ARGUMENT,
            wrong_output("nope"),
            id="unknown output, before the run",
        ),
        pytest.param(
            predict(x=X, output_filter=["logits", ""]), CODE.INVALID_ARGUMENT, wrong_output(""), id="empty output"
        ),
        pytest.param(
            predict(x=X, output_filter=["logits", "logits"]),
            CODE.INVALID_ARGUMENT,
            "duplicate output tensor alias: logits",
            id="an output twice",
        ),
        pytest.param(
            predict(x=X.astype(np.float64)),
            CODE.INVALID_ARGUMENT,
            "Expects arg[0] to be float but double is provided",
            id="double",
        ),
        pytest.param(
            predict(x=X.astype(np.int32)),
            CODE.INVALID_ARGUMENT,
            "Expects arg[0] to be float but int32 is provided",
            id="int32",
        ),
        pytest.param(
            predict(x=[b"a"]),
            CODE.INVALID_ARGUMENT,
            "Expects arg[0] to be float but string is provided",
            id="string",
        ),
        pytest.param(
            predict(x=tensor_pb2.TensorProto(dtype=21)),
            CODE.INVALID_ARGUMENT,
            "Expects arg[0] to be float but variant is provided",
            id="variant",
        ),
        pytest.param(
            predict(spec(signature="two"), a=ONE.astype(np.int64), b=tensor_pb2.TensorProto(dtype=20)),
            CODE.INVALID_ARGUMENT,
            "Expects arg[0] to be float but int64 is provided",
            id="two wrong types, the first is named",
        ),
        pytest.param(
            predict(spec(signature="two"), a=ONE, b=tensor_pb2.TensorProto(dtype=20)),
            CODE.INVALID_ARGUMENT,
            "Expects arg[1] to be float but resource is provided",
            id="the second type wrong",
        ),
        pytest.param(
            predict(x=np.zeros((2, 3), np.float32)),
            CODE.INVALID_ARGUMENT,
            f"Matrix size-incompatible: In[0]: [2,3], In[1]: [4,3]\n\t [[{{{{node {NODE}}}}}]]",
            id="wrong shape",
        ),
        pytest.param(
            predict(x=X[0]),
            CODE.INVALID_ARGUMENT,
            f"In[0] ndims must be >= 2\n\t [[{{{{node {NODE}}}}}]]",
            id="wrong rank",
        ),
        pytest.param(
            predict(spec(signature="__saved_model_init_op")),
            CODE.INVALID_ARGUMENT,
            "Tried to fetch data for 'NoOp', which produces no output.  To run to a node but not fetch any data, pass "
            "'NoOp' as an argument to the 'target_node_names' argument of the Session::Run API.",
            id="a signature without tensors",
        ),
    ],
)
def test_refusals(client: Client, request_: Any, code: Any, details: str) -> None:
    assert refusal(client.prediction.Predict, request_) == (code, details)


@pytest.mark.parametrize(
    ("asked", "version", "logits"),
    [
        (spec(), 2, [12, 14, 16]),
        (spec(version=2, signature="serving_default"), 2, [12, 14, 16]),
        (spec(version=1), 1, [6, 7, 8]),
        (spec(label="stable"), 1, [6, 7, 8]),
    ],
)
def test_a_good_reply(client: Client, asked: Any, version: int, logits: list[float]) -> None:
    reply = client.prediction.Predict(predict(asked, x=X))
    assert reply.model_spec == spec(signature="serving_default", version=version)
    assert set(reply.outputs) == {"logits", "probs", "cls"}
    assert np.allclose(reply.outputs["logits"].float_val, logits)
    assert np.allclose(
        tf.make_ndarray(reply.outputs["probs"]), tf.nn.softmax(np.array([logits], np.float32)), atol=1e-5
    )
    assert list(reply.outputs["cls"].int64_val) == [2]
    assert all(not output.tensor_content for output in reply.outputs.values())


def test_a_filter_chooses_outputs(client: Client) -> None:
    reply = client.prediction.Predict(predict(x=X, output_filter=["cls", "probs"]))
    assert set(reply.outputs) == {"cls", "probs"}


def test_no_rows_give_no_rows(client: Client) -> None:
    logits = client.prediction.Predict(predict(x=np.zeros((0, 4), np.float32))).outputs["logits"]
    assert [dim.size for dim in logits.tensor_shape.dim] == [0, 3]
    assert not logits.float_val


def test_nan_stays_nan(client: Client) -> None:
    assert np.isnan(client.prediction.Predict(predict(x=X * np.nan)).outputs["logits"].float_val).all()


@pytest.mark.parametrize("strings", [[b"a\0b\0", b"\xff\xfe", b""], b"scalar", []], ids=str)
def test_strings_are_bytes(client: Client, strings: Any) -> None:
    sent = tf.make_tensor_proto(strings, dtype=tf.string)
    out = client.prediction.Predict(predict(spec(signature="strs"), s=sent)).outputs["out"]
    assert out.tensor_shape == sent.tensor_shape
    assert list(out.string_val) == [b"<" + one + b">" for one in sent.string_val]


def test_a_classify_signature_can_be_predicted(client: Client) -> None:
    sent = predict(spec(signature="classify"), inputs=[example(1, 2, 3, 4).SerializeToString()])
    reply = client.prediction.Predict(sent)
    assert reply.model_spec.signature_name == "classify"
    assert list(reply.outputs["classes"].string_val) == [b"c0", b"c1", b"c2"]


def test_a_text_that_quotes_bytes_of_the_request(client: Client) -> None:
    code, details = refusal(client.prediction.Predict, predict(spec(signature="classify"), inputs=[b"\xc3\x28"]))
    assert code == CODE.INVALID_ARGUMENT
    assert details.startswith("Could not parse example input, value: '")


def test_a_tf1_model(client: Client) -> None:
    reply = client.prediction.Predict(predict(spec("half_plus_two"), x=[2.0, 4.0]))
    assert list(reply.outputs["y"].float_val) == [3.0, 4.0]


def test_a_shape_outside_the_signature_is_the_models_business(client: Client) -> None:
    reply = client.prediction.Predict(predict(spec("half_plus_two"), x=np.zeros((2, 2, 2), np.float32)))
    assert list(reply.outputs["y"].float_val) == [2.0] * 8


def test_large_requests_and_replies(client: Client) -> None:
    rows = np.zeros((400_000, 4), np.float32)
    reply = client.prediction.Predict(requests.predict(x=rows))
    assert len(reply.outputs["logits"].float_val) == 1_200_000
