"""`tensorwall check-config`: what is wrong and where, or the effective configuration with secrets redacted."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from proxy.config.load import ConfigError, load
from proxy.config.redact import redact
from proxy.config.schema import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the configuration, one YAML file")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the configuration")


def run(arguments: argparse.Namespace) -> int:
    """0 if the file can be used, 2 if not."""
    if arguments.schema:
        print(json.dumps(Config.model_json_schema(), indent=2))
        return 0
    try:
        config = load(arguments.file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(yaml.safe_dump(redact(config), sort_keys=False), end="")
    return 0
