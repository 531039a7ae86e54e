"""What a SavedModel promises its callers: its signatures, name by name, and how two models' promises differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

INIT = "__saved_model_init_op"
"""Not a signature that anybody can call."""


class SignatureError(Exception):
    """Signatures that cannot be read or kept; `str()` says why and the remedy."""


@dataclass(frozen=True)
class Tensor:
    """dtype by TensorFlow's name; shape with None where any size fits, None for any rank."""

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = (
            "unknown" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        )
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs by name, and the method: predict, classify or regress (in full)."""

    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


def read_signatures(folder: Path) -> dict[str, Signature]:
    """The signatures of the SavedModel in a version folder, by name.

    Raises:
        SignatureError: there is no SavedModel, or it cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    try:
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except OSError as error:
        raise SignatureError(f"{path} cannot be read: {error.strerror}") from None
    except DecodeError:
        raise SignatureError(f"{path} is no SavedModel") from None
    serving = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not serving:
        raise SignatureError(f"{path} has no graph with the tag 'serve'")
    return {
        name: Signature(
            definition.method_name,
            {key: _tensor(info) for key, info in sorted(definition.inputs.items())},
            {key: _tensor(info) for key, info in sorted(definition.outputs.items())},
        )
        for name, definition in sorted(serving[0].signature_def.items())
        if name != INIT
    }


def differences(served: Mapping[str, Signature], candidate: Mapping[str, Signature]) -> list[str]:
    """How a candidate's signatures differ from those served, a clause each; empty if no caller can tell them apart."""
    found = []
    for name in sorted({*served, *candidate}):
        if name not in candidate:
            found.append(f"signature {name} is missing")
        elif name not in served:
            found.append(f"signature {name} is new")
        else:
            found += list(_within(name, served[name], candidate[name]))
    return found


def _within(name: str, served: Signature, candidate: Signature) -> Iterator[str]:
    if served.method != candidate.method:
        yield f"signature {name} is for {candidate.method or 'nothing'} instead of {served.method or 'nothing'}"
    for side, before, after in (
        ("input", served.inputs, candidate.inputs),
        ("output", served.outputs, candidate.outputs),
    ):
        for key in sorted({*before, *after}):
            if key not in after:
                yield f"{name}: {side} {key} is missing"
            elif key not in before:
                yield f"{name}: {side} {key} is new"
            elif before[key] != after[key]:
                yield f"{name}: {side} {key} is {after[key]} instead of {before[key]}"


def _tensor(info: object) -> Tensor:
    from tensorflow.core.framework import types_pb2

    shape = info.tensor_shape  # type: ignore[attr-defined]  # a TensorInfo
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    return Tensor(types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower(), sizes)  # type: ignore[attr-defined]
