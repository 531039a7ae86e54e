"""`tensorwall drill`: attacks and benign callers against a deployment, and a table of what they got."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

EXIT_FAILED, EXIT_USAGE = 1, 2
ADDRESSES = 20_000
"""Of --forwarded."""
NEEDED = {
    "art": "adversarial-robustness-toolbox",
    "tensorflow": "tensorflow",
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    where = parser.add_argument_group("what is drilled")
    where.add_argument("--target", metavar="HOST:PORT", help="the gRPC port that callers use")
    where.add_argument("--model", metavar="NAME", help="the served model's name")
    where.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="x and y never trained on; may hold pool_, member_ and foreign_x, _y",
    )
    where.add_argument(
        "--direct", metavar="HOST:PORT", help="the model without protection: for comparison, and as judge"
    )
    where.add_argument("--admin", metavar="HOST:PORT", help="the target's admin port, where its verdicts are read")
    where.add_argument("--admin-token-file", type=Path, metavar="FILE", help="the admin port's bearer token")
    where.add_argument("--input", metavar="NAME", help="the model's input (default: its only one)")
    where.add_argument("--output", metavar="NAME", help="the output that is read (default: the first distribution)")
    where.add_argument("--logits", action="store_true", help="--output holds logits")
    where.add_argument("--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of the model's values")
    _how(parser.add_argument_group("how"))
    out = parser.add_argument_group("what comes of it")
    out.add_argument("--out", type=Path, metavar="FILE", help="JSON; runs that it has already are not run again")
    out.add_argument("--plot", type=Path, metavar="FILE.png", help="the same as a picture")
    out.add_argument("--expect", type=Path, metavar="FILE.yaml", help="bounds; exit code 1 if one is broken")
    out.add_argument("--report", type=Path, metavar="FILE", help="attack nothing: read an earlier run's JSON")


def _how(how: Any) -> None:
    how.add_argument(
        "--attacks",
        nargs="+",
        default=["*"],
        metavar="NAME",
        help="such as square, square+dummies, oars_*, none (default: all)",
    )
    how.add_argument(
        "--runs", type=int, default=1, help="of each attack, evasions each on a row of its own (default: 1)"
    )
    how.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    how.add_argument(
        "--budget", type=int, metavar="ROWS", help="default: 500; extraction 10,000; membership 2,000; inversion 3,000"
    )
    how.add_argument("--rate", type=float, default=0.0, metavar="CALLS", help="a second at most (default: no limit)")
    how.add_argument("--epsilon", type=float, default=0.1, help="L-inf at which an evasion counts (default: 0.1)")
    how.add_argument("--radius", type=float, default=2.0, help="L2 at which one counts (default: 2)")
    how.add_argument(
        "--accounts", type=int, default=1, metavar="N", help="that each attack is spread over (default: 1)"
    )
    how.add_argument("--keys", type=Path, metavar="FILE", help="API keys, one a line: each an account")
    how.add_argument(
        "--key-header", default="x-api-key", metavar="NAME", help="that the keys go in (default: x-api-key)"
    )
    how.add_argument(
        "--forwarded", action="store_true", help="accounts are X-Forwarded-For addresses, which the target trusts"
    )
    how.add_argument("--benign", type=int, default=0, metavar="N", help="benign callers over the wire, time compressed")
    how.add_argument(
        "--simulated", type=int, default=0, metavar="N", help="benign callers in simulated time; see --profile"
    )
    how.add_argument("--profile", type=Path, metavar="FILE", help="the target's profile, for --simulated")
    how.add_argument(
        "--spread", choices=("round_robin", "random"), default="round_robin", help="the next call's account"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from proxy.drill.wire import DrillError, UsageError

    try:
        if arguments.report is None:
            _usable(arguments)
        return _drilled(arguments)
    except DrillError as error:
        print(f"tensorwall drill: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except KeyboardInterrupt:
        print("\ntensorwall drill: interrupted; what had finished is in --out", file=sys.stderr)
        return EXIT_FAILED


def _usable(arguments: argparse.Namespace) -> None:
    from proxy.drill.wire import UsageError

    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed; it needs the extra: pip install 'tensorwall[attacks]'")
    for name in ("target", "model", "data"):
        if getattr(arguments, name) is None:
            raise UsageError(f"--{name} is missing")
    _in_range(arguments)
    if arguments.logits and arguments.output is None:
        raise UsageError("--logits: of which output is not said; name it with --output")
    if arguments.accounts > 1 and arguments.keys is None and not arguments.forwarded:
        raise UsageError("--accounts: who they are is not said; give --keys FILE or --forwarded")
    if arguments.benign and arguments.keys is None and not arguments.forwarded:
        raise UsageError("--benign: every caller needs an account of its own; give --keys FILE or --forwarded")
    if arguments.simulated and (arguments.profile is None or arguments.direct is None):
        raise UsageError("--simulated: needs the target's --profile, and --direct for the model's answers")


def _in_range(arguments: argparse.Namespace) -> None:
    from proxy.drill.wire import UsageError

    for names, least in ((("runs", "accounts", "budget"), 1), (("seed", "rate", "benign", "simulated"), 0)):
        for name in names:
            value = getattr(arguments, name)
            if value is not None and not value >= least:
                raise UsageError(f"--{name}: {value} is too few; {least} is the least")
    for name in ("epsilon", "radius"):
        if not getattr(arguments, name) > 0:
            raise UsageError(f"--{name}: {getattr(arguments, name)} is no change of a row; write a number above 0")
    if arguments.range is not None and not arguments.range[0] < arguments.range[1]:
        low, high = arguments.range
        raise UsageError(f"--range: {low:g} {high:g} holds no values; the lower one comes first")


def _drilled(arguments: argparse.Namespace) -> int:
    from proxy.drill.choice import chosen
    from proxy.drill.expect import Expectations, broken
    from proxy.drill.report import markdown
    from proxy.drill.results import Results

    expectations = None if arguments.expect is None else Expectations.read(arguments.expect)
    for name in ("out", "plot"):
        path = getattr(arguments, name)
        if path is not None and path.is_dir():
            raise _usage(f"--{name}: {path} is a folder; name a file")
    kept = arguments.report or arguments.out
    if arguments.report is not None and not arguments.report.is_file():
        raise _usage(f"--report: there is no {arguments.report}")
    results = Results() if kept is None else Results.read(kept)
    if arguments.report is None:
        if expectations is not None:
            expectations.fit(chosen(arguments.attacks), results)
        for record in _records(arguments, results.keys):
            results = results.with_records([record])
            if arguments.out is not None:
                results.write(arguments.out)
    print(markdown(results), end="")
    if arguments.plot is not None:
        from proxy.drill.plot import plot

        plot(results, arguments.plot)
    sentences = [] if expectations is None else broken(expectations, results)
    for sentence in sentences:
        print(f"not as expected: {sentence}")
    return EXIT_FAILED if sentences else 0


def _usage(text: str) -> Exception:
    from proxy.drill.wire import UsageError

    return UsageError(text)


def _records(arguments: argparse.Namespace, done: frozenset[tuple[str, ...]]) -> Iterator[Any]:
    from tqdm import tqdm

    from proxy.drill import benign
    from proxy.drill.campaign import Campaign, progress
    from proxy.drill.choice import chosen
    from proxy.drill.material import Material, read
    from proxy.drill.watching import Admin
    from proxy.drill.wire import Model

    names = chosen(arguments.attacks)
    rng = np.random.default_rng(arguments.seed)
    parts, scale = read(arguments.data, tuple(arguments.range) if arguments.range else None, rng)
    material = Material(arguments.model, **parts, epsilon=arguments.epsilon, radius=arguments.radius)
    accounts = _accounts(arguments)
    reading = arguments.input, arguments.output, arguments.logits
    with ExitStack() as stack:
        target = stack.enter_context(Model(arguments.target, arguments.model, scale, *reading, accounts[-1].metadata))
        direct = None
        if arguments.direct is not None:
            direct = stack.enter_context(Model(arguments.direct, arguments.model, scale, *reading))
        admin = None
        if arguments.admin is not None:
            admin = Admin(arguments.admin, arguments.model, arguments.admin_token_file)
        campaign = Campaign(
            target,
            direct,
            admin,
            material,
            accounts,
            arguments.accounts,
            arguments.spread,
            arguments.rate,
            arguments.seed,
            arguments.budget,
        )
        for line in _remarks(arguments, campaign, names):
            print(line, file=sys.stderr)
        if names and all(campaign.unfit(name) is not None for name in names) and not arguments.benign:
            raise _usage(f"--attacks: none of {', '.join(names)} can be run with this --data")
        if names:
            total = 2 * len(names) * arguments.runs
            runs = campaign.runs(names, arguments.runs, done)
            yield from (run for run in tqdm(runs, desc="attacks", total=total, disable=None) if run is not None)
        if arguments.benign and not _has(done, "wire"):
            yield from campaign.benign(arguments.benign)
        if arguments.simulated and not _has(done, "simulated"):
            assert direct is not None, "checked"
            yield from benign.simulated(
                target, direct, material, arguments.simulated, arguments.profile, np.random.default_rng(1), progress
            )


def _has(done: frozenset[tuple[str, ...]], how: str) -> bool:
    return any(key[1] == "benign" and key[3] == how for key in done)


def _accounts(arguments: argparse.Namespace) -> Sequence[Any]:
    from proxy.drill.accounts import Account, addresses, keys

    if arguments.keys is not None:
        return keys(arguments.keys, arguments.key_header)
    return addresses(ADDRESSES) if arguments.forwarded else [Account()]


def _remarks(arguments: argparse.Namespace, campaign: Any, names: Sequence[str]) -> Iterator[str]:
    """What the reader of the tables should know."""
    if arguments.admin is None:
        yield "without --admin, what was found and acted on is not known: those columns are empty"
    if arguments.direct is None:
        yield "without --direct, nothing is measured without protection, and success is what the attacker was told"
    if 2 * len(names) * arguments.runs * arguments.accounts > len(campaign.accounts):
        yield "there are fewer accounts than runs take: later runs go over accounts that may have been found before"
    if arguments.benign:
        yield "benign callers over the wire keep their order, not their pauses: an hour passes in seconds"
    for name in names:
        if (why := campaign.unfit(name)) is not None:
            yield f"{name} is left out: {why}"
