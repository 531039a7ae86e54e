"""FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018), crafted on a model that has no defense."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentTensorFlowV2
from art.estimators.classification import TensorFlowV2Classifier

from benchmarks.defenses.scale import EPSILON
from benchmarks.defenses.served import Images, Labels

BATCH = 250
STEP = EPSILON / 10


def fgsm(network: Any, images: Images, labels: Labels) -> Images:
    """Adversarial images; `network` is a Keras model giving logits."""
    attack = FastGradientMethod(_classifier(network, images), eps=EPSILON, batch_size=BATCH)
    adversarial: Images = attack.generate(images, labels)
    return adversarial


def pgd(network: Any, images: Images, labels: Labels, steps: int, seed: int) -> Images:
    """Adversarial images from one random start; `network` is a Keras model giving logits."""
    np.random.seed(seed)  # noqa: NPY002  # the attack draws from numpy's and TensorFlow's global generators
    tf.random.set_seed(seed)
    attack = ProjectedGradientDescentTensorFlowV2(
        _classifier(network, images),
        eps=EPSILON,
        eps_step=STEP,
        max_iter=steps,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )
    adversarial: Images = attack.generate(images, labels)
    return adversarial


def _classifier(network: Any, images: Images) -> TensorFlowV2Classifier:
    return TensorFlowV2Classifier(
        network,
        nb_classes=network.output_shape[1],
        input_shape=images.shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
