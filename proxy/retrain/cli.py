"""`tensorwall retrain`: one adversarial-retraining run, start to end."""

import argparse
import contextlib
import logging
import os
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from defenses.retraining.job import Job
from defenses.retraining.schedule import ScheduleError, When, confirmed_attacks, last_success
from proxy.config.load import ConfigError, load, parse_as, text_of
from proxy.muted import muted_stderr

if TYPE_CHECKING:
    from defenses.retraining.data import Datasets
    from defenses.retraining.privacy import Spent
    from defenses.retraining.publish import Versions
    from defenses.retraining.run import Prepared
    from defenses.retraining.trained import Trained
    from proxy.retrain.staging import Staging

_NEEDS = ("tensorflow", "tqdm", "matplotlib", "art")
LOCK = ".lock"
"""In the output folder: two runs there would spoil each other's checkpoint."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "--job", required=True, type=Path, metavar="FILE", help="what to train, on what, and how (YAML)"
    )
    parser.add_argument("--no-publish", action="store_true", help="train, judge and report, but publish nothing")
    parser.add_argument(
        "--when",
        type=_when,
        metavar="CONDITIONS",
        help="run only if they hold, else end at once with 0: attacks>=N confirmed since the last success, days>=N "
        "since then, or both with a comma",
    )
    parser.add_argument(
        "--events", type=Path, metavar="FILE", help="the proxy's audit log, in which --when counts attacks"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check everything, train nothing")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if any(find_spec(name) is None for name in _NEEDS):
        print("retrain needs the extra retrain: pip install 'tensorwall[retrain]'", file=sys.stderr)
        return 2
    try:
        hint, keys = "docs/retraining.md has a whole job", "docs/retraining-job.md"
        job = parse_as(Job, text_of(arguments.job), os.environ, str(arguments.job), hint, keys)
        if job.proxy is not None:
            load(job.proxy.config)  # told now, and not after the training
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        unmet = [] if arguments.when is None else _unmet(job, arguments.when, arguments.events)
    except ScheduleError as error:
        print(error, file=sys.stderr)
        return 2
    for reason in unmet:
        print(f"{job.name}: not due: {reason}")
    return 0 if unmet else _retrain(job, arguments.job, arguments.dry_run, not arguments.no_publish)


def _when(text: str) -> When:
    try:
        return When.parse(text)
    except ScheduleError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _unmet(job: Job, when: When, events: Path | None) -> list[str]:
    if job.publish is None or job.publish.textfile is None:
        raise ScheduleError("--when needs publish.textfile in the job: it holds the time of the last success")
    if when.attacks and events is None:
        raise ScheduleError("--when counts attacks: name the proxy's audit log with --events")
    success = last_success(job.publish.textfile, job.name)
    attacks = confirmed_attacks(events, job.name, success) if events is not None and when.attacks else 0
    return when.unmet(time.time(), success, attacks)


def _retrain(job: Job, source: Path, dry_run: bool, publish: bool) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's remarks on the machine
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # and on how the attacks' toolbox compiles its graphs
    with muted_stderr():
        import_module("tensorflow")

    from defenses.retraining import run
    from defenses.retraining.checkpoint import CheckpointError
    from defenses.retraining.conclude import check, versions_of
    from defenses.retraining.data import DataError
    from defenses.retraining.lock import LockedError, locked
    from defenses.retraining.loop import TrainingError
    from defenses.retraining.model import ModelError
    from defenses.retraining.publish import BusyError, PublishError
    from defenses.retraining.robustness.subject import SubjectError
    from defenses.retraining.signatures import SignatureError

    sys.path.append(str(Path.cwd()))  # factories that lie beside the job
    with contextlib.ExitStack() as held:
        try:
            if not dry_run and job.strategy != "multi_worker":  # whose workers share the folder
                job.output.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(job.output / LOCK, f"the retraining of {job.name}"))
            prepared = run.prepare(job)
            unlike = None if job.publish is None else check(job, prepared.classifier.shape)
            concludes = job.publish is not None and prepared.chief
            versions = held.enter_context(versions_of(job, dry_run or not publish)) if concludes else None
        except BusyError as error:
            print(f"{source}: {error}", file=sys.stderr)
            return 1
        except LockedError as error:
            print(f"{source}: output: {error}; wait until it has ended, or name another folder", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"{source}: output: {job.output} cannot be made: {error.strerror}; name another", file=sys.stderr)
            return 2
        except (
            CheckpointError,
            DataError,
            ModelError,
            PublishError,
            ScheduleError,
            SignatureError,
            SubjectError,
            TrainingError,
        ) as error:
            print(f"{source}: {error}", file=sys.stderr)
            return 2
        _announce(prepared)
        if unlike is not None:
            print(f"refused by the gate of signatures: {unlike}", file=sys.stderr)
            return 1
        return 0 if dry_run else _trained(prepared, versions, publish)


def _announce(prepared: "Prepared") -> None:
    job, rows, loop = prepared.job, prepared.rows, prepared.loop
    print(
        f"{job.name}: {job.method.kind}, L{job.norm} {job.epsilon.value:g}, {len(rows.train):,} rows to train on, "
        f"{len(rows.validation):,} to check, {loop.steps:,} steps of {job.training.batch} rows"
    )
    for finding in prepared.admitted.findings if prepared.admitted else ():
        print(f"poison in data.captured, let in by the job: {finding.who}: {finding.text}", file=sys.stderr)


def _trained(prepared: "Prepared", versions: "Versions | None", publish: bool) -> int:
    """Trains, then judges and publishes if there are versions; the exit code."""
    from tqdm import tqdm

    from defenses.retraining import run
    from defenses.retraining.loop import TrainingError

    job, loop = prepared.job, prepared.loop
    if loop.progress.step:
        print(f"going on from step {loop.progress.step:,}")
    with tqdm(total=loop.steps, initial=loop.progress.step, desc="training", unit="step", disable=None) as progress:
        try:
            trained = run.train(prepared, lambda step: progress.update(step - progress.n))
        except (OSError, TrainingError) as error:
            print(error, file=sys.stderr)
            return 1
    certified = "" if trained.certified is None else f", {trained.certified:.1%} certified"
    private = "" if trained.spent is None else f"; {_told(trained.spent)}"
    print(
        f"{trained.steps:,} steps in {trained.seconds:,.0f} s (ended by {trained.ended}); on validation rows "
        f"{trained.clean:.1%} clean, {trained.robust:.1%} under PGD-{job.training.check.steps}{certified}{private}\n"
        f"{trained.candidate}"
    )
    done = 0 if versions is None else _conclude(job, trained, prepared.rows, versions, publish)
    if done is None:
        return 1
    run.finish(prepared)
    return done


def _conclude(job: Job, trained: "Trained", rows: "Datasets", versions: "Versions", publish: bool) -> int | None:
    """The exit code; None if it broke off, and can be taken up again without training anew."""
    from defenses.retraining.conclude import conclude
    from defenses.retraining.data import DataError
    from defenses.retraining.deployment import DeploymentError
    from defenses.retraining.live import LiveError
    from defenses.retraining.model import ModelError
    from defenses.retraining.publish import PublishError
    from defenses.retraining.robustness.ensemble import EnsembleError
    from defenses.retraining.robustness.subject import SubjectError
    from defenses.retraining.signatures import SignatureError

    try:
        conclusion = conclude(job, trained, rows, versions, dry_run=not publish, deployment=_deployment(job), say=print)
    except (
        DataError,
        DeploymentError,
        EnsembleError,
        LiveError,
        ModelError,
        OSError,
        PublishError,
        SignatureError,
        SubjectError,
    ) as error:
        print(
            f"{error}\nThe candidate is kept: the same command takes up here, without training again", file=sys.stderr
        )
        return None
    print(f"{conclusion.outcome}\n{conclusion.report}")
    return 0 if conclusion.passed else 1


def _told(spent: "Spent") -> str:
    return f"({spent.epsilon:.2f}, {spent.delta:g})-differentially private with regard to each training row"


def _deployment(job: Job) -> "Staging | None":
    if job.proxy is None:
        return None
    from proxy.retrain.staging import Staging

    return Staging(job.name, job.proxy, job.model.range, job.seed)
