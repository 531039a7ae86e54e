"""From a YAML file to a `Config`, every error with its path and line in the file.

`${NAME}` and `${NAME:-default}` in a value are replaced from the environment, so that secrets stay out of the file;
`$${` is a literal `${`. What comes from the environment is text: it never becomes YAML of its own.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
MAX_PROBLEMS = 50
"""Of those that a text has, told one by one."""
_CONSIDERED = 1000
"""Of those that pydantic finds: some only follow from others."""

# libyaml's parser is tenfold faster; PyYAML's own takes its place where the wheel was built without.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class ConfigError(Exception):
    """A configuration that cannot be used; `str()` is what the operator reads, one problem a line."""


class _TooManyError(Exception):
    """There are more values than there may be."""


class _Problem(NamedTuple):
    line: int
    path: KeyPath
    text: str


@dataclass
class _Reader:
    """Plain values of a YAML tree, and problems with their lines, collected so that one run shows them all."""

    environment: Mapping[str, str]
    problems: list[_Problem] = field(default_factory=list)
    more: int = 0
    most: int = 0
    values: int = 0

    def read(self, node: yaml.Node, path: KeyPath = ()) -> Any:
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
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            at = (*path, key)
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, at, "only plain keys are understood; write the settings out")
            elif key in values:
                self._problem(key_node, at, f"the key stands twice (first on line {lines[key]}); keep one")
            else:
                lines[key] = _line(key_node)
                values[key] = self.read(value_node, at)
        return values

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = str(node.value)
        expanded = _VARIABLE.sub(lambda match: self._variable(match, node, path), text)
        if expanded == text:
            try:
                found = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
            except Exception:  # PyYAML raises anything for a text that its tag does not fit
                found = None
                self._problem(
                    node, path, f"{text!r:.80} with the tag {node.tag:.80} is not a plain value; remove the tag"
                )
            if isinstance(found, int) and found.bit_length() > MAX_INTEGER_BITS:
                self._problem(
                    node, path, f"{text:.20}... is a number larger than any that is meant; write a smaller one"
                )
                return None
            return found
        return expanded

    def _variable(self, match: re.Match[str], node: yaml.Node, path: KeyPath) -> str:
        if match[1] == "${":
            return "${"
        name, default = match[2], match[4]
        value = self.environment.get(name)
        if value is None or (value == "" and default is not None):
            if default is None:
                self._problem(
                    node, path, f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
                )
            return default or ""
        return value

    def _problem(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(_Problem(_line(node), path, text))
        else:
            self.more += 1


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


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
    values, problems, more = _read(text, environment, source, hint)
    if not problems:
        try:
            return form.model_validate(values)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)
        found, more = _problems(wrong[:_CONSIDERED], keys), max(0, len(wrong) - _CONSIDERED)
        more += max(0, len(found) - MAX_PROBLEMS)
        wrong.clear()
        # The lines are looked up in a second tree: to keep the first would double what a large text takes.
        root = tree(text, source)
        problems = [_Problem(_line_at(root, path), path, told) for path, told in found[:MAX_PROBLEMS]]
    told = [f"{source}:{line}: {_name(path)}{text}" for line, path, text in problems]
    raise ConfigError("\n".join(told + ([f"{source}: and {more} problems more"] if more else [])))


def _read(
    text: str, environment: Mapping[str, str], source: str, hint: str
) -> tuple[dict[str, Any], list[_Problem], int]:
    """The values in a text, its problems, and how many more there are."""
    root = tree(text, source)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{source}: a mapping is expected; {hint}")
    reader = _Reader(environment, most=max(MIN_VALUES, len(text)))
    try:
        return reader.read(root), reader.problems, reader.more
    except _TooManyError:
        raise ConfigError(f"{source}: its aliases make more than {reader.most} values of it; write fewer") from None
    except RecursionError:
        raise ConfigError(f"{source}: an alias refers to itself or the nesting is too deep") from None


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


def _problems(wrong: Sequence[Any], keys: str) -> list[tuple[KeyPath, str]]:
    """Without those that only follow from a problem further in (a list is too short because its one item is wrong)."""
    found = [_problem(details, keys) for details in wrong]
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


def _line_at(root: yaml.Node | None, path: KeyPath) -> int:
    """The line of a key or an item, or of the innermost of what it is in that there is."""
    node, line = root, 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            inner = next(((key, value) for key, value in node.value if str(key.value) == part), None)
            if inner is None:
                break
            line, node = _line(inner[0]), inner[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = _line(node)
        else:
            break
    return line


def _name(path: KeyPath) -> str:
    named = (part for part in path if not str(part).startswith(_UNNAMED))
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")
    return f"{name}: " if name else ""
