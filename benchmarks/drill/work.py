"""One job, done in a worker process: a fresh proxy, an attack or workload, and its record."""

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drill.customer import served
from benchmarks.drill.plan import Job
from benchmarks.drill.proxies import proxy
from benchmarks.drill.scenes import Scene
from proxy.drill.accounts import Account, addresses
from proxy.drill.benign import Bystanders, simulated
from proxy.drill.campaign import BYSTANDERS
from proxy.drill.choice import SLOW, attack
from proxy.drill.material import Material, read
from proxy.drill.measure import Manner, attacked
from proxy.drill.results import Measured
from proxy.drill.slowly import slowly
from proxy.drill.telling import PROBES, told
from proxy.drill.watching import Admin
from proxy.drill.wire import Model, Scale

SEED = 0
RATE = 100.0
"""Calls a second of an attacker: a round trip of 10 ms, which is what a near one has."""
SETTLER = addresses(1, first=19_999)[0]
"""Who asks for metadata."""
CUSTOMER = addresses(1, first=19_998)
"""Who is on the immunity list, for one job."""
SEARCH = "simba"
"""Gets itself flagged, so that there is something to tell."""
RUNS = 20
"""Seed rows found for each scene, for as many runs."""


def begin() -> None:
    """A worker's start: one thread for TensorFlow, since there are two workers."""
    warnings.filterwarnings("ignore", message="PyTorch not found")  # by the toolbox, which can do without
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"


def done(job: Job, scene: Scene, callers: int) -> Sequence[Measured]:
    """Does a job.

    Args:
        job: of the plan.
        scene: that it is about.
        callers: benign ones to be judged.
    """
    material, scale = _material(scene)
    with Model(scene.upstream, scene.name, scale, scene.input) as direct:
        if job.kind == "benign":
            rng = np.random.default_rng([SEED, 1])
            return simulated(direct, direct, material, callers, scene.profile, rng, _quietly)
        if job.kind == "slowly":
            return [_slow(job, scene, direct, material)]
        if job.mode == "off":
            return [_attacked(job, scene, direct, direct, None, material)]
        with _protected(scene, scale, job.mode, CUSTOMER if job.kind == "immune" else ()) as (target, admin):
            if job.kind == "telling":
                return [_told(job, scene, target, admin, material)]
            if job.kind == "immune":
                return [served(target, direct, admin, material, CUSTOMER[0])]
            return [_attacked(job, scene, direct, target, admin, material)]


def _quietly(things: Sequence[Any], what: str) -> Iterator[Any]:
    del what
    return iter(things)


@contextmanager
def _protected(scene: Scene, scale: Scale, answer: str, immune: Sequence[Account]) -> Iterator[tuple[Model, Admin]]:
    callers = [account.caller for account in immune]
    with (
        tempfile.TemporaryDirectory(prefix="drill-") as folder,
        proxy(Path(folder), scene, answer, callers) as ((address, port), token),
        Model(address, scene.name, scale, scene.input, metadata=SETTLER.metadata) as target,
    ):
        yield target, Admin(port, scene.name, token)


def _attacked(
    job: Job, scene: Scene, direct: Model, target: Model, admin: Admin | None, material: Material
) -> Measured:
    between = None
    if SLOW in job.name.split("+"):
        others = addresses(BYSTANDERS, first=10_000)
        between = Bystanders(target, material, others, np.random.default_rng([SEED, 2, job.run]))
    return attacked(
        job.name,
        attack(job.name, between),
        target,
        material,
        Manner(addresses(job.accounts), rate=RATE),
        job.mode,
        job.run,
        SEED,
        _seeds(scene)[job.run],
        len(direct(material.rows[:1])[0]),
        judge=direct,
        admin=admin,
    )


def _slow(job: Job, scene: Scene, direct: Model, material: Material) -> Measured:
    name, _, every = job.name.partition("@")
    seconds = float(every.removesuffix("s"))
    rng = np.random.default_rng([SEED, 3, job.run])
    callers = max(10, int(3_000 / seconds))  # about as many benign rows between two calls at any pace
    seeds = _seeds(scene)[job.run]
    return slowly(job.name, attack(name), seconds, callers, direct, material, scene.profile, job.run, seeds, rng)


def _told(job: Job, scene: Scene, target: Model, admin: Admin, material: Material) -> Measured:
    rng = np.random.default_rng([SEED, 4, job.run])
    seeds = _seeds(scene)[job.run]
    return told(target, admin, material, attack(SEARCH), addresses(1 + PROBES), job.mode, job.run, seeds, rng)


@cache
def _material(scene: Scene) -> tuple[Material, Scale]:
    parts, scale = read(scene.rows, None, np.random.default_rng(SEED))
    return Material(scene.name, **parts, epsilon=scene.epsilon, radius=scene.radius), scale


@cache
def _seeds(scene: Scene) -> list[list[int]]:
    material, scale = _material(scene)
    with Model(scene.upstream, scene.name, scale, scene.input) as direct:
        return material.seeds(direct, RUNS)
