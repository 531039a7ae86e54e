"""The key file: one YAML list of records, read into an index by hash and swapped whole when the file changes.

SHA-256 is the right hash here: a key is 256 random bits, which no amount of guessing finds, so a slow hash (bcrypt,
scrypt, Argon2) would protect nothing and let anyone burn the proxy's CPU with wrong keys.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from proxy.config.hashed import End, Moment, Sha256
from proxy.config.load import ConfigError, tree
from proxy.fingerprint import fingerprint

MAX_FILE_BYTES = 4 * 2**20
MAX_KEYS = 10_000
MAX_KEY_CHARS = 256
"""A longer header value is no key; it is not even hashed."""
_MAX_PROBLEMS = 20

_PREFIX_BYTES = 8
_NO_KEY = bytes(32)


def _owner(value: object) -> object:
    if isinstance(value, str) and not (value.isprintable() and value == value.strip()):
        raise ValueError("an owner is printable text without spaces around it")
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class KeyRecord(BaseModel):
    """One key: whose it is and whether it still opens the door.

    Attributes:
        id: names the key in logs, limits and commands; the first 12 digits of the hash when the file gives none.
        sha256: lower-case hexadecimal SHA-256 of the whole key, UTF-8.
        owner: who answers for the calls; all keys of one owner are one group.
        tier: the class of service; None for the default.
        created: when the key was made, for the reader of the list.
        expires: the first moment, UTC, at which the key no longer works.
        revoked: set once the key has been withdrawn; whatever the moment, it no longer works.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256 = Field(repr=False)
    owner: Annotated[str, BeforeValidator(_owner), Field(min_length=1, max_length=128)]
    id: Name
    tier: Name | None = None
    created: Moment | None = None
    expires: End | None = None
    revoked: Moment | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_id(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("id") is None and isinstance(value.get("sha256"), str):
            return {**value, "id": value["sha256"][:12].lower()}
        return value

    def status(self, now: float) -> Literal["active", "expired", "revoked"]:
        """Whether the key works at `now`, in seconds since the epoch."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires.timestamp() else "active"


class KeyFile:
    """The keys of one file.

    Args:
        path: the file.
        clock: seconds since the epoch, for expiry.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._seen = fingerprint(path)
        self._index = _index(read_keys(path))

    def __len__(self) -> int:
        return sum(len(records) for records in self._index.values())

    def find(self, key: str | bytes) -> KeyRecord | None:
        """The record of a valid key; None for one that is unknown, expired or revoked. Never raises.

        The look-up goes by a prefix of the key's hash, which tells an attacker who times it nothing about any key; the
        rest is compared in constant time, and something is compared even when nothing was found.
        """
        if len(key) > MAX_KEY_CHARS:
            return None
        raw = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
        digest = hashlib.sha256(raw).digest()
        found = None
        for stored, record in self._index.get(digest[:_PREFIX_BYTES], ((_NO_KEY, None),)):
            if hmac.compare_digest(stored, digest):
                found = record
        return found if found is not None and found.status(self._clock()) == "active" else None

    def reload_if_changed(self) -> bool:
        """Reads the file again if it has changed; True when its keys are now in force.

        Calls of one task or thread at a time; `find` may run meanwhile in any other.

        Raises:
            ConfigError: the file has gone or is wrong. The keys stay as they were, and this is said once a change.
        """
        now = fingerprint(self.path)
        if now == self._seen:
            return False
        self._seen = now
        self._index = _index(read_keys(self.path))
        return True


_Index = Mapping[bytes, tuple[tuple[bytes, KeyRecord | None], ...]]


def _index(records: tuple[KeyRecord, ...]) -> _Index:
    index: dict[bytes, tuple[tuple[bytes, KeyRecord | None], ...]] = {}
    for record in records:
        digest = bytes.fromhex(record.sha256)
        prefix = digest[:_PREFIX_BYTES]
        index[prefix] = (*index.get(prefix, ()), (digest, record))
    return index


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        ConfigError: it cannot be read, or is larger than a key file may be.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes; remove keys that were revoked or expired")
        return raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a readable key file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """The records of a file, in its order; `ConfigError` as `parse_keys` and `read_text`."""
    return parse_keys(read_text(path), str(path))


def compose(text: str, source: str) -> yaml.SequenceNode | None:
    """The YAML list in a key file's text; None for an empty file.

    Raises:
        ConfigError: it is not YAML, or not a list.
    """
    root = tree(text, source)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        return None
    if not isinstance(root, yaml.SequenceNode):
        raise ConfigError(f"{source}:1: a list of keys is expected, each beginning with `- sha256: ...` or `- id: ...`")
    return root


def parse_keys(text: str, source: str) -> tuple[KeyRecord, ...]:
    """The records in a key file's text; none for an empty one.

    Values are taken as text whatever they look like to YAML, so that a hash or an id of digits needs no quotes.

    Raises:
        ConfigError: naming `source`, the line and the remedy of the problems found, the first twenty.
    """
    root = compose(text, source)
    nodes = [] if root is None else root.value
    if len(nodes) > MAX_KEYS:
        raise ConfigError(f"{source}: {len(nodes)} keys are more than {MAX_KEYS}; remove revoked and expired ones")
    records: dict[str, KeyRecord] = {}
    hashes: dict[str, str] = {}
    problems: list[str] = []
    for node in nodes:
        where = f"{source}:{node.start_mark.line + 1}"
        try:
            record = KeyRecord.model_validate(dict(_fields(node)))
        except ValidationError as error:
            problems += [f"{where}: {_problem(e)}" for e in error.errors(include_url=False)]
        except ValueError as error:
            problems.append(f"{where}: {error}")
        else:
            if record.id in records:
                problems.append(f"{where}: id: {record.id!r} stands twice; give each key its own")
            elif record.sha256 in hashes:
                problems.append(f"{where}: sha256: the same key as {hashes[record.sha256]!r}; keep one")
            records[record.id] = record
            hashes[record.sha256] = record.id
    if problems:
        raise ConfigError("\n".join(problems[:_MAX_PROBLEMS]))
    return tuple(records.values())


def _fields(node: yaml.Node) -> Iterator[tuple[str, str | None]]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("a key is a mapping with at least sha256 and owner")
    seen = set()
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise ValueError("a key has plain values only, as in `owner: NAME`")
        if name.value in seen:
            raise ValueError(f"{name.value}: stands twice; keep one")
        seen.add(name.value)
        null = not value.style and value.value in ("", "~", "null")
        yield str(name.value), None if null else str(value.value)


def _problem(error: Mapping[str, object]) -> str:
    location = error["loc"]
    name = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    if error["type"] == "missing":
        return f"{name}: is required; add it"
    if error["type"] == "extra_forbidden":
        return f"{name}: is not a known field; there are {', '.join(KeyRecord.model_fields)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" + ("" if error["type"] == "value_error" else f", not {error['input']!r:.80}")
