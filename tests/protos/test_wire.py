"""Our messages against tensorflow-serving-api's: same field names, numbers, types and labels, so the same bytes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from protos import example_pb2, prediction_log_pb2, serving_pb2, signature_pb2, tensor_pb2

ROOT = Path(__file__).parents[2]
OURS = (tensor_pb2, example_pb2, signature_pb2, serving_pb2, prediction_log_pb2)
KNOWINGLY_LEFT_OUT = {
    "StatusProto.error_code",  # an enum upstream, a plain number here
    "PredictionLog.recorded",  # ours alone
}


def _messages(parent: Any) -> list[Descriptor]:
    found = []
    for message in (
        parent.message_types_by_name if hasattr(parent, "message_types_by_name") else parent.nested_types_by_name
    ).values():
        if not message.GetOptions().map_entry:
            found += [message, *_messages(message)]
    return found


def _enums() -> list[EnumDescriptor]:
    nested = [enum for module in OURS for message in _messages(module.DESCRIPTOR) for enum in message.enum_types]
    return nested + [enum for module in OURS for enum in module.DESCRIPTOR.enum_types_by_name.values()]


@pytest.fixture(scope="module")
def genuine() -> Any:
    """The descriptor pool that tensorflow-serving-api fills."""
    from google.protobuf import descriptor_pool
    from tensorflow_serving.apis import (  # noqa: F401
        model_service_pb2,
        prediction_log_pb2,
        prediction_service_pb2,
    )

    return descriptor_pool.Default()


def _shape(field: FieldDescriptor) -> tuple[object, ...]:
    kind = field.message_type or field.enum_type
    name = kind.full_name.removeprefix("tensorwall.") if kind is not None else ""
    return (
        field.number,
        field.type,
        field.is_repeated,
        field.is_packed,
        name,
        field.containing_oneof and field.containing_oneof.name,
    )


def test_every_field_has_the_genuine_number_and_type(genuine: Any) -> None:
    for module in OURS:
        for ours in _messages(module.DESCRIPTOR):
            theirs = genuine.FindMessageTypeByName(ours.full_name.removeprefix("tensorwall."))
            for field in ours.fields:
                if f"{ours.name}.{field.name}" in KNOWINGLY_LEFT_OUT:
                    continue
                assert _shape(field) == _shape(theirs.fields_by_name[field.name]), field.full_name


def test_every_enum_value_has_the_genuine_number(genuine: Any) -> None:
    for ours in _enums():
        theirs = genuine.FindEnumTypeByName(ours.full_name.removeprefix("tensorwall."))
        assert {v.name: v.number for v in ours.values}.items() <= {v.name: v.number for v in theirs.values}.items()


def test_every_method_takes_and_gives_the_genuine_messages(genuine: Any) -> None:
    for ours in serving_pb2.DESCRIPTOR.services_by_name.values():
        theirs = genuine.FindServiceByName(ours.full_name.removeprefix("tensorwall."))
        for method in ours.methods:
            genuine_method = theirs.methods_by_name[method.name]
            assert method.input_type.full_name.removeprefix("tensorwall.") == genuine_method.input_type.full_name
            assert method.output_type.full_name.removeprefix("tensorwall.") == genuine_method.output_type.full_name


def test_the_generated_code_is_that_of_the_definitions(tmp_path: Path) -> None:
    definitions = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "protos").glob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I.",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            *definitions,
        ],
        cwd=ROOT,
        check=True,
    )
    for generated in (tmp_path / "protos").iterdir():
        assert generated.read_text() == (ROOT / "protos" / generated.name).read_text(), (
            f"run `make protos`: {generated.name}"
        )
