"""`tensorwall keys`: add, list and revoke API keys in a key file."""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from proxy.config.load import ConfigError
from proxy.keys.edit import locked, new_key, replace, with_record, with_revocation
from proxy.keys.file import KeyRecord, parse_keys, read_keys, read_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key, store its hash and show the key once")
    add.add_argument("--owner", required=True, metavar="NAME", help="who answers for the calls made with it")
    add.add_argument("--tier", metavar="NAME", help="class of service; the default one if absent")
    add.add_argument("--expires", type=_date, metavar="YYYY-MM-DD", help="last day on which it works (UTC)")
    listing = actions.add_parser("list", help="show whose keys there are and which of them work")
    revoke = actions.add_parser("revoke", help="withdraw a key; running proxies notice by themselves")
    revoke.add_argument("key_id", metavar="KEY_ID", help="the key's id, as `list` shows it")
    for action in (add, listing, revoke):
        action.add_argument(
            "--file", required=True, type=Path, metavar="FILE", help="the key file: identity.api_keys.file"
        )


def run(arguments: argparse.Namespace, clock: Callable[[], float] = time.time) -> int:
    """Runs one action; 0 when done, 2 for a mistake, told in a sentence.

    Args:
        arguments: as parsed.
        clock: seconds since the epoch.
    """
    try:
        if arguments.action == "add":
            _add(arguments.file, arguments.owner, arguments.tier, arguments.expires, clock())
        elif arguments.action == "list":
            _list(arguments.file, clock())
        else:
            _revoke(arguments.file, arguments.key_id, clock())
    except ConfigError as error:
        print(f"tensorwall keys: {error}", file=sys.stderr)
        return 2
    return 0


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write YYYY-MM-DD") from None


def _add(path: Path, owner: str, tier: str | None, expires: date | None, now: float) -> None:
    if expires is not None and expires < datetime.fromtimestamp(now, UTC).date():
        raise ConfigError(f"--expires: {expires} has passed; name a day to come")
    key_id, key = new_key()
    fields = {"id": key_id, "sha256": hashlib.sha256(key.encode()).hexdigest(), "owner": owner}
    if tier is not None:
        fields["tier"] = tier
    fields["created"] = _stamp(now)
    if expires is not None:
        fields["expires"] = expires.isoformat()
    _checked(fields)
    with locked(path) as file:
        text = read_text(file) if file.exists() else ""
        replace(file, with_record(text, fields, str(path)))
    print(f"key {key_id} of {owner} added to {path}; it is shown this once and stored nowhere:", file=sys.stderr)
    print(key)


def _checked(fields: dict[str, str]) -> None:
    """What is wrong with an option is said of the option, before any file is touched."""
    try:
        KeyRecord.model_validate(fields)
    except ValueError:
        raise ConfigError(
            "--owner must be 1 to 128 printable characters without spaces around them, "
            "--tier 1 to 64 letters, digits, dots, dashes or underscores"
        ) from None


def _list(path: Path, now: float) -> None:
    rows = [("ID", "OWNER", "TIER", "CREATED", "EXPIRES", "STATUS", "SHA256")]
    rows += [_row(record, now) for record in read_keys(path)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(record: KeyRecord, now: float) -> tuple[str, str, str, str, str, str, str]:
    created, expires = _shown(record.created), _shown(record.expires)
    return record.id, record.owner, record.tier or "-", created, expires, record.status(now), f"{record.sha256[:8]}..."


def _revoke(path: Path, key_id: str, now: float) -> None:
    with locked(path) as file:
        text = read_text(file)
        record = next((r for r in parse_keys(text, str(path)) if r.id == key_id), None)
        if record is None:
            # The argument is not repeated: it may be a whole key, pasted by mistake.
            raise ConfigError(f"{path}: no key has this id; `tensorwall keys list --file {path}` shows the ids")
        if record.revoked is None:
            replace(file, with_revocation(text, key_id, _stamp(now), str(path)))
    state = "was revoked before" if record.revoked is not None else "is revoked"
    print(f"key {key_id} of {record.owner} {state}", file=sys.stderr)


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
