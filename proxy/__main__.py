"""The command `tensorwall`: one subcommand, one module, imported only when it is asked for."""

import argparse
import importlib
import os
import sys

_COMMANDS = {
    "serve": ("proxy.serve", "run the proxy"),
    "check-config": ("proxy.config.check", "say what is wrong with a configuration, and where"),
    "keys": ("proxy.keys.cli", "add, list and revoke callers' API keys"),
    "callers": ("proxy.callers.cli", "list, show, block, release and immunise callers of a running proxy"),
    "events": ("proxy.events.cli", "follow the events of a running proxy; verify its audit log"),
    "operators": ("proxy.operators.cli", "make tokens for the admin port"),
    "calibrate": ("proxy.calibrate.cli", "learn what is usual for a model, for detection (extra: calibrate)"),
    "replay": ("proxy.replay.cli", "recorded traffic through a candidate configuration (extra: capture)"),
    "drill": ("proxy.drill.cli", "attack a deployment on purpose, and say what it found (extra: attacks)"),
    "retrain": ("proxy.retrain.cli", "harden a model by adversarial training (extra: retrain)"),
    "quarantine": ("proxy.quarantine.cli", "captured rows for a reviewer, then for retrain (extra: capture)"),
    "backend": ("proxy.embedded.cli", "serve SavedModels for trying out and tests (extra: tensorflow)"),
    "demo": ("proxy.demo.cli", "see it work on real data (extra: demo)"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 done, 1 the run failed, 2 usage or configuration."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own log knows neither our format nor our bounds
    # Arrays of some tens of rows gain nothing from BLAS threads of their own, which wait busily for the next product.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="tensorwall", description="The firewall for models served by TensorFlow Serving."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if argument in _COMMANDS), None)
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    parsed = parser.parse_args(arguments)
    try:
        return int(importlib.import_module(_COMMANDS[parsed.command][0]).run(parsed))
    except KeyboardInterrupt:
        print(f"\ntensorwall {parsed.command}: interrupted", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
