"""`tensorwall operators`: make a token for the admin port, and the record of it for the configuration."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import get_args

from pydantic import ValidationError

from proxy.admin.operators import token_hash
from proxy.config.admin import Operator, Role
from proxy.keys.edit import new_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token, show it once, and print the record for admin.operators")
    add.add_argument("--name", required=True, metavar="NAME", help="as it will stand in the audit log")
    add.add_argument("--role", required=True, choices=get_args(Role), help="viewer reads, operator also acts")
    add.add_argument("--expires", metavar="YYYY-MM-DD", help="last day on which it works (UTC)")


def run(arguments: argparse.Namespace, clock: Callable[[], float] = time.time) -> int:
    """Prints the record on standard error and the token on standard output; 2 for a mistake.

    Args:
        arguments: as parsed.
        clock: seconds since 1970.
    """
    _, token = new_key()
    fields = {"name": arguments.name, "role": arguments.role, "sha256": token_hash(token)}
    if arguments.expires is not None:
        fields["expires"] = arguments.expires
    try:
        operator = Operator.model_validate(fields)
    except ValidationError:
        what = "--name is 1 to 64 letters, digits or any of _ . @ -"
        print(f"tensorwall operators: {what}; --expires is written YYYY-MM-DD", file=sys.stderr)
        return 2
    if operator.expires is not None and operator.expires.timestamp() <= clock():
        print(f"tensorwall operators: --expires {arguments.expires} has passed; name a day to come", file=sys.stderr)
        return 2
    record = ", ".join(f"{key}: {json.dumps(value) if key == 'expires' else value}" for key, value in fields.items())
    print("Put this under admin.operators in the configuration; a running proxy takes it at once:", file=sys.stderr)
    print(f"    - {{{record}}}", file=sys.stderr)
    print("The token is shown this once and stored nowhere:", file=sys.stderr)
    print(token)
    return 0
