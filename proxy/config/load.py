"""From a YAML file to a `Config`, every error with its path and line in the file.

`${NAME}` and `${NAME:-default}` in a value are replaced from the environment, so that secrets stay out of the file;
`$${` is a literal `${`. What comes from the environment is text: it never becomes YAML of its own.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from proxy.config.schema import Config

_VARIABLE = re.compile(r"\$(\$\{|\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})")
MAX_FILE_BYTES = 4 * 2**20

MIN_VALUES = 10_000
"""Values that any configuration may have. A value that is no alias takes a character or more, so larger files may have
more. Aliases of aliases could make billions of a few lines."""
MAX_DEPTH = 64
"""Lists and mappings within each other: libyaml's composer calls itself for each, and a deep text ends the process."""
MAX_INTEGER_BITS = 1024
"""Python writes no larger numbers than of about 14,000 bits in messages; floats end here."""

# libyaml's parser is tenfold faster; PyYAML's own takes its place where the wheel was built without.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class ConfigError(Exception):
    """A configuration that cannot be used; `str()` is what the operator reads, one problem a line."""


class _TooManyError(Exception):
    """There are more values than there may be."""


@dataclass
class _Reader:
    """Plain values of a YAML tree with the line of each, problems collected so that one run shows them all."""

    environment: Mapping[str, str]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)
    most: int = 0
    values: int = 0

    def read(self, node: yaml.Node, path: KeyPath = ()) -> Any:
        self.lines[path] = node.start_mark.line + 1
        self.values += 1
        if self.values > self.most:
            raise _TooManyError
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            at = (*path, key)
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                self.lines[at] = key_node.start_mark.line + 1
                self.problems.append((at, "only plain keys are understood; write the settings out"))
            elif key in values:
                first = self.lines[at]
                self.lines[at] = key_node.start_mark.line + 1
                self.problems.append((at, f"the key stands twice (first on line {first}); keep one"))
            else:
                values[key] = self.read(value_node, at)
                self.lines[at] = key_node.start_mark.line + 1
        return values

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = str(node.value)
        expanded = _VARIABLE.sub(lambda match: self._variable(match, path), text)
        if expanded == text:
            try:
                found = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
            except Exception:  # PyYAML raises anything for a text that its tag does not fit
                found = None
                self.problems.append(
                    (path, f"{text!r:.80} with the tag {node.tag:.80} is not a plain value; remove the tag")
                )
            if isinstance(found, int) and found.bit_length() > MAX_INTEGER_BITS:
                self.problems.append(
                    (path, f"{text:.20}... is a number larger than any that is meant; write a smaller one")
                )
                return None
            return found
        return expanded

    def _variable(self, match: re.Match[str], path: KeyPath) -> str:
        if match[1] == "${":
            return "${"
        name, default = match[2], match[4]
        value = self.environment.get(name)
        if value is None or (value == "" and default is not None):
            if default is None:
                self.problems.append(
                    (path, f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
                )
            return default or ""
        return value


def tree(text: str, source: str) -> yaml.Node | None:
    """The tree of a YAML text; None for an empty one.

    Raises:
        ConfigError: naming `source` and the line of what is not YAML, or nests deeper than MAX_DEPTH.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                where = f":{event.start_mark.line + 1}" if event.start_mark else ""
                raise ConfigError(
                    f"{source}{where}: lists and mappings nest more than {MAX_DEPTH} deep; write them flatter"
                )
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = len(text.splitlines()) or 1  # libyaml finds the end on the line after it
        where = f":{min(mark.line + 1, last)}" if mark else ""
        raise ConfigError(f"{source}{where}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ConfigError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from None


def parse(text: str, environment: Mapping[str, str], source: str = "configuration") -> Config:
    """Checks a configuration's text.

    Raises:
        ConfigError: naming `source`, the line, the key path and the remedy of every problem found.
    """
    return parse_as(Config, text, environment, source, "the shortest one is `upstream: HOST:PORT`")


def parse_as(
    form: type[Model],
    text: str,
    environment: Mapping[str, str],
    source: str,
    hint: str,
    keys: str = "`tensorwall check-config --schema`",
) -> Model:
    """Checks a text against any form; `hint` ends the message for a text that is not even a mapping.

    Raises:
        ConfigError: as `parse`.
    """
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{source}: {len(text)} characters are more than a configuration may have ({MAX_FILE_BYTES})")
    root = tree(text, source)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{source}: a mapping is expected; {hint}")
    reader = _Reader(environment, most=max(MIN_VALUES, len(text)))
    try:
        values = reader.read(root)
    except _TooManyError:
        raise ConfigError(f"{source}: its aliases make more than {reader.most} values of it; write fewer") from None
    except RecursionError:
        raise ConfigError(f"{source}: an alias refers to itself or the nesting is too deep") from None
    if not reader.problems:
        try:
            return form.model_validate(values)
        except ValidationError as error:
            reader.problems += _problems(error, keys)
    raise ConfigError("\n".join(_line(source, reader.lines, path, text) for path, text in reader.problems))


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Reads and checks a configuration file.

    Raises:
        ConfigError: the file cannot be read, or is wrong.
    """
    return parse(text_of(path), environment, str(path))


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a readable file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


_WORDS = {
    "missing": "is required; add it",
    "extra_forbidden": "is not a known key; check the spelling against {keys}",
}


_UNNAMED = ("tagged-union[", "constrained-")
"""What pydantic calls a member of a union that has no name of its own."""


def _problems(error: ValidationError, keys: str) -> list[tuple[KeyPath, str]]:
    """Without those that only follow from a problem further in (a list is too short because its one item is wrong)."""
    found = [_problem(details, keys) for details in error.errors(include_url=False)]
    inner = {path[:n] for path, _ in found for n in range(len(path))}
    return [(path, text) for path, text in found if path not in inner] or found


def _problem(error: Any, keys: str) -> tuple[KeyPath, str]:
    path = tuple(part for part in error["loc"] if part not in ("function-after", "function-before"))
    kind = error["type"]
    if kind in _WORDS:
        return path, _WORDS[kind].format(keys=keys)
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    if kind == "value_error" or isinstance(value, dict | list):
        return path, message[0].lower() + message[1:] if not message.startswith(("'", '"')) else message
    return path, f"{message[0].lower()}{message[1:]}, not {value!r:.80}"


def _line(source: str, lines: Mapping[KeyPath, int], path: KeyPath, text: str) -> str:
    at = path
    while at and at not in lines:
        at = at[:-1]
    named = (part for part in path if not str(part).startswith(_UNNAMED))
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")
    return f"{source}:{lines.get(at, 1)}: {name + ': ' if name else ''}{text}"
