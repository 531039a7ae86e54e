"""The comparison of replies: it forgives the order of map entries and nothing else."""

from google.protobuf.any_pb2 import Any as Packed
from hypothesis import given
from hypothesis import strategies as st

from protos import serving_pb2 as serving
from protos.signature_pb2 import SignatureDef
from tests.conformance.case import GET_MODEL_METADATA, PREDICT
from tests.conformance.messages import content, floats, spec
from tests.conformance.wire import up_to_map_order

_ENTRIES = [
    serving.PredictResponse(outputs={name: floats()}).SerializeToString() for name in ("logits", "probs", "cls")
]
_SPEC = serving.PredictResponse(model_spec=spec(version=2)).SerializeToString()


def _described(*names: str) -> bytes:
    """A metadata reply whose signatures stand in this order."""
    signatures = b"".join(
        serving.SignatureDefMap(signature_def={name: SignatureDef(method_name=name)}).SerializeToString()
        for name in names
    )
    packed = Packed(type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap", value=signatures)
    return serving.GetModelMetadataResponse(metadata={"signature_def": packed}).SerializeToString()


@given(st.permutations(_ENTRIES))
def test_map_entries_in_any_order_are_alike(entries: list[bytes]) -> None:
    assert up_to_map_order(PREDICT, b"".join(entries) + _SPEC) == up_to_map_order(PREDICT, b"".join(_ENTRIES) + _SPEC)


def test_maps_inside_any_are_alike_in_any_order() -> None:
    one, other = _described("a", "b", "c"), _described("c", "a", "b")
    assert one != other
    assert up_to_map_order(GET_MODEL_METADATA, one) == up_to_map_order(GET_MODEL_METADATA, other)


@given(st.data())
def test_any_other_byte_makes_a_difference(data: st.DataObject) -> None:
    reply = b"".join(_ENTRIES) + _SPEC
    at = data.draw(st.integers(0, len(reply) - 1))
    changed = reply[:at] + bytes([reply[at] ^ data.draw(st.integers(1, 255))]) + reply[at + 1 :]
    assert up_to_map_order(PREDICT, reply) != up_to_map_order(PREDICT, changed)


def test_another_encoding_of_the_same_values_makes_a_difference() -> None:
    one = serving.PredictResponse(outputs={"x": floats()}).SerializeToString()
    other = serving.PredictResponse(outputs={"x": content()}).SerializeToString()
    longer_length = one[:1] + bytes([one[1] | 0x80, 0]) + one[2:]
    assert serving.PredictResponse.FromString(longer_length) == serving.PredictResponse.FromString(one)
    assert len({up_to_map_order(PREDICT, reply) for reply in (one, other, longer_length)}) == 3


def test_fields_out_of_order_make_a_difference() -> None:
    assert up_to_map_order(PREDICT, _SPEC + _ENTRIES[0]) != up_to_map_order(PREDICT, _ENTRIES[0] + _SPEC)


def test_replies_of_unknown_methods_are_compared_as_they_are() -> None:
    assert up_to_map_order("/other.Service/Method", b"\xff") == b"\xff"
