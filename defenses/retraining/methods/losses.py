"""Losses that several methods share."""

import tensorflow as tf

from defenses.retraining.attacks import Tensor
from defenses.retraining.methods import Batch


def cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Of each row, (B,)."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the answers `others` from the answers `logits`, (B,)."""
    log = tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log) * (log - tf.nn.log_softmax(others)), axis=-1)


def both(batch: Batch, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the rows and of the attacked rows, in one pass, so that layers that keep statistics see both."""
    logits = batch.logits(tf.concat([batch.x, attacked], axis=0), True)
    clean, moved = tf.split(logits, 2)
    return clean, moved


def against(batch: Batch, moved: Tensor) -> Tensor:
    """What an attacker of the classes raises, (B,)."""
    return cross_entropy(batch.targets, batch.logits(moved, False))
