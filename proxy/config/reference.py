"""The configuration's reference, written from its models: `python -m proxy.config.reference`."""

import inspect
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import TypeAliasType

from proxy.config.schema import Config


def reference(form: type[BaseModel] = Config) -> str:
    """Markdown: one section for each part of the file, where it is first used, and one row for each key."""
    return "\n".join(_section("", form, set()))


def _section(path: str, model: type[BaseModel], written: set[type[BaseModel]]) -> Iterator[str]:
    written.add(model)
    yield f"## `{path or 'the file'}`{_kind(model)}\n"
    yield f"{inspect.cleandoc(model.__doc__ or '')}\n"
    if model.model_fields:
        yield "| key | default | meaning |\n|---|---|---|"
        for name, field in model.model_fields.items():
            yield f"| `{name}` | {_default(field)} | {_meaning(field)} |"
        yield ""
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            if inner not in written:
                yield from _section(f"{path}.{name}".lstrip("."), inner, written)


def _kind(model: type[BaseModel]) -> str:
    """What a member of a union is called in the file."""
    field = model.model_fields.get("kind")
    return "" if field is None else f": {typing.get_args(field.annotation)[0]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or isinstance(field.default, BaseModel):
        return "see below" if _models(field.annotation) else "none"
    if field.default is None:
        return "none"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    bounds = [
        f"{kind} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, kind in _BOUNDS
        if hasattr(rule, attribute)
    ]
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    parts = [field.description or _summary(field), ", ".join(map(str, choices)), ", ".join(bounds)]
    return "; ".join(part for part in parts if part)


_BOUNDS = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))


def _summary(field: FieldInfo) -> str:
    inner = _models(field.annotation)
    return (inspect.cleandoc(inner[0].__doc__ or "").splitlines() or [""])[0] if inner else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configuration models that an annotation mentions."""
    if isinstance(annotation, TypeAliasType):
        return _models(annotation.__value__)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
