"""Changes to a key file, as text, so that its comments and order stay; each is checked before it replaces the file."""

import contextlib
import fcntl
import os
import secrets
import string
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from proxy.config.load import ConfigError
from proxy.keys.file import compose, parse_keys

KEY_PREFIX = "tw_"
_ALPHABET = string.ascii_letters + string.digits
_ID_CHARS = 8
_SECRET_CHARS = 43
"""62 ** 43 is just above 2 ** 256."""

_HEADER = "# API keys of callers, as hashes; `tensorwall keys` adds and revokes them.\n"


def new_key() -> tuple[str, str]:
    """A fresh id and the whole key, `tw_ID_SECRET`: the prefix for secret scanners, the id for logs and support."""
    key_id, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(n)) for n in (_ID_CHARS, _SECRET_CHARS))
    return key_id, f"{KEY_PREFIX}{key_id}_{secret}"


def with_record(text: str, fields: Mapping[str, str], source: str) -> str:
    """The file's text with one more record at its end.

    Raises:
        ConfigError: the text is not a key file, or the new record does not fit it.
    """
    root = compose(text, source)
    block = yaml.safe_dump([dict(fields)], sort_keys=False, allow_unicode=True, width=1000)
    if root is not None and root.flow_style:
        raise ConfigError(f"{source}: keys can be added to a list in block style only, one that begins with `- `")
    before = (text if text == "" or text.endswith("\n") else text + "\n") or _HEADER
    after = before + textwrap.indent(block, " " * (0 if root is None else root.start_mark.column))
    unfit = ConfigError(f"{source}: no key can be added after the list's end; remove what follows it")
    try:
        compose(after, source)
    except ConfigError:
        raise unfit from None
    if len(parse_keys(after, source)) != len(parse_keys(text, source)) + 1:
        raise unfit
    return after


def with_revocation(text: str, key_id: str, moment: str, source: str) -> str:
    """The file's text with `revoked: MOMENT` in the record of a key, which must be there.

    Raises:
        ConfigError: the text is not a key file, or it is written in a way that does not take the field.
    """
    ids = [record.id for record in parse_keys(text, source)]
    root = compose(text, source)
    assert root is not None
    mark, in_braces = root.value[ids.index(key_id)].start_mark, root.value[ids.index(key_id)].flow_style
    if in_braces:
        after = f'{text[: mark.index]}{{"revoked": "{moment}", {text[mark.index + 1 :]}'
    else:
        after = f'{text[: mark.index]}revoked: "{moment}"\n{" " * mark.column}{text[mark.index :]}'
    with contextlib.suppress(ConfigError):
        if [
            record.id for record in parse_keys(after, source) if record.revoked is not None or record.id != key_id
        ] == ids:
            return after
    raise ConfigError(f"{source}:{mark.line + 1}: add `revoked: {moment}` by hand; the record is written unusually")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Holds off other commands that change key files in the same folder; gives the path with links resolved.

    Raises:
        ConfigError: the folder cannot be opened.
    """
    real = Path(os.path.realpath(path))
    try:
        folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: {real.parent}; name a file in a folder that exists") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield real
    finally:
        os.close(folder)


def replace(path: Path, text: str) -> None:
    """Writes the file whole or not at all: a reader sees the old text or the new one, also after a power cut.

    A new file has mode 0600; one that is there keeps its mode and its owner.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        _replace(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}; the file is as it was") from None


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            if path.exists():
                found, made = path.stat(), os.fstat(file.fileno())
                if (found.st_uid, found.st_gid) != (made.st_uid, made.st_gid):
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
                os.fchmod(file.fileno(), found.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
