"""The order of things: models, adversarial images, servers, then one defense after the other through its own proxy."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from benchmarks.defenses import latency, membership, networks, queries, surrogate, transferred
from benchmarks.defenses.adaptive import Attacker
from benchmarks.defenses.results import Evasion, Results, Secrets, Share
from benchmarks.defenses.scale import EPSILON, SEED, Scale
from benchmarks.defenses.served import Caller, Images, Labels, right
from benchmarks.defenses.suite import NONE, SUITES, Defense
from proxy.demo.data import Dataset
from proxy.demo.model import DemoModel, demo_model
from tests.processes import Backend, serving_backend, serving_proxy

PACKAGES = ("tensorflow", "keras", "adversarial-robustness-toolbox", "scikit-learn", "numpy", "grpcio", "tensorwall")
OTHER_ROWS = 10_000
"""Training images of the surrogate that PGD transfers from."""


@dataclass(frozen=True)
class Material:
    """What is made before any server runs.

    Attributes:
        scale: how much is measured.
        dataset: the images.
        model: what is served.
        network: the same as a Keras model, for white-box attacks.
        images, labels: the test rows under attack.
        fgsm, pgd: adversarial images for the model without a defense.
        other: the same by PGD on the attacker's own model.
        targets: models whose members are looked for.
        asked: what is sent to steal the model.
    """

    scale: Scale
    dataset: Dataset
    model: DemoModel
    network: Any
    images: Images
    labels: Labels
    fgsm: Images
    pgd: Images
    other: Images
    targets: tuple[membership.Target, ...]
    asked: Images


def run(scale: Scale, dataset: Dataset, cache: Path, folder: Path) -> Results:
    """Measures everything.

    Args:
        scale: how much.
        dataset: what the demo's model is trained on.
        cache: keeps trained models.
        folder: for the servers' files.
    """
    began, suite = time.monotonic(), SUITES[scale.name]
    progress = tqdm(
        total=1 + len(suite.evasion) + len(suite.secrets), desc="models and adversarial images", smoothing=0
    )
    with progress, contextlib.ExitStack() as open_things:
        material = prepare(scale, dataset, cache)
        progress.update()
        name = material.model.name
        models = {target.model.name: target.model.versions for target in material.targets}
        backend = open_things.enter_context(serving_backend(models))
        bare = open_things.enter_context(_calling(NONE, backend, models, folder / "bare"))[name]
        evasion, secrets = [], []
        for defense in suite.evasion:
            progress.set_description(defense.name)
            with _calling(defense, backend, models, folder / "defended") as callers:
                evasion.append(_evasion(material, defense, callers[name], bare))
            progress.update()
        for defense in suite.secrets:
            progress.set_description(f"secrets: {defense.name}")
            with _calling(defense, backend, models, folder / "defended") as callers:
                secrets.append(_secrets(material, defense, callers, bare))
            progress.update()
    return Results(
        data=dataset.name,
        model_accuracy=material.model.accuracy,
        epsilon=EPSILON,
        seed=SEED,
        scale=asdict(scale),
        versions={name: version(name) for name in PACKAGES},
        evasion=tuple(evasion),
        secrets=tuple(secrets),
        seconds=time.monotonic() - began,
    )


def prepare(scale: Scale, dataset: Dataset, cache: Path) -> Material:
    """Trains what is not kept yet and crafts what does not depend on a defense."""
    model = demo_model(dataset, cache)
    network = keras.models.load_model(model.keras)
    images, labels = dataset.x_test[: scale.rows], dataset.y_test[: scale.rows].astype(np.int64)
    classes = len(dataset.class_names)
    own = networks.train(
        dataset.x_train[-OTHER_ROWS:],
        networks.one_hot(dataset.y_train[-OTHER_ROWS:], classes),
        scale.other_epochs,
        seed=SEED,
    )
    side, rng = images.shape[1], np.random.default_rng(SEED)
    return Material(
        scale,
        dataset,
        model,
        network,
        images,
        labels,
        fgsm=transferred.fgsm(network, images, labels),
        pgd=transferred.pgd(network, images, labels, scale.steps, SEED),
        other=transferred.pgd(own, images, labels, scale.steps, SEED),
        targets=membership.targets(dataset, model, cache, scale),
        asked=surrogate.other_images(scale.knockoff_rows, side, rng),
    )


@contextlib.contextmanager
def _calling(defense: Defense, backend: Backend, models: Iterable[str], folder: Path) -> Iterator[Mapping[str, Caller]]:
    """A caller for each model, by name, through one proxy with this defense; the proxy is gone after the block."""
    folder.mkdir(exist_ok=True)
    rules = {model: deepcopy(defense.rules) for model in models}  # YAML would write shared parts as references
    with contextlib.ExitStack() as open_things:
        proxy = open_things.enter_context(
            serving_proxy(folder, backend.address, models=rules, secret=f"benchmark of seed {SEED}")
        )
        yield {model: open_things.enter_context(Caller(proxy.address, model)) for model in rules}


def _evasion(material: Material, defense: Defense, caller: Caller, bare: Caller) -> Evasion:
    began = time.monotonic()
    scale, images, labels = material.scale, material.images, material.labels
    judged = partial(right, caller, labels=labels)
    return Evasion(
        defense=defense.name,
        clean=Share.of(judged(images=images)),
        fgsm=Share.of(judged(images=material.fgsm)),
        pgd=Share.of(judged(images=material.pgd)),
        other=Share.of(judged(images=material.other)),
        square=queries.square(caller, images, labels, scale, SEED, remember=not defense.random),
        hop=queries.hop_skip_jump(caller, images, labels, scale, SEED),
        adaptive=Share.of(judged(images=_adapted(material, defense))),
        one=latency.added(bare, caller, images[:1], scale.calls),
        many=latency.added(bare, caller, images[:32], scale.calls),
        seconds=time.monotonic() - began,
    )


def _adapted(material: Material, defense: Defense) -> Images:
    """From the image itself, moved at random, and from what fools the model without the defense."""
    scale, images = material.scale, material.images
    rng = np.random.default_rng(SEED)
    random_start = np.clip(images + rng.uniform(-EPSILON, EPSILON, images.shape), 0, 1).astype(np.float32)
    attacker = Attacker(material.network, defense.input_steps(), scale.draws if defense.random else 1, rng)
    return attacker(images, material.labels, (random_start, material.pgd), scale.steps)


def _secrets(material: Material, defense: Defense, callers: Mapping[str, Caller], bare: Caller) -> Secrets:
    began = time.monotonic()
    found = [membership.attack(target, callers[target.model.name], defense) for target in material.targets]
    answers = callers[material.model.name](material.asked)
    rows = material.scale.fidelity_rows
    images, labels = material.dataset.x_test[:rows], material.dataset.y_test[:rows].astype(np.int64)
    stolen = surrogate.steal(material.asked, answers, images, labels, bare(images).classes, material.scale)
    return Secrets(
        defense=defense.name,
        membership=tuple(found),
        fidelity=stolen.fidelity,
        surrogate_accuracy=stolen.accuracy,
        read=stolen.read,
        seconds=time.monotonic() - began,
    )
